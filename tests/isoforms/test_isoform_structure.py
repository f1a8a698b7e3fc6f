"""Structural differences of transcripts, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cellkey.errors import InputError, MissingFieldError
from cellkey.isoforms.explaining import explain_modules
from cellkey.isoforms.fit_files import write_fit
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.structure import annotate_switch_pairs, compare_transcripts, read_transcripts
from cellkey.isoforms.synthetic import simulate


def _rows(gene: str, transcript: str, strand: str, exons: list, coding: list, kind: str) -> list[str]:
    tail = f'gene_id "{gene}"; transcript_id "{transcript}"; transcript_type "{kind}";'
    span = ("transcript", min(a for a, _ in exons), max(b for _, b in exons))
    parts = [span, *(("exon", a, b) for a, b in exons), *(("CDS", a, b) for a, b in coding)]
    return [f"chr1\tx\t{k}\t{a}\t{b}\t.\t{strand}\t.\t{tail}" for k, a, b in parts]


@pytest.fixture
def gtf(tmp_path: Path) -> Path:
    """Three transcripts on the minus strand: the first two share all but a cassette, the third does not code."""
    lines = ["#!header"]
    lines += _rows("g", "a", "-", [(100, 199), (300, 349), (500, 599)], [(150, 199), (300, 349)], "protein_coding")
    lines += _rows("g", "b", "-", [(100, 199), (500, 599)], [(150, 199)], "protein_coding")
    lines += _rows("g", "c", "-", [(100, 199), (300, 349), (700, 709)], [], "retained_intron")
    path = tmp_path / "x.gtf"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_differences(gtf: Path) -> None:
    """Ends follow the strand; lengths count both ends."""
    t = read_transcripts(gtf)
    cassette = compare_transcripts(t["a"], t["b"])
    assert {k: v for k, v in cassette.items() if v is True} == {
        "internal_exon_difference": True,
        "cds_changed": True,
    }
    assert (cassette["transcript_length_delta"], cassette["cds_length_delta"]) == (50, 50)
    assert cassette["shared_exon_fraction"] == pytest.approx(2 / 3)
    other = compare_transcripts(t["a"], t["c"])
    assert other["first_exon_changed"] is True
    assert other["last_exon_changed"] is False
    assert other["biotype_switch"] is True
    assert other["coding_status_change"] is True
    assert other["cds_changed"] is False


def test_tables_and_cache(gtf: Path, tmp_path: Path) -> None:
    """A transcript collects its pairs, unknown ones are empty, the copy is reused."""
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("gene_id\ttranscript_id_1\ttranscript_id_2\ng\ta\tb\ng\ta\tc\ng\ta\tzz\n")
    cache = tmp_path / "cache.parquet"
    path, second = annotate_switch_pairs(gtf, pairs, tmp_path / "out.tsv", cache=cache)
    table = pd.read_csv(path, sep="\t").set_index("transcript_id")
    assert bool(table.loc["a", "first_exon_changed"])
    assert table.loc["a", "transcript_length_delta"] == 90
    assert table.loc["zz"].drop("gene_id").isna().all()
    assert len(pd.read_csv(second, sep="\t")) == 3
    assert cache.is_file()
    annotate_switch_pairs(gtf, pairs, tmp_path / "again.tsv", cache=cache)
    assert (tmp_path / "again.tsv").read_bytes() == path.read_bytes()


def test_bad_input(gtf: Path, tmp_path: Path) -> None:
    """Missing files and columns are named."""
    bad = tmp_path / "bad.tsv"
    bad.write_text("gene_id\ttranscript_id_1\ng\ta\n")
    with pytest.raises(MissingFieldError, match="transcript_id_2"):
        annotate_switch_pairs(gtf, bad, tmp_path / "o.tsv")
    with pytest.raises(InputError, match="no such file"):
        read_transcripts(tmp_path / "none.gtf")


def test_structure_joins_the_explanation(tmp_path: Path) -> None:
    """By transcript in the polarity table, by gene (any, greatest, least) in the driver table."""
    bundle = simulate("toy_v1")
    folder = write_fit(fit(bundle, {"evidence": {"n_null": 0}}), tmp_path / "fit")
    transcripts = bundle.tables["transcript"]
    table = pd.DataFrame(
        {
            "transcript_id": transcripts["transcript_id"][:2],
            "cds_changed": [True, False],
            "transcript_length_delta": [5, 9],
            "shared_exon_fraction": [0.5, 0.2],
        }
    )
    table.to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    gene = str(transcripts["gene_id"][0])
    found = explain_modules(folder, output_dir=tmp_path / "e", annotation_table=tmp_path / "s.tsv")
    explained = next(e for e in found.values() if gene in set(e.gene_drivers["gene_id"]))
    row = explained.gene_drivers.set_index("gene_id").loc[gene]
    assert (bool(row["cds_changed"]), row["transcript_length_delta"], row["shared_exon_fraction"]) == (True, 9, 0.2)
    polarity = explained.transcript_polarity.set_index("transcript_id")
    assert polarity.loc[transcripts["transcript_id"][1], "transcript_length_delta"] == 9
