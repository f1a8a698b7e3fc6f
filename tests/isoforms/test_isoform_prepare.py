"""Bundles from the files of quantifiers, tables and AnnData."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from cellkey.errors import BundleError, InputError, MissingFieldError, NothingToDoError
from cellkey.isoforms.gene_map import map_genes, read_gene_map, strip_version
from cellkey.isoforms.prepare import prepare_bundle, read_samples
from cellkey.isoforms.quantification import read_transcript_counts
from cellkey.isoforms.settings import PrepareParameters
from cellkey.isoforms.transcript_counts import TranscriptCounts

TRANSCRIPTS = ["t1", "t2", "t3", "t4"]
COUNTS = np.array([[30.0, 40, 50, 60], [60, 50, 40, 30], [20, 20, 21, 22], [0, 1, 0, 2]])
MAP = pd.DataFrame({"transcript_id": TRANSCRIPTS, "gene_id": ["g1", "g1", "g2", "g2"]})


def _write(root: Path, layout: str) -> None:
    for j in range(4):
        sample = f"s{j}"
        order = [3, 1, 0, 2] if j % 2 else range(4)
        rows = pd.DataFrame({"id": TRANSCRIPTS, "length": 1000, "effective": 800.0 + j, "count": COUNTS[:, j]}).iloc[
            list(order)
        ]
        if layout == "salmon":
            (root / sample).mkdir()
            rows.set_axis(["Name", "Length", "EffectiveLength", "NumReads"], axis=1).to_csv(
                root / sample / "quant.sf", sep="\t", index=False
            )
        elif layout == "kallisto":
            (root / sample).mkdir()
            rows.set_axis(["target_id", "length", "eff_length", "est_counts"], axis=1).to_csv(
                root / sample / "abundance.tsv", sep="\t", index=False
            )
        elif layout == "rsem":
            table = rows.set_axis(["transcript_id", "length", "effective_length", "expected_count"], axis=1)
            table["gene_id"] = table["transcript_id"].map(MAP.set_index("transcript_id")["gene_id"])
            table.to_csv(root / f"{sample}.isoforms.results", sep="\t", index=False)
        else:
            (root / sample).mkdir()
            table = rows.rename(columns={"id": "t_name"}).assign(cov=rows["count"] * 75 / 1000, gene_id=MAP["gene_id"])
            table[["t_name", "length", "cov", "gene_id"]].to_csv(root / sample / "t_data.ctab", sep="\t", index=False)


@pytest.mark.parametrize("layout", ["salmon", "kallisto", "rsem", "stringtie"])
def test_quantifier_directories(tmp_path: Path, layout: str) -> None:
    """Counts come out by transcript and sample, whatever the order of rows in each file."""
    _write(tmp_path, layout)
    found = read_transcript_counts(tmp_path)
    assert found.sample_ids == ("s0", "s1", "s2", "s3")
    assert found.transcript_ids == tuple(TRANSCRIPTS)
    np.testing.assert_allclose(found.counts, COUNTS)
    if layout == "rsem":
        assert found.gene_ids == ("g1", "g1", "g2", "g2")
    if layout == "salmon":
        assert found.effective_lengths is not None
        np.testing.assert_allclose(found.effective_lengths, 801.5)


def test_different_annotations_are_refused(tmp_path: Path) -> None:
    """Samples quantified against two annotations are named with an example."""
    _write(tmp_path, "salmon")
    path = tmp_path / "s2" / "quant.sf"
    path.write_text(path.read_text().replace("t4", "t9"))
    with pytest.raises(InputError, match=r"s2/quant.sf .* 't4', 't9'"):
        read_transcript_counts(tmp_path)


def test_directory_without_results(tmp_path: Path) -> None:
    """What was looked for is told."""
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"looked for salmon \*/quant.sf"):
        read_transcript_counts(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_transcript_counts(tmp_path / "missing")


def test_tables(tmp_path: Path) -> None:
    """Plain tables with and without a gene column; text among the counts is named."""
    frame = pd.DataFrame(COUNTS, columns=["s0", "s1", "s2", "s3"]).assign(
        transcript=TRANSCRIPTS, gene_id=MAP["gene_id"]
    )
    frame = frame[["transcript", "gene_id", "s0", "s1", "s2", "s3"]]
    frame.to_csv(tmp_path / "c.csv", index=False)
    frame.to_csv(tmp_path / "c.tsv.gz", index=False, sep="\t")
    frame.to_parquet(tmp_path / "c.parquet")
    for name in ("c.csv", "c.tsv.gz", "c.parquet"):
        found = read_transcript_counts(tmp_path / name)
        np.testing.assert_allclose(found.counts, COUNTS)
        assert found.gene_ids == ("g1", "g1", "g2", "g2")
    frame.assign(s1=["1", "x", "2", "3"]).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(InputError, match="column 's1': values must be numbers, found 'x'"):
        read_transcript_counts(tmp_path / "bad.csv")


def _adata() -> anndata.AnnData:
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(["a"] * 6 + ["b"] * 6),
            "cell_type": pd.Categorical(["T", "B"] * 6),
            "age": [30.0] * 6 + [40.0] * 6,
        },
        index=[f"c{i}" for i in range(12)],
    )
    var = pd.DataFrame(
        {"gene_id": ["g1", "g1", "g2", "g2"], "gene_name": ["GENE1", "GENE1", "GENE2", "GENE2"]}, index=TRANSCRIPTS
    )
    return anndata.AnnData(csr_matrix(np.arange(48, dtype=np.float32).reshape(12, 4)), obs=obs, var=var)


def test_anndata_of_samples_and_cells(tmp_path: Path) -> None:
    """Samples are read as they are; cells are summed by donor and cell type, traits kept."""
    adata = _adata()
    adata.write_h5ad(tmp_path / "a.h5ad")
    plain = read_transcript_counts(tmp_path / "a.h5ad")
    np.testing.assert_allclose(plain.counts, adata.X.toarray().T)
    assert plain.gene_names == ("GENE1", "GENE1", "GENE2", "GENE2")
    bulk = read_transcript_counts(tmp_path / "a.h5ad", sample_key="donor", groupby=["cell_type"], min_cells=3)
    assert bulk.sample_ids == ("a|B", "a|T", "b|B", "b|T")
    np.testing.assert_allclose(bulk.counts[:, 1], adata.X.toarray()[[0, 2, 4]].sum(axis=0))
    assert bulk.samples is not None
    assert bulk.samples["age"].to_list() == [30, 30, 40, 40]
    assert bulk.samples["cell_type"].to_list() == ["B", "T", "B", "T"]
    with pytest.raises(MissingFieldError, match="did you mean 'donor'"):
        read_transcript_counts(tmp_path / "a.h5ad", sample_key="donr")
    with pytest.raises(InputError, match="lower --min-cells"):
        read_transcript_counts(tmp_path / "a.h5ad", sample_key="donor", groupby=["cell_type"])


def test_modality_of_a_multimodal_file(tmp_path: Path) -> None:
    """One modality of an .h5mu file is read by name."""
    import h5py

    with h5py.File(tmp_path / "m.h5mu", "w") as handle:
        for name in ("isoforms", "rna"):
            anndata.io.write_elem(handle, f"mod/{name}", _adata())
    assert len(read_transcript_counts(tmp_path / "m.h5mu", modality="isoforms").sample_ids) == 12
    with pytest.raises(InputError, match="modalities isoforms, rna"):
        read_transcript_counts(tmp_path / "m.h5mu")


def test_gene_maps(tmp_path: Path) -> None:
    """GTF, tables with any usual header, and two bare columns."""
    gtf = tmp_path / "a.gtf"
    gtf.write_text(
        '#!x\nchr1\th\tgene\t1\t9\t.\t+\t.\tgene_id "g1";\n'
        'chr1\th\ttranscript\t1\t9\t.\t+\t.\tgene_id "g1"; transcript_id "t1"; '
        'gene_name "N1"; transcript_type "lncRNA";\n'
        'chr1\th\texon\t1\t9\t.\t+\t.\tgene_id "g2"; transcript_id "t3";\n'
    )
    found = read_gene_map(gtf)
    assert found[["transcript_id", "gene_id"]].to_numpy().tolist() == [["t1", "g1"], ["t3", "g2"]]
    assert found["gene_name"].to_list() == ["N1", ""]
    for name, text in (
        ("a.tsv", "t1\tg1\nt2\tg1\n"),
        ("b.tsv", "TXNAME\tGENEID\nt1\tg1\nt2\tg1\n"),
        ("c.csv", "gene_id,transcript_id\ng1,t1\ng1,t2\n"),
    ):
        (tmp_path / name).write_text(text)
        assert read_gene_map(tmp_path / name)["gene_id"].to_list() == ["g1", "g1"]
    (tmp_path / "d.tsv").write_text("t1\tg1\nt1\tg2\n")
    with pytest.raises(InputError, match="more than one gene: 't1'"):
        read_gene_map(tmp_path / "d.tsv")


def test_version_suffixes() -> None:
    """A map that differs by versions is answered with the option, and the option works."""
    assert strip_version("ENST00000456328.2") == "ENST00000456328"
    assert strip_version("ENST00000381192.8_PAR_Y") == "ENST00000381192_PAR_Y"
    assert strip_version("Gene.name") == "Gene.name"
    versioned = pd.DataFrame({"transcript_id": ["t1.3", "t2.1"], "gene_id": ["g1.4", "g1.4"]})
    with pytest.raises(BundleError, match="without version suffixes 2 would match: use --strip-versions") as caught:
        map_genes(["t1.2", "t2.2"], versioned)
    assert "'t1.2'" in str(caught.value)
    assert "'t1.3'" in str(caught.value)
    assert map_genes(["t1.2", "t2.2"], versioned, strip_versions=True)["gene_id"].to_list() == ["g1", "g1"]


def _counts(**changes: object) -> TranscriptCounts:
    values = {
        "counts": COUNTS,
        "transcript_ids": tuple(TRANSCRIPTS),
        "sample_ids": ("s0", "s1", "s2", "s3"),
        "source": "test",
    }
    return TranscriptCounts(**(values | changes))  # type: ignore[arg-type]


def test_filters_and_report() -> None:
    """Transcripts with few reads or low usage go, with the reason; gene totals keep their reads."""
    prepared = prepare_bundle(_counts(), gene_map=MAP, parameters=PrepareParameters(min_samples=3))
    assert prepared.bundle.transcripts["transcript_id"].to_list() == ["t1", "t2", "t3"]
    assert prepared.dropped.to_dict("records") == [
        {"transcript_id": "t4", "gene_id": "g2", "reason": "fewer than 3 samples with 10 reads"}
    ]
    np.testing.assert_allclose(prepared.bundle.matrices["gene_counts"], [[90, 90, 90, 90], [20, 21, 21, 24]])
    assert prepared.report["n_genes_with_switch"] == 1
    low = prepare_bundle(_counts(), gene_map=MAP, parameters=PrepareParameters(min_samples=3, min_count=0))
    assert "usage of 5%" in low.dropped["reason"].iloc[0]
    everything = prepare_bundle(_counts(), gene_map=MAP, parameters=PrepareParameters(keep_all=True))
    assert len(everything.bundle.transcripts) == 4
    with pytest.raises(NothingToDoError, match="no transcript passes"):
        prepare_bundle(_counts(), gene_map=MAP, parameters=PrepareParameters(min_count=1000))


def test_smallest_group_sets_the_filter() -> None:
    """The smallest level of the group is the number of samples that must pass."""
    samples = pd.DataFrame({"sample_id": ["s0", "s1", "s2", "s3"], "group": ["a", "a", "a", "b"]})
    prepared = prepare_bundle(_counts(), gene_map=MAP, samples=samples, parameters=PrepareParameters(group="group"))
    assert prepared.report["min_samples"] == 1
    with pytest.raises(BundleError, match="no column 'grp'"):
        prepare_bundle(_counts(), gene_map=MAP, samples=samples, parameters=PrepareParameters(group="grp"))


def test_samples_are_matched_by_name() -> None:
    """The order of the sheet is kept; what is in one side only is reported."""
    sheet = pd.DataFrame({"sample_id": ["s3", "s1", "s0", "s9", "s4"], "Age": [1, 2, 3, 4, 5]})
    five = np.column_stack([COUNTS, COUNTS[:, 1] + 1])
    counts = _counts(counts=five, sample_ids=("s0", "s1", "s2", "s3", "s4"))
    prepared = prepare_bundle(counts, gene_map=MAP, samples=sheet, parameters=PrepareParameters(keep_all=True))
    assert prepared.bundle.sample_ids == ["s3", "s1", "s0", "s4"]
    np.testing.assert_allclose(prepared.bundle.transcript_counts, five[:, [3, 1, 0, 4]])
    assert prepared.report["samples_without_counts"] == ["s9"]
    assert prepared.report["samples_not_in_sheet"] == ["s2"]
    with pytest.raises(BundleError, match=r"3 samples in both counts and sheet .* at least 4 are needed"):
        prepare_bundle(counts, gene_map=MAP, samples=sheet.head(4))
    with pytest.raises(BundleError, match="no sample is in both"):
        prepare_bundle(_counts(), gene_map=MAP, samples=pd.DataFrame({"sample_id": ["x"]}))


def test_missing_genes_and_bad_values() -> None:
    """Counts without genes ask for a map; negative counts and unmapped transcripts are told."""
    with pytest.raises(BundleError, match="give a gene map"):
        prepare_bundle(_counts())
    bad = COUNTS.copy()
    bad[0, 1] = -1
    with pytest.raises(BundleError, match=r"test: 1 negative values, first at row 't1', column 's1': -1"):
        prepare_bundle(_counts(counts=bad), gene_map=MAP)
    partial = prepare_bundle(_counts(), gene_map=MAP.head(3), parameters=PrepareParameters(keep_all=True))
    assert partial.dropped["reason"].to_list() == ["no gene"]


def test_sample_sheets(tmp_path: Path) -> None:
    """The first column stands in for sample_id."""
    (tmp_path / "s.csv").write_text("name,Age\n1,30\n2,40\n")
    sheet = read_samples(tmp_path / "s.csv")
    assert sheet["sample_id"].to_list() == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.tsv", b"", "not a readable table"),
        ("header.tsv", b"transcript_id\tgene_id\ts0\ts1\n", "0 rows"),
        ("latin.tsv", b"transcript_id\ts0\n\xe9\xff\t1\n", "not a readable table"),
        ("cut.tsv.gz", b"\x1f\x8b\x08\x00", "not a readable table"),
        ("ragged.tsv", b"a\tb\n1\t2\n1\t2\t3\t4\n1\n\t\t\t\t\t\t\n", "not a readable table"),
        ("words.tsv", b"transcript_id\ts0\nt1\thigh\n", "column 's0': values must be numbers, found 'high'"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Counts, sheets and maps that cannot be read are named with what was expected."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_transcript_counts(path)
    if message == "not a readable table":
        for read in (read_samples, read_gene_map):
            with pytest.raises(InputError, match=message):
                read(path)
    sample = tmp_path / "quants" / "s0"
    sample.mkdir(parents=True)
    (sample / "abundance.tsv").write_bytes(content)
    with pytest.raises(InputError, match=r"abundance.tsv"):
        read_transcript_counts(tmp_path / "quants")


def test_an_annotation_that_is_no_text(tmp_path: Path) -> None:
    """A damaged GTF is refused by name."""
    for name, content in (("a.gtf.gz", b"no gzip"), ("b.gtf", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a readable GTF"):
            read_gene_map(tmp_path / name)
