"""What never changes an enrichment result, and what bad or small input gives."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellkey.calls.export import export_labels
from cellkey.calls.route_table import route_table
from cellkey.errors import CellkeyWarning, InputError, ParameterError, ScaleError
from cellkey.hierarchy import CellType, Hierarchy
from cellkey.profiles.expression import Expression
from cellkey.profiles.means import means_from_profiles, means_from_table
from cellkey.profiles.profile import profile_clusters
from cellkey.records.vocabulary import BranchStop
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import route_branches
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.enrichment_settings import EnrichmentScoring
from cellkey.scoring.evidence import Evidence
from cellkey.scoring.key import measure_key
from cellkey.scoring.panel_presets import choose_preset
from cellkey.scoring.specificity import robust_scale, robust_z, sibling_gap
from enrichment_example import TREE, raw_means

MODES = {"default": EnrichmentScoring(), "released": EnrichmentScoring.released(),
         "drawn": EnrichmentScoring(controls="drawn", control_sizes=(3,))}


def evidence_of(table: pd.DataFrame, tree: Hierarchy = TREE, parameters: EnrichmentScoring | None = None,
                **options: object) -> Evidence:
    means = means_from_table(table, **options)  # type: ignore[arg-type]
    return score_enrichment(means, measure_key(tree, means.genes), parameters)


def calls_of(table: pd.DataFrame, tree: Hierarchy = TREE, parameters: EnrichmentScoring | None = None,
             **options: object) -> pd.DataFrame:
    found = export_labels(route_table(route_branches(evidence_of(table, tree, parameters, **options))))
    return found.set_index("cluster_id").sort_index()


def same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(first, second, rtol=1e-9, atol=1e-9)


def noisy(seed: int = 0, n_genes: int = 300, n_clusters: int = 9) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    genes = [*sorted(TREE.all_markers()), *(f"G{i}" for i in range(n_genes))]
    values = rng.gamma(0.6, 1.0, (len(genes), n_clusters)) * rng.lognormal(0, 1, (len(genes), 1))
    return pd.DataFrame(values, index=genes, columns=[f"c{i}" for i in range(n_clusters)])


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_of_genes_clusters_roots_and_siblings_changes_nothing(mode: str, seed: int) -> None:
    """Also for drawn controls: every marker has a random stream of its own."""
    rng = np.random.default_rng(seed)
    table = noisy(seed % 5)
    expected = calls_of(table, parameters=MODES[mode])
    mixed = table.iloc[rng.permutation(len(table)), rng.permutation(table.shape[1])]
    same(calls_of(mixed, parameters=MODES[mode]), expected)
    nodes = list(TREE.nodes)
    rng.shuffle(nodes)
    same(calls_of(table, Hierarchy(tuple(nodes)), MODES[mode]), expected)


@pytest.mark.parametrize("mode", MODES)
def test_silent_genes_depth_and_renaming_change_nothing(mode: str) -> None:
    """A gene that is zero everywhere, a cluster sequenced ten times deeper, other cluster names."""
    table = noisy()
    expected = calls_of(table, parameters=MODES[mode])
    silent = pd.concat([table, pd.DataFrame(0.0, index=["SILENT", "MUTE"], columns=table.columns)])
    same(calls_of(silent, parameters=MODES[mode]), expected)
    deeper = table * np.array([1, 10, 0.3, *[1] * (table.shape[1] - 3)])
    same(calls_of(deeper, parameters=MODES[mode]), expected)
    renamed = calls_of(table.rename(columns=lambda c: f"x{c}"), parameters=MODES[mode])
    text = [c for c in expected if c.startswith("annot_export_label") or c.endswith("with_cluster")]
    columns = [c for c in expected if c not in text]
    pd.testing.assert_frame_equal(renamed[columns].reset_index(drop=True), expected[columns].reset_index(drop=True),
                                  rtol=1e-9, atol=1e-9)


def test_a_branch_elsewhere_does_not_change_raw_scores_under_its_own_exclusion() -> None:
    """With controls that only leave out the own branch, a new branch of unmeasured genes changes nothing."""
    table = noisy()
    more = Hierarchy((*TREE.nodes, CellType(("Immune", "Unseen"), ("NOT1", "NOT2"))))
    parameters = EnrichmentScoring(control_exclusion="own_markers")
    before, after = evidence_of(table, parameters=parameters), evidence_of(table, more, parameters)
    names = [n.path_text for n in more.nodes]
    kept = [names.index(n.path_text) for n in TREE.nodes]
    np.testing.assert_allclose(after["raw"][:, kept], before["raw"], rtol=1e-12)
    assert np.isnan(after["raw"][:, names.index("Immune / Unseen")]).all()
    np.testing.assert_allclose(after.score[:, kept], before.score, rtol=1e-12)


def test_a_type_that_is_not_measured_is_reported_and_never_dropped() -> None:
    """Its status says why; the walk goes around it."""
    table = noisy().drop(index=["CD3D", "CD3E", "TRAC", "C1QA"])
    evidence = evidence_of(table)
    status = dict(zip([n.name for n in TREE.nodes], map(str, evidence.details.status), strict=True))
    assert status["T cell"] == "no_markers_present"
    assert status["Macrophage"] == "ok"
    assert status["Luminal"] == "ok"
    assert evidence.details.sets.missing[1] == ("CD3D", "CD3E", "TRAC")
    few = evidence_of(table.drop(index=["LYZ"]))
    assert str(few.details.status[2]) == "insufficient_markers_present"


def test_too_few_own_markers_fall_back_to_all_listed_with_controls() -> None:
    """Pericyte without DES keeps PDGFRB alone; RGS5, which its parent lists too, is scored again."""
    table = noisy().drop(index=["DES"])
    evidence = evidence_of(table)
    at = [n.name for n in TREE.nodes].index("Pericyte")
    sets = evidence.details.sets
    assert sets.used_listed[at]
    assert [str(evidence.details.means.genes[c]) for c in sets.scored[at]] == ["RGS5", "PDGFRB"]
    positive = evidence.details.positive
    assert positive.n_controls[at] > 0
    released = evidence_of(table, parameters=EnrichmentScoring.released(controls="all"))
    assert released.details.positive.n_present[at] == 2
    marker = released.details.means.values[:, list(released.details.means.genes).index("PDGFRB")]
    np.testing.assert_allclose(released.details.positive.marker_mean[:, at], marker)


@pytest.mark.parametrize("mode", ["default", "released"])
def test_one_and_two_clusters_give_defined_results(mode: str) -> None:
    """One cluster has z = 0, so raw enrichment alone decides; two clusters are each other's mirror."""
    one = evidence_of(raw_means()[["k0"]], parameters=MODES[mode])
    assert (one["z"][np.isfinite(one["z"])] == 0).all()
    assert np.isfinite(one.score).any()
    two = evidence_of(raw_means()[["k0", "k1"]], parameters=MODES[mode])
    np.testing.assert_allclose(two["z"][0], -two["z"][1])
    assert len(calls_of(raw_means()[["k0", "k1"]], parameters=MODES[mode])) == 2
    if mode == "default":
        apart = np.abs(two["raw"][0] - two["raw"][1])
        assert np.nanmax(np.abs(two["z"][0]) - apart / 2 / 0.25) <= 1e-9


def test_a_cluster_with_missing_values_is_unscored_and_leaves_the_others_alone() -> None:
    """It is named in a warning and reported as unknown."""
    table = raw_means()
    expected = calls_of(table)
    table["bad"] = table["k0"]
    table.loc["CD3D", "bad"] = np.nan
    with pytest.warns(CellkeyWarning, match="1 cluster.*bad"):
        found = calls_of(table)
    assert found.loc["bad", ["annot_export_status", "annot_stop_reason"]].tolist() == ["unknown", "no_valid_score"]
    same(found.drop(index="bad"), expected)


def test_all_clusters_missing_or_empty() -> None:
    """No finite value at all gives unknown everywhere; a cluster of zeros is an empty cluster."""
    with pytest.warns(CellkeyWarning):
        found = calls_of(raw_means() * np.nan)
    assert set(found["annot_export_status"]) == {"unknown"}
    table = raw_means().assign(empty=0.0)
    assert calls_of(table).loc["empty", "annot_export_status"] in ("unknown", "candidate", "resolved")


def test_input_that_cannot_be_used() -> None:
    """Not a table, empty, text, negative counts, repeated cluster names, unknown kinds of input."""
    with pytest.raises(TypeError, match="pandas table"):
        means_from_table(raw_means().to_numpy())  # type: ignore[arg-type]
    for empty in (raw_means().iloc[:0], raw_means().iloc[:, :0]):
        with pytest.raises(InputError, match="empty"):
            means_from_table(empty)
    with pytest.raises(TypeError, match="k1"):
        means_from_table(raw_means().astype({"k1": str}))
    with pytest.raises(ScaleError, match="negative"):
        means_from_table(-raw_means())
    with pytest.raises(InputError, match="more than once"):
        means_from_table(raw_means().set_axis(["a", "a", "b", "c", "d"], axis=1))
    with pytest.raises(InputError, match="raw_cluster_means"):
        means_from_table(raw_means(), input_type="counts")
    with pytest.raises(ParameterError, match="did you mean 'scale_floor'"):
        EnrichmentScoring.parse({"scale_flor": 1})


def test_gene_names_are_cleaned_and_duplicates_united() -> None:
    """Case and blanks do not matter; two halves of a gene's counts are summed, log values averaged."""
    table = raw_means().rename(index={"CD3D": " cd3d ", "LYZ": "Lyz"})
    same(calls_of(table), calls_of(raw_means()))
    halves = pd.concat([raw_means() / 2, raw_means() / 2])
    same(calls_of(halves), calls_of(raw_means()))
    log = means_from_table(pd.concat([raw_means(), raw_means() * 3]), input_type="normalized")
    np.testing.assert_allclose(log.values[0, 0], 6.0)
    averaged = means_from_table(halves, duplicates="mean")
    np.testing.assert_allclose(averaged.values, means_from_table(raw_means()).values)


def test_signed_log_values_keep_their_genes_by_default() -> None:
    """Only genes that are zero everywhere are dropped; the published program drops non-positive sums."""
    table = raw_means() - 2.0
    assert len(means_from_table(table, input_type="normalized").genes) == 35
    assert len(means_from_table(table, input_type="normalized", keep_negative=False).genes) < 35


def test_presets_follow_the_size_of_the_panel() -> None:
    """Limits at 2,500, 8,000 (if sparse) and 10,000 genes."""
    cases = [(2499, 0.0, "small"), (2500, 0.0, "medium"), (8000, 0.9, "medium"), (8001, 0.4, "large"),
             (8001, 0.39, "medium"), (10000, 0.0, "medium"), (10001, 0.0, "large")]
    assert [choose_preset(n, s) for n, s, _ in cases] == [c[2] for c in cases]


def test_an_only_child_is_compared_with_its_parent() -> None:
    """Not with nothing; unless nothing else can be scored or the published rule is asked for."""
    parents = np.array([-1, 0, -1, 2, 2])
    z = np.array([[1.0, 3.0, 0.5, 2.0, np.nan]])
    np.testing.assert_allclose(sibling_gap(z, parents)[0], [0.5, 2.0, -0.5, 1.5, np.nan])
    np.testing.assert_allclose(sibling_gap(z, parents, only_child="none")[0], [0.5, 3.0, -0.5, 2.0, np.nan])
    np.testing.assert_allclose(sibling_gap(z[:, :1], parents[:1])[0], [1.0])


def test_sibling_gap_against_a_loop() -> None:
    """Ties and missing siblings included."""
    rng = np.random.default_rng(3)
    parents = np.array([-1, -1, 0, 0, 0, 1, 4, 4, -1])
    z = np.round(rng.normal(size=(20, 9)), 1)
    z[rng.random(z.shape) < 0.2] = np.nan
    expected = np.full_like(z, np.nan)
    for c in range(20):
        for n in range(9):
            others = [z[c, j] for j in range(9) if parents[j] == parents[n] and j != n and np.isfinite(z[c, j])]
            expected[c, n] = z[c, n] - max(others) if others else z[c, n]
    np.testing.assert_allclose(sibling_gap(z, parents, only_child="none"), expected)


def test_siblings_share_the_median_scale() -> None:
    """Of those that could be scored; as published each has its own."""
    rng = np.random.default_rng(0)
    parents = np.array([-1, -1, -1, 0, 0, 2])
    raw = rng.normal(size=(30, 6)) * [0.1, 1.0, 3.0, 0.5, 2.0, 1.0]
    raw[:, 4] = np.nan
    centre, own = robust_scale(raw)
    shared = [np.median(own[[0, 1, 2]])] * 3 + [own[3], np.nan, own[5]]
    z = robust_z(raw, parents=parents)
    np.testing.assert_allclose(z, (raw - centre) / shared)
    np.testing.assert_allclose(robust_z(raw), (raw - centre) / own)


def test_a_common_type_does_not_lose_to_a_sibling_that_differs_by_noise() -> None:
    """In half of the clusters, its own scale is large; in one unit the larger difference counts."""
    raw = np.zeros((8, 2))
    raw[:, 0] = [2.0, 2.1, 1.9, 2.0, -1.0, -1.1, -0.9, -1.0]
    raw[:, 1] = [0.3, -0.3, 0.1, -0.1, 0.3, -0.3, 0.1, -0.1]
    parents = np.array([-1, -1])
    assert sibling_gap(robust_z(raw), parents)[0, 0] < 0
    assert (sibling_gap(robust_z(raw, parents=parents), parents)[:4, 0] > 0).all()


def counted(n_cells: int, seed: int = 0, n_genes: int = 200, depth: float = 300.0) -> pd.DataFrame:
    """Mean counts of six clusters of ``n_cells`` with one profile, as sequencing would draw them."""
    rng = np.random.default_rng(seed)
    genes = [*sorted(TREE.all_markers()), *(f"G{i}" for i in range(n_genes))]
    rate = np.random.default_rng(1).lognormal(0, 1.2, len(genes))
    rate *= depth / rate.sum()
    counts = rng.poisson(np.tile(rate * n_cells, (6, 1)))
    return pd.DataFrame(counts.T / n_cells, index=genes, columns=[f"c{i}" for i in range(6)])


def test_the_error_of_means_is_what_repeated_sequencing_shows() -> None:
    """For genes of which five transcripts are expected; larger than zero for unseen ones."""
    n = 40
    tables = [means_from_table(counted(n, seed), n_cells=dict.fromkeys([f"c{i}" for i in range(6)], n))
              for seed in range(60)]
    names = [g for g in tables[0].genes if all(g in set(t.genes) for t in tables)]
    columns = [[list(t.genes).index(g) for g in names] for t in tables]
    values = np.concatenate([t.values[:, c] for t, c in zip(tables, columns, strict=True)])
    error = np.concatenate([t.error[:, c] for t, c in zip(tables, columns, strict=True)])
    seen = np.concatenate([counted(n, seed).loc[names].to_numpy().T * n for seed in range(60)]).mean(axis=0)
    often = seen >= 5
    assert often.sum() > 50
    ratio = error[:, often].mean(axis=0) / values[:, often].std(axis=0)
    assert abs(np.median(ratio) - 1.0) < 0.05
    assert np.abs(ratio - 1.0).max() < 0.2  # the deviation itself is known to 4 % from 360 draws, 209 genes
    assert (tables[0].error > 0).all()


def test_profiles_and_mean_counts_know_the_same_error() -> None:
    """Cells that mostly show at most one transcript of a gene: the two ways of counting agree."""
    rng = np.random.default_rng(2)
    counts = rng.poisson(0.02, (600, 120)).astype(np.float64)
    counts[:, 0] += 50.0  # depth, so that every cell is scaled alike
    labels = np.repeat(["0", "1", "2"], 200)
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    genes = [f"G{i}" for i in range(120)]
    profiles = profile_clusters(Expression(logged), labels, genes)
    found = means_from_profiles(profiles, logged=True)
    table = pd.DataFrame({g: counts[labels == g].mean(axis=0) for g in ("0", "1", "2")}, index=genes)
    expected = means_from_table(table, n_cells=dict.fromkeys("012", 200))
    both = [list(expected.genes).index(g) for g in found.genes]
    apart = np.abs(found.error[:, 1:] / expected.error[:, both][:, 1:] - 1.0)
    assert np.median(apart) < 0.02
    assert apart.max() < 0.3


def test_support_is_called_only_where_enough_transcripts_were_seen() -> None:
    """Chance alone is named in few cells of unknown number, and not where the number is known."""
    tables = [counted(20, seed) for seed in range(12)]
    cells = dict.fromkeys(tables[0].columns, 20)
    bold = sum((calls_of(t)["annot_label"] != "Unresolved").sum() for t in tables)
    careful = sum((calls_of(t, n_cells=cells)["annot_label"] != "Unresolved").sum() for t in tables)
    assert careful < bold / 4
    signal = raw_means()
    many, few = (calls_of(signal, n_cells=dict.fromkeys(signal.columns, n)) for n in (100_000, 1))
    same(many, calls_of(signal))
    assert (few["annot_level"] <= many["annot_level"]).all()
    assert "within_sampling_error" in set(few["annot_stop_reason"])
    with pytest.raises(InputError, match="at least one cell for every cluster, but not for c3"):
        calls_of(tables[0], n_cells={k: v for k, v in cells.items() if k != "c3"})


@pytest.mark.slow
def test_two_hundred_clusters_take_less_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 clusters x 20,000 genes x 100 types, scored, routed and reported."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import enrichment as benchmark

    means, tree = benchmark.large_example(200, 20_000)
    key = measure_key(tree, means.genes)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        export_labels(route_table(route_branches(score_enrichment(means, key))))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0


def test_raising_a_gate_never_deepens_a_path() -> None:
    """Score, margin and raw thresholds."""
    evidence = evidence_of(noisy(4))
    loose = route_branches(evidence)
    for change in ({"score_threshold": 0.3}, {"margin_threshold": 0.3}, {"min_leaf_raw_score": 0.1},
                   {"min_branch_supported_raw_score": 0.2}):
        strict = route_branches(evidence, BranchGating(**change))
        for a, b in zip(strict.walks, loose.walks, strict=True):
            assert a.path == b.path[: len(a.path)]


def test_a_label_without_support_of_its_own_is_given_up() -> None:
    """A parent lifted by a child that then fails, with markers that speak against it, is not reported."""
    tree = Hierarchy((
        CellType(("A",), ("A1", "A2")), CellType(("A", "X"), ("X1", "X2", "X3")), CellType(("B",), ("B1", "B2")),
    ))
    key = measure_key(tree, ["A1", "A2", "X1", "X2", "X3", "B1", "B2"])
    means = means_from_table(pd.DataFrame(np.ones((7, 1)), index=list(key.var_names), columns=["c"]))
    base = score_enrichment(means, key)
    names = [n.name for n in tree.nodes]
    order = [names.index(n) for n in ("A", "X", "B")]

    def arranged(a: float, x: float, b: float) -> np.ndarray:
        values = np.zeros((1, 3))
        values[0, order] = [a, x, b]
        return values

    parts = dict(base.components) | {
        "raw": arranged(-0.1, -0.3, -1.0), "routing_raw": arranged(0.1, 0.1, -1.0), "detection": arranged(1, 1, 1)}
    evidence = replace(base, score=arranged(0.5, 0.4, -0.2), components=parts)
    routes = route_branches(evidence)
    assert routes.stop[0] is BranchStop.BELOW_ABSOLUTE_SUPPORT
    assert routes.steps_back.tolist() == [1]
    assert routes.node.tolist() == [-1]
    assert route_table(routes).loc[0, ["annot_label", "annot_decision_label", "annot_backoff_applied"]].tolist() == [
        "Unresolved", "A", True]
    kept = route_branches(evidence, BranchGating(back_off=False))
    assert [names[k] for k in kept.walks[0].path] == ["A"]
