"""Explanations of the worked example, and the files and errors of explain-module."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from cellkey.errors import InputError, MissingFieldError, RunError
from cellkey.isoforms import tables
from cellkey.isoforms.bundle import Bundle
from cellkey.isoforms.explaining import explain_modules
from cellkey.isoforms.explanation import ExplainParameters, masked_correlations
from cellkey.isoforms.fit_files import write_fit
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.parquet import read_parquet, sha256_of
from cellkey.isoforms.synthetic import simulate

ALIGNED = [-1.406254, -0.895270, -0.536931, -0.077828, 0.265286, 0.578371, 0.838077, 1.234549]


@pytest.fixture
def fitted(example: Bundle, tmp_path: Path) -> Path:
    """Directory of a fit of the example with one module of GA, GB and GC."""
    return write_fit(fit(example, {"backend": "baseline"}), tmp_path / "fit")


@pytest.fixture
def scores() -> pd.DataFrame:
    """The sign-aligned mean profile under which the expected numbers were computed."""
    return pd.DataFrame({"sample_id": [f"S{i}" for i in range(1, 9)], "M000": ALIGNED})


def test_gene_drivers_of_the_example(fitted: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    """GB, GC, GA by their switch features, with r, p and q over the six features."""
    found = explain_modules(fitted, output_dir=tmp_path / "e", module_score_table=scores)["M000"].gene_drivers
    assert list(found["gene_id"]) == ["GB", "GC", "GA"]
    assert set(found["feature_type"]) == {"switch"}
    np.testing.assert_allclose(found["r"], [0.997313, 0.994911, 0.989875], atol=2e-6)
    np.testing.assert_allclose(found["pvalue"], [4.838913e-8, 3.281342e-7, 2.575627e-6], rtol=2e-4)
    np.testing.assert_allclose(found["qvalue"], [2.903348e-7, 9.844025e-7, 5.151253e-6], rtol=2e-4)
    assert list(found.columns[:8]) == [
        "gene_id",
        "r",
        "pvalue",
        "qvalue",
        "n_complete",
        "missingness",
        "feature_id",
        "feature_type",
    ]


def test_transcript_polarity_of_the_example(fitted: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    """r, q and switch strength of the seven transcripts."""
    found = explain_modules(fitted, output_dir=tmp_path / "e", module_score_table=scores)["M000"].transcript_polarity
    table = found.set_index("transcript_id")
    np.testing.assert_allclose(
        table.loc[["A1", "A2", "B1", "B2", "B3", "C1", "C2"], "r"],
        [0.989040, -0.989040, 0.989965, -0.991721, -0.973748, 0.987862, -0.987862],
        atol=2e-6,
    )
    assert table.loc["B3", "qvalue"] == pytest.approx(4.434543e-5, rel=1e-4)
    assert table.loc["A1", "qvalue"] == pytest.approx(5.168367e-6, rel=1e-4)
    strength = table.groupby("gene_id")["switch_strength"].first()
    assert strength.to_dict() == pytest.approx({"GA": 1.978079, "GB": 1.981687, "GC": 1.975724}, abs=2e-6)


def test_high_against_low_of_the_example(fitted: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    """Welch contrasts of four high against four low samples; the module is the default scope."""
    found = explain_modules(fitted, output_dir=tmp_path / "e", module_score_table=scores)["M000"].high_vs_low
    assert found["in_module"].all()
    assert len(found) == 7
    table = found.set_index("feature_id")
    columns = ["mean_high", "mean_low", "delta", "se", "tstat", "pvalue"]
    assert table.loc["A1", columns].to_list() == pytest.approx(
        [0.677043, 0.257273, 0.419770, 0.099242, 4.229748, 0.006207], abs=2e-6
    )
    assert table.loc["B1", columns].to_list() == pytest.approx(
        [0.687500, 0.235000, 0.452500, 0.098816, 4.579222, 0.003892], abs=2e-6
    )
    assert (table.loc["A1", "n_high"], table.loc["A1", "n_low"]) == (4, 4)
    everything = explain_modules(
        fitted, output_dir=tmp_path / "e", module_score_table=scores, parameters=ExplainParameters(all_features=True)
    )["M000"].high_vs_low.set_index("feature_id")
    assert everything.loc["D1", ["delta", "tstat", "pvalue"]].to_list() == pytest.approx(
        [-0.008282, -0.433694, 0.679981], abs=2e-6
    )
    assert not everything.loc["D1", "in_module"]


def test_written_files(fitted: Path, tmp_path: Path) -> None:
    """One directory per module with tables that follow their schemas and a manifest that lists them."""
    root = tmp_path / "artifacts" / "explain"
    explain_modules(fitted, output_dir=root)
    index = json.loads((root / "module_explanation_manifest.json").read_text())
    assert index["module_ids"] == ["M000"]
    assert index["n_modules"] == 1
    manifest = json.loads((root / "M000" / "module_explanation_manifest.json").read_text())
    for entry in manifest["files"]:
        path = root / "M000" / entry["path"]
        assert entry["bytes"] == path.stat().st_size
        assert entry["sha256"] == sha256_of(path)
    for schema in (tables.GENE_DRIVERS, tables.TRANSCRIPT_POLARITY, tables.HIGH_VS_LOW):
        schema.conform(read_parquet(root / "M000" / f"{schema.name}.parquet"))
    summary = json.loads((root / "M000" / "module_summary.json").read_text())
    assert summary["n_module_genes"] == 3
    assert summary["top_switch_gene"] in {"GA", "GB", "GC"}


def test_stored_eigengene_is_used(fitted: Path, tmp_path: Path) -> None:
    """Without a score table the one eigengene of the fit is correlated."""
    found = explain_modules(fitted, output_dir=tmp_path / "e")["M000"].gene_drivers.set_index("feature_id")
    membership = read_parquet(fitted / "module_membership.parquet").set_index("feature_id")
    for feature in found.index:
        assert found.loc[feature, "r"] == pytest.approx(membership.loc[feature, "kme"], abs=1e-9)


def test_masked_correlations_equal_pairwise_pearson() -> None:
    """Columns with missing values are correlated over their complete pairs."""
    rng = np.random.default_rng(0)
    table, profile = rng.normal(size=(20, 6)), rng.normal(size=20)
    table[rng.random(table.shape) < 0.3] = np.nan
    table[:, 5] = 2.0
    r, n = masked_correlations(table, profile)
    for j in range(5):
        ok = np.isfinite(table[:, j])
        assert n[j] == ok.sum()
        assert r[j] == pytest.approx(scipy.stats.pearsonr(table[ok, j], profile[ok]).statistic)
    assert np.isnan(r[5])


def test_errors_name_the_remedy(fitted: Path, tmp_path: Path) -> None:
    """Missing files, unknown modules, repeated ids and too few samples are answered one by one."""
    usage = read_parquet(fitted / "transcript_usage.parquet")
    with pytest.raises(InputError, match="the fit has M000"):
        explain_modules(fitted, output_dir=tmp_path, module_ids=["M001"])
    with pytest.raises(RunError, match="cellkey isoforms fit"):
        explain_modules(tmp_path / "nothing", output_dir=tmp_path)
    with pytest.raises(InputError, match="Only 3 samples overlap"):
        explain_modules(fitted, output_dir=tmp_path, feature_table=usage.head(3))
    with pytest.raises(InputError, match="duplicate sample ids: S1"):
        explain_modules(fitted, output_dir=tmp_path, feature_table=pd.concat([usage, usage.head(1)]))
    with pytest.raises(MissingFieldError, match="gene_id"):
        explain_modules(fitted, output_dir=tmp_path, feature_meta=pd.DataFrame({"feature_id": ["A1"]}))
    with pytest.raises(InputError, match="lacks 1 module column"):
        explain_modules(fitted, output_dir=tmp_path, module_score_table=pd.DataFrame({"sample_id": ["S1"], "x": [1]}))
    with pytest.raises(InputError, match="column 'A1': values must be numbers, found 'x'"):
        explain_modules(fitted, output_dir=tmp_path, feature_table=usage.assign(A1="x"))


def test_notes_are_told_and_old_files_go(fitted: Path, tmp_path: Path) -> None:
    """A table without transcript usage is said to have no polarity; files of an earlier explanation do not stay."""
    explain_modules(fitted, output_dir=tmp_path, parameters=ExplainParameters(plot=True))
    assert (tmp_path / "M000" / "driver_bar.png").is_file()
    told: list[str] = []
    meta = read_parquet(fitted / "feature_meta.parquet").assign(feature_type="exon")
    explain_modules(fitted, output_dir=tmp_path, feature_meta=meta, tell=told.append)
    assert told == ["no feature has the type 'transcript_usage': polarity tables are empty"]
    assert not list((tmp_path / "M000").glob("*.png"))


def test_dropped_samples_are_noted(fitted: Path, tmp_path: Path) -> None:
    """A table with further samples is aligned by id, and the difference is recorded."""
    usage = read_parquet(fitted / "transcript_usage.parquet")
    more = pd.concat([usage, usage.head(1).assign(sample_id="S99")])
    explain_modules(fitted, output_dir=tmp_path / "e", feature_table=more.iloc[::-1])
    index = json.loads((tmp_path / "e" / "module_explanation_manifest.json").read_text())
    assert index["n_samples"] == 8
    assert "1 samples of the feature table" in index["notes"][0]


def test_switching_genes_lead_and_are_polar(tmp_path: Path) -> None:
    """On planted modules switch strength tells switching from other genes."""
    from sklearn.metrics import roc_auc_score

    bundle = simulate("medium_multiplex_v1")
    found = explain_modules(
        write_fit(fit(bundle, {"evidence": {"n_null": 0}}), tmp_path / "f"), output_dir=tmp_path / "e"
    )
    truth = bundle.tables["truth_channel_role"].set_index("gene_id")
    strength = pd.concat([e.transcript_polarity.groupby("gene_id")["switch_strength"].max() for e in found.values()])
    assert roc_auc_score(truth.loc[strength.index, "has_switch"], strength) >= 0.95
