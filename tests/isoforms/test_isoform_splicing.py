"""Splicing events: reading, features, and modules of a third channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellkey.errors import BundleError, InputError
from cellkey.isoforms import build_features, fit, prepare_bundle
from cellkey.isoforms.bundle import FeatureKind, make_bundle
from cellkey.isoforms.splicing import event_logits, read_psi
from cellkey.isoforms.synthetic import simulate
from cellkey.isoforms.transcript_counts import TranscriptCounts
from cellkey.isoforms.validation import bundle_problems

SUPPA = "S1\tS2\tS3\nENSG1.2;SE:chr1:10-20:30-40:+\t0.25\tnan\t0.75\nENSG2;A5:chr2:1-2:3-4:-\t1\t0.5\t0\n"


def test_tables_of_suppa(tmp_path: Path) -> None:
    """The header has no name for the ids; the gene stands before the semicolon."""
    (tmp_path / "e.psi").write_text(SUPPA)
    table = read_psi(tmp_path / "e.psi", strip_versions=True)
    assert list(table.events["gene_id"]) == ["ENSG1", "ENSG2"]
    assert list(table.events["event_type"]) == ["SE", "A5"]
    np.testing.assert_array_equal(table.for_samples(["S3", "S9"]), [[0.75, np.nan], [0, np.nan]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id\tS1\nE1\t0.5\n", "name no gene: 'E1'"),
        ("id\tgene_id\tS1\nE1\tG\t50\n", "first 50 at event 'E1', column 'S1'"),
        ("id\tgene_id\tS1\nE1\tG\thigh\n", "column 'S1': values must be numbers, found 'high'"),
    ],
)
def test_bad_tables(text: str, words: str, tmp_path: Path) -> None:
    """The message names event, column and value."""
    (tmp_path / "e.psi").write_text(text)
    with pytest.raises(InputError, match=words):
        read_psi(tmp_path / "e.psi")


def test_logits_of_events() -> None:
    """Missing values take the mean of the event; events seen in less than half of the samples are left out."""
    psi = np.array([[0.5, np.nan, 0.9, 0.9], [np.nan, np.nan, np.nan, 0.3], [0.2, 0.2, 0.2, 0.2], [0, 1, 0, 1]])
    logits, usable = event_logits(psi)
    assert list(usable) == [0, 3]
    assert logits[0, 1] == pytest.approx((0 + 2 * np.log(9)) / 3)
    assert logits[1] == pytest.approx(np.log(99) * np.array([-1, 1, -1, 1]))


def test_three_channels_share_modules() -> None:
    """Events follow the modules of their genes: alone they find the planted modules, and all channels go together."""
    bundle = simulate("realistic_v1")
    alone = fit(bundle, {"channels": "psi"})
    assert set(alone.features.matrix.feature_types) == {"psi"}
    planted = bundle.truth(FeatureKind.TRUTH_MODULE)
    sizes = sorted(planted["module_id"].value_counts())
    assert sorted(len(g) for g in alone.modules.members.values()) == sizes
    assert (alone.roles["module_role"] == "switch_only").all()
    together = build_features(bundle, channels="all").matrix
    assert set(together.feature_types) == {"abundance", "psi", "switch"}
    assert len(set(together.feature_ids)) == len(together.values)


def test_bundle_without_events() -> None:
    """The message says how to get them."""
    bundle = simulate("toy_v1")
    bare = make_bundle(
        dataset_name="bare",
        samples=bundle.samples,
        tables={FeatureKind.TRANSCRIPT: bundle.transcripts},
        matrices={"transcript_counts": bundle.transcript_counts},
    )
    with pytest.raises(BundleError, match="prepare --psi"):
        build_features(bare, channels="psi")


def test_percentages_are_refused() -> None:
    """A stored share above 1 is a problem that names event and sample."""
    bundle = simulate("toy_v1")
    bundle.matrices["psi"][2, 1] = 40.0
    (problem,) = bundle_problems(bundle)
    assert "40 at 'PSI_G0002', column 'S001'" in str(problem)


def test_prepare_takes_events_of_kept_genes(tmp_path: Path) -> None:
    """Events of genes that were left out are counted, not stored."""
    bundle = simulate("toy_v1")
    counts = TranscriptCounts(
        counts=bundle.transcript_counts,
        transcript_ids=tuple(bundle.transcripts["transcript_id"]),
        sample_ids=tuple(bundle.sample_ids),
        gene_ids=tuple(bundle.transcripts["gene_id"]),
    )
    lines = ["\t".join(bundle.sample_ids)]
    lines += ["\t".join([f"{g};SE:1", *["0.5"] * 47, "0.6"]) for g in ("G0000", "G0001", "elsewhere")]
    (tmp_path / "e.psi").write_text("\n".join(lines) + "\n")
    prepared = prepare_bundle(counts, samples=bundle.samples, psi=read_psi(tmp_path / "e.psi"))
    assert prepared.report["splicing_events"] == {"n_events_read": 3, "n_events_kept": 2}
    assert list(prepared.bundle.tables["psi"]["gene_id"]) == ["G0000", "G0001"]
