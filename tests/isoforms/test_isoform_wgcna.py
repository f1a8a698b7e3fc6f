"""The weighted co-expression network agrees with its formulas, with the worked example and with R."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from cellkey.errors import ParameterError, RunError
from cellkey.isoforms.backend_settings import WgcnaParameters
from cellkey.isoforms.bundle import Bundle
from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.features import build_features
from cellkey.isoforms.fitting import fit, fit_parameters
from cellkey.isoforms.metrics import module_recovery, true_modules
from cellkey.isoforms.prepare import prepare_bundle
from cellkey.isoforms.quantification import read_transcript_counts
from cellkey.isoforms.settings import PrepareParameters
from cellkey.isoforms.synthetic import simulate
from cellkey.isoforms.wgcna import r_engine
from cellkey.isoforms.wgcna.adjacency import (
    NetworkType,
    adjacency_strip,
    advised_power,
    choose_power,
    raised,
    scale_free_fit,
    soft_threshold_table,
)
from cellkey.isoforms.wgcna.detection import blocks_of, detect
from cellkey.isoforms.wgcna.overlap import average_linkage, block_of, condensed_dissimilarity, topological_overlap
from cellkey.isoforms.wgcna.tree_cut import HybridCut, core_size, hybrid_cut

TYPES: tuple[NetworkType, ...] = ("signed", "unsigned", "signed_hybrid")


def _rows(p: int = 60, n: int = 20, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(3, n))
    return unit_rows(factors[np.arange(p) % 3] + rng.normal(size=(p, n)))


def test_worked_example(example: Bundle, original_features: dict[str, object]) -> None:
    """Adjacency, connectivity and overlap of the eight features of the worked example, to six digits."""
    features = build_features(example, fit_parameters({"features": original_features}).features).matrix
    rows = unit_rows(features.values)
    at = {f.replace("::abundance", "a").replace("::switch", "s"): i for i, f in enumerate(features.feature_ids)}
    adjacency = adjacency_strip(rows, 0, 8, 6, "signed")
    for pair, value in (("GAs GBs", 0.979683), ("GAs GCs", 0.993010), ("GBs GDa", 0.247727), ("GDa GDs", 0.027114)):
        a, b = pair.split()
        assert adjacency[at[a], at[b]] == pytest.approx(value, abs=2e-6)
    order = [at[f] for f in ("GAa", "GAs", "GBa", "GBs", "GCa", "GCs", "GDa", "GDs")]
    np.testing.assert_allclose(
        adjacency.sum(axis=1)[order],
        [3.353107, 3.483902, 2.277795, 3.598520, 0.009134, 3.557193, 1.765095, 0.175642],
        atol=5e-6,
    )
    overlap = topological_overlap(rows, 6, "signed")
    expected = {
        "GAs GBs": 0.876010,
        "GAs GCs": 0.878461,
        "GAa GCa": 0.000297,
        "GBs GDa": 0.461389,
        "GDa GDs": 0.069696,
    }
    for pair, value in expected.items():
        a, b = pair.split()
        assert overlap[at[a], at[b]] == pytest.approx(value, abs=2e-6)


@pytest.mark.parametrize("network_type", TYPES)
def test_overlap_in_strips_equals_the_definition(network_type: NetworkType) -> None:
    """Strips of any size give the naive overlap; the condensed form holds one minus it."""
    rows = _rows(23)
    r = rows @ rows.T
    base = {"signed": (1 + r) / 2, "unsigned": np.abs(r), "signed_hybrid": np.maximum(r, 0)}[network_type]
    a = base**5
    np.fill_diagonal(a, 0)
    k = a.sum(axis=1)
    naive = (a @ a + a) / (np.minimum(k[:, None], k[None, :]) + 1 - a)
    np.fill_diagonal(naive, 1)
    np.testing.assert_allclose(topological_overlap(rows, 5, network_type, strip=7), naive, atol=1e-12)
    pairs = condensed_dissimilarity(rows, 5, network_type, strip=6)
    np.testing.assert_allclose(squareform(pairs), 1 - naive, atol=1e-7)
    chosen = np.array([3, 0, 22])
    np.testing.assert_allclose(block_of(pairs, 23, chosen, np.arange(23)), (1 - naive)[chosen], atol=1e-7)


@pytest.mark.parametrize("power", [1, 2, 3, 6, 12, 13, 2.5])
def test_powers(power: float) -> None:
    """Powers by squaring equal powers."""
    base = np.linspace(0, 1, 11)
    np.testing.assert_allclose(raised(base.copy(), power), base**power, rtol=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_average_linkage_equals_scipy(seed: int) -> None:
    """Same heights and same cophenetic structure as scipy's tree."""
    pairs = condensed_dissimilarity(_rows(80, seed=seed), 4, "signed")
    ours = average_linkage(pairs.copy(), 80)
    theirs = linkage(pairs.astype(np.float64), "average")
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], rtol=2e-6)
    assert np.array_equal(ours[:, [0, 1, 3]], theirs[:, [0, 1, 3]])


def test_scale_free_fit_of_an_exact_power_law() -> None:
    """Counts that fall as a power of connectivity fit perfectly with the right slope."""
    k = np.arange(1, 11, dtype=float)
    counts = np.round(1e6 * k**-2).astype(int)
    r2, slope, _ = scale_free_fit(np.repeat(k, counts))
    assert r2 == pytest.approx(1, abs=1e-4)
    assert slope == pytest.approx(-2, abs=0.01)
    assert scale_free_fit(np.ones(5)) == (0, 0, 0)


def test_power_needs_a_falling_slope() -> None:
    """A power whose connectivity rises as a power law is no scale-free network."""
    table = soft_threshold_table(_rows(), range(1, 4), "signed").assign(
        sft_r2=[0.99, 0.90, 0.95], slope=[1.0, -1.0, -1.0]
    )
    chosen = choose_power(table, 0.85)
    assert (chosen.power, chosen.reached) == (2, True)
    assert choose_power(table, 0.99).power == 3
    assert not choose_power(table, 0.99).reached
    assert choose_power(table, 0.99, fallback=1).power == 1
    assert [advised_power(n, "signed") for n in (10, 20, 30, 40)] == [18, 16, 14, 12]
    assert chosen.table["chosen"].to_list() == [False, True, False]


def test_core_size() -> None:
    """A core is half the least size and the square root of the rest; small branches are all core."""
    assert [core_size(s, 20) for s in (5, 11, 12, 60, 111)] == [5, 11, 12, 18, 21]


def test_tree_cut_finds_separated_groups_and_leaves_noise() -> None:
    """Tight groups are clusters, strangers are not, and order does not matter."""
    rng = np.random.default_rng(0)
    place = np.r_[np.repeat([0.0, 10.0, 20.0], 25), rng.uniform(100, 2000, 10)][:, None]
    place = np.hstack([place + rng.normal(scale=0.3, size=place.shape) for _ in range(2)])
    distance = np.sqrt(((place[:, None] - place[None]) ** 2).sum(axis=2))
    distance /= distance.max()
    for order in (np.arange(85), rng.permutation(85)):
        d = distance[np.ix_(order, order)]
        tree = linkage(squareform(d, checks=False), "average")
        found = hybrid_cut(tree, lambda a, b, d=d: d[np.ix_(a, b)], HybridCut(min_size=10, cut_height=0.02))
        truth = np.where(order < 75, order // 25 + 1, 0)
        assert adjusted_rand_score(found, truth) == 1


def test_small_branch_stays_together_inside_a_scattered_one() -> None:
    """Objects 20 and 23 are nearest to the second cluster, their companions to the first.

    The branch of 20 is only too small, so it is assigned as one; that of 23 is too scattered, so its objects go alone.
    R's dynamicTreeCut 1.63.1 gives these labels.
    """
    owner = np.repeat([0, 1, 2, 3], [10, 10, 3, 3])
    between = np.array([[0.1, 0.88, 0.92, 0.92], [0, 0.1, 0.96, 0.96], [0, 0, 0.5, 0.895], [0, 0, 0, 0.5]])
    distance = between[np.minimum(owner[:, None], owner), np.maximum(owner[:, None], owner)]
    for o in (20, 23):
        distance[o, :20] = distance[:20, o] = np.repeat([0.935, 0.930], 10)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    found = hybrid_cut(tree, lambda a, b: distance[np.ix_(a, b)], HybridCut(7, 0, 0.965))
    assert found.tolist() == [1] * 10 + [2] * 10 + [1, 1, 1] + [2, 1, 1]


def test_blocks_keep_similar_rows_together() -> None:
    """Blocks are disjoint, complete, of limited size; modules in blocks equal those in one block."""
    rows = _rows(300, 40)
    blocks = blocks_of(rows, 120, 0)
    assert sorted(np.concatenate(blocks)) == list(range(300))
    assert max(len(b) for b in blocks) <= 120
    settings = WgcnaParameters(power=6, min_module_size=10)
    whole = detect(rows, settings).labels
    parts = detect(rows, settings.model_copy(update={"max_block_size": 120}))
    assert len(parts.blocks) > 1
    assert adjusted_rand_score(whole, parts.labels) >= 0.9


@pytest.mark.parametrize("name", ["medium_v1", "noisy_v1"])
def test_modules_of_a_fixture(name: str) -> None:
    """Each gene is in one module, traits and the threshold table are there, a fixed power is accepted."""
    bundle = simulate(name)
    found = fit(bundle, {"backend": "wgcna", "wgcna": {"min_module_size": 5}, "evidence": {"n_null": 0}})
    sets = [frozenset(g) for g in found.modules.members.values()]
    assert module_recovery(true_modules(bundle) or [], sets) >= 0.75
    assert len(found.traits.tests) > 0
    assert len(found.network.tables["soft_threshold"]) == 20
    assert set(found.network.edges["weight"].between(0.1 - 1e-9, 1)) == {True}
    fixed = fit(bundle, {"backend": "wgcna", "wgcna": {"power": 8}, "evidence": {"n_null": 0}})
    assert fixed.network.calibration["wgcna_soft_threshold_power"] == 8
    again = fit(bundle, {"backend": "wgcna", "wgcna": {"power": 8}, "evidence": {"n_null": 0}})
    assert dict(fixed.modules.members) == dict(again.modules.members)


def test_few_features_give_an_empty_result() -> None:
    """Fewer than four features have no modules."""
    bundle = simulate("toy_v1")
    whole = build_features(bundle).matrix
    few = replace(whole, values=whole.values[:3], features=whole.features.iloc[:3])
    from cellkey.isoforms.backends.wgcna import infer

    network = infer(few, WgcnaParameters(), np.random.default_rng(0), None)
    assert len(network.modules) == 0
    assert list(network.edges.columns)[:3] == ["source", "target", "weight"]


def test_settings_are_checked() -> None:
    """Unknown types are refused with the allowed ones."""
    with pytest.raises(ParameterError, match="signed_hybrid"):
        fit_parameters({"backend": "wgcna", "wgcna": {"network_type": "both"}})


def test_absent_r_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Rscript the message says what to install or set."""
    monkeypatch.setattr(r_engine.shutil, "which", lambda _: None)
    with pytest.raises(RunError, match="r-cran-wgcna"):
        r_engine.detect_in_r(_rows(), WgcnaParameters(engine="r"))


def _has_r() -> bool:
    program = shutil.which("Rscript")
    if program is None:
        return False
    words = [program, "-e", "quit(status = !requireNamespace('WGCNA', quietly = TRUE))"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def in_r() -> str:
    """Path of Rscript where R has WGCNA."""
    if not _has_r():
        pytest.skip("Rscript with the R package WGCNA is not installed (Debian: r-cran-wgcna)")
    return str(shutil.which("Rscript"))


_REFERENCE = """
suppressPackageStartupMessages(library(WGCNA))
folder <- commandArgs(trailingOnly = TRUE)[1]
x <- t(as.matrix(read.csv(file.path(folder, "x.csv"), header = FALSE)))
for (case in list(c("signed", 12), c("unsigned", 6), c("signed hybrid", 6))) {
  a <- adjacency(x, type = case[1], power = as.numeric(case[2]))
  name <- sub(" ", "_", case[1])
  writeBin(as.vector(a), file.path(folder, paste0(name, ".adjacency")))
  writeBin(as.vector(TOMsimilarity(a, TOMType = "unsigned", verbose = 0)), file.path(folder, paste0(name, ".overlap")))
  fits <- pickSoftThreshold(x, powerVector = 1:20, networkType = case[1], verbose = 0)$fitIndices
  write.csv(fits, file.path(folder, paste0(name, ".fits")), row.names = FALSE)
}
"""


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.r
@pytest.mark.parametrize("name", ["tasic", "macrophage"])
def test_agreement_with_r(name: str, labelled_data: Path, in_r: str, tmp_path: Path) -> None:
    """On real data adjacency, overlap and scale-free table agree to 1e-6, and the modules are the same."""
    group = {"tasic": "cluster", "macrophage": "condition"}[name]
    counts = read_transcript_counts(labelled_data / f"isoform_{name}.h5ad")
    bundle = prepare_bundle(counts, parameters=PrepareParameters(group=group), name=name).bundle
    values = build_features(bundle).matrix.values
    values = values[values.std(axis=1) > 1e-9]
    values = values[:: max(1, len(values) // 700)][:700]
    np.savetxt(tmp_path / "x.csv", values, delimiter=",", fmt="%.17g")
    (tmp_path / "reference.R").write_text(_REFERENCE)
    subprocess.run(
        [in_r, "--vanilla", str(tmp_path / "reference.R"), str(tmp_path)], check=True, capture_output=True, timeout=300
    )
    rows, n = unit_rows(values), len(values)
    for network_type, power in (("signed", 12), ("unsigned", 6), ("signed_hybrid", 6)):
        theirs = np.fromfile(tmp_path / f"{network_type}.adjacency").reshape(n, n)
        np.fill_diagonal(theirs, 0)
        assert np.abs(adjacency_strip(rows, 0, n, power, network_type) - theirs).max() <= 1e-6
        overlap = np.fromfile(tmp_path / f"{network_type}.overlap").reshape(n, n)
        assert np.abs(topological_overlap(rows, power, network_type) - overlap).max() <= 1e-6
        fits = np.loadtxt(tmp_path / f"{network_type}.fits", delimiter=",", skiprows=1)
        ours = soft_threshold_table(rows, range(1, 21), network_type).to_numpy()
        np.testing.assert_allclose(ours, fits, atol=1e-6)
    for settings in (
        {},
        {"power": 6, "network_type": "unsigned", "min_module_size": 10, "deep_split": 3},
        {"power": 8, "network_type": "signed_hybrid", "deep_split": 1, "pam_stage": False},
        {"power": 6, "network_type": "unsigned", "min_module_size": 5, "deep_split": 4, "pam_respects_tree": False},
    ):
        parameters = WgcnaParameters(**settings)
        ours, theirs = detect(values, parameters), r_engine.detect_in_r(values, parameters)
        assert ours.power == theirs.power
        assert adjusted_rand_score(ours.labels, theirs.labels) >= 0.999
