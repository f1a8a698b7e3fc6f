"""Backends find planted modules, nothing in noise, and the same whatever the order of the input."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from cellkey.errors import ParameterError
from cellkey.isoforms.backend_settings import BaselineParameters, GeneGraphParameters, GraphParameters
from cellkey.isoforms.backends import backend_names, get_backend
from cellkey.isoforms.backends.baseline import partial_correlations, shrinkage_of
from cellkey.isoforms.backends.communities import connected_components, core_members, leiden_communities
from cellkey.isoforms.backends.gene_graph import candidate_pairs, dense_similarity, gene_graph_network
from cellkey.isoforms.backends.graph import feature_graph, laplacian, smoothed
from cellkey.isoforms.backends.pairs import best_gene_pairs
from cellkey.isoforms.backends.spectral import rescue_threshold
from cellkey.isoforms.bundle import Bundle
from cellkey.isoforms.correlation import correlation_pvalues, unit_rows
from cellkey.isoforms.features import build_features
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.metrics import agreement, background_assigned, module_recovery, role_recall, true_modules
from cellkey.isoforms.presets import fixture_settings
from cellkey.isoforms.settings import FeatureParameters
from cellkey.isoforms.synthetic import pure_noise, simulate

QUICK = {"evidence": {"n_null": 0}}
SEEDS = (7, 107, 207, 307, 407)
SMALL = (
    "toy_v1",
    "medium_v1",
    "realistic_v1",
    "realistic_unequal_v1",
    "noisy_v1",
    "large_v1",
    "nonlinear_v1",
    "toy_multiplex_v1",
    "medium_multiplex_v1",
    "noisy_multiplex_v1",
    "large_multiplex_v1",
)


def _found(bundle: Bundle, **settings: object):
    return fit(bundle, {**QUICK, **settings})


def _recovery(bundle: Bundle, found) -> float:
    return module_recovery(true_modules(bundle) or [], [frozenset(g) for g in found.modules.members.values()])


def test_registry_names_close_matches() -> None:
    """The default comes first, and a misspelt backend is answered."""
    assert backend_names()[0] == "spectral"
    with pytest.raises(ParameterError, match="did you mean 'spectral'"):
        get_backend("spectrl")


@pytest.mark.parametrize("name", ["toy_v1", "noisy_v1", "nonlinear_v1", "toy_multiplex_v1", "medium_multiplex_v1"])
def test_spectral_recovers_planted_modules(name: str) -> None:
    """With one setting every planted module is found and next to no background gene is assigned."""
    bundle = simulate(name)
    found = _found(bundle)
    truth = true_modules(bundle) or []
    assert _recovery(bundle, found) >= 0.98
    assert agreement(truth, found.modules)["ari"] >= 0.98
    assert background_assigned(truth, found.modules, bundle.gene_ids) <= 0.025
    recall = role_recall(bundle, found.modules)
    assert recall is None or min(recall.values()) >= 0.95


@pytest.mark.slow
def test_spectral_meets_its_bar_on_all_fixtures() -> None:
    """Five suite seeds: mean recovery at least 0.985, none below 0.95, ARI at least 0.98, roles at least 0.95."""
    for name in SMALL:
        recoveries = []
        for seed in SEEDS:
            bundle = simulate(name, seed=seed)
            found = _found(bundle)
            recoveries.append(_recovery(bundle, found))
            assert agreement(true_modules(bundle) or [], found.modules)["ari"] >= 0.98, (name, seed)
            recall = role_recall(bundle, found.modules)
            assert recall is None or min(recall.values()) >= 0.95, (name, seed)
        assert np.mean(recoveries) >= 0.985, name
        assert min(recoveries) >= 0.95, name


HARD = {
    "hard_n120_c20_f0.4": 1.000,
    "hard_n120_c5_f0.4": 0.980,
    "hard_n120_c2_f0.4": 0.922,
    "hard_n120_c1_f0.4": 0.938,
    "hard_n60_c20_f0.4": 0.999,
    "hard_n60_c5_f0.4": 0.931,
    "hard_n60_c2_f0.4": 0.681,
    "hard_n40_c5_f0.4": 0.767,
    "hard_n120_c20_f1": 1.000,
    "hard_n120_c20_f1.5": 0.799,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_spectral_on_the_harder_grid(name: str) -> None:
    """Mean recovery over three seeds is within 0.03 of the published prototype."""
    recoveries = []
    for seed in (7, 107, 207):
        bundle = simulate(name, seed=seed)
        recoveries.append(_recovery(bundle, _found(bundle)))
    assert np.mean(recoveries) >= HARD[name] - 0.03


@pytest.mark.parametrize("seed", [7, 107])
def test_pure_noise_gives_no_module(seed: int) -> None:
    """Data without modules give none."""
    assert len(_found(pure_noise(n_genes=400, n_samples=100, seed=seed)).modules) == 0


@pytest.mark.slow
def test_pure_noise_over_seeds() -> None:
    """No module in at least four of five seeds, and never more than 2 % of the genes."""
    found = [_found(pure_noise(seed=seed)) for seed in SEEDS]
    assert sum(len(f.modules) == 0 for f in found) >= 4
    assert max(len(f.modules.module_of) for f in found) <= 8


@pytest.mark.parametrize("backend", ["spectral", "correlation", "baseline"])
def test_order_of_rows_and_columns_does_not_matter(backend: str) -> None:
    """Shuffled transcripts and samples give the same modules, roles and signs."""
    bundle = simulate("noisy_multiplex_v1")
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(len(bundle.transcripts)), rng.permutation(len(bundle.samples))
    other = Bundle(
        bundle.manifest,
        bundle.samples.iloc[columns].reset_index(drop=True),
        {"transcript": bundle.transcripts.iloc[rows].reset_index(drop=True)},
        {"transcript_counts": bundle.transcript_counts[rows][:, columns]},
    )
    settings = {"baseline": {"alpha_abundance": 0.1}} if backend == "baseline" else {}
    a, b = _found(bundle, backend=backend, **settings), _found(other, backend=backend, **settings)
    assert a.modules == b.modules
    assert len(a.modules) > 0
    pd.testing.assert_frame_equal(a.roles, b.roles, atol=1e-9)
    pd.testing.assert_frame_equal(a.network.edges, b.network.edges, atol=1e-6)


def test_one_seed_gives_one_result() -> None:
    """Two runs agree in every number."""
    bundle = simulate("noisy_v1")
    a, b = _found(bundle), _found(bundle)
    pd.testing.assert_frame_equal(a.network.edges, b.network.edges, check_exact=True)
    pd.testing.assert_frame_equal(a.membership, b.membership, check_exact=True)


def test_removed_covariates_cost_degrees_of_freedom() -> None:
    """With the trait removed as a covariate the planted modules are still found and tests count fewer samples."""
    bundle = simulate("realistic_v1")
    found = _found(bundle, features={"covariates": ["Dx", "Age"]})
    assert found.features.matrix.effective_samples == 158
    assert _recovery(bundle, found) >= 0.98
    assert set(found.traits.tests["trait"]) == {"Sex"}


def test_hidden_factor_is_reported_and_removed() -> None:
    """A composition factor on most genes is flagged; removing it brings the modules back."""
    bundle = simulate("realistic_v1")
    rng = np.random.default_rng(0)
    factor = rng.normal(size=len(bundle.samples))
    genes = bundle.transcripts["gene_id"].to_numpy()
    first = ~pd.Series(genes).duplicated().to_numpy()
    counts = bundle.transcript_counts.copy()
    counts[first] = np.round(counts[first] * np.exp(1.2 * factor))
    mixed = Bundle(bundle.manifest, bundle.samples, bundle.tables, {"transcript_counts": counts})
    found = _found(mixed, channels="switch")
    assert bool(found.hidden["flagged"].iloc[0])
    assert "remove_hidden_factors=true" in found.notes[0]
    cleaned = _found(mixed, channels="switch", modules={"remove_hidden_factors": True})
    assert cleaned.hidden["removed"].sum() >= 1
    truth = true_modules(mixed) or []
    assert background_assigned(truth, found.modules, mixed.gene_ids) > 0.9
    assert background_assigned(truth, cleaned.modules, mixed.gene_ids) < 0.05
    assert _recovery(mixed, cleaned) >= 0.98


def test_pairs_equal_a_naive_loop() -> None:
    """Blocked search finds the strongest pair of rows per pair of genes."""
    rng = np.random.default_rng(1)
    rows = unit_rows(rng.normal(size=(60, 6)))
    genes = rng.integers(0, 25, 60)
    found = best_gene_pairs(rows, genes, 0.6, max_pairs=10**6, block=7)
    similarity = (rows.astype(np.float32) @ rows.astype(np.float32).T).astype(float)
    best: dict[tuple[int, int], float] = {}
    for i in range(60):
        for j in range(60):
            if genes[i] < genes[j] and abs(similarity[i, j]) >= 0.6:
                key = (int(genes[i]), int(genes[j]))
                if abs(similarity[i, j]) > abs(best.get(key, 0.0)):
                    best[key] = similarity[i, j]
    got = {
        tuple(sorted((int(genes[a]), int(genes[b])))): w
        for a, b, w in zip(found.first, found.second, found.weight, strict=True)
    }
    assert got.keys() == best.keys()
    for key, value in best.items():
        assert got[key] == pytest.approx(value, abs=1e-6)


def test_pairs_stay_bounded() -> None:
    """Where most pairs are strong, every row keeps its strongest partners only."""
    rng = np.random.default_rng(2)
    rows = unit_rows(rng.normal(size=(1, 20)) + 0.1 * rng.normal(size=(800, 20)))
    found = best_gene_pairs(rows, np.arange(800), 0.5, max_pairs=16_000)
    assert found.capped == 20
    assert 8_000 <= len(found) <= 17_000


def test_rescue_threshold_expects_one_false_pair() -> None:
    """The threshold is the correlation whose p value times the number of pairs is one."""
    r = rescue_threshold(500, 100)
    assert float(correlation_pvalues(np.array(r), 100)) * 500 * 499 / 2 == pytest.approx(1.0)


def test_communities() -> None:
    """Two cliques joined by one weak edge are two communities, and one component."""
    clique = [(i, j) for i in range(5) for j in range(i)]
    edges = np.array(clique + [(i + 5, j + 5) for i, j in clique] + [(0, 5)])
    weight = np.r_[np.ones(20), 0.1]
    found = leiden_communities(edges[:, 0], edges[:, 1], weight, n_nodes=11)
    assert len(set(found[:5])) == len(set(found[5:10])) == 1
    assert len(set(found)) == 3
    assert len(set(connected_components(edges[:, 0], edges[:, 1], n_nodes=11))) == 2
    together = np.zeros(11, dtype=int)
    alive = core_members(np.array([0, 1, 2, 2]), np.array([1, 2, 0, 3]), together, 2)
    assert list(np.flatnonzero(alive)) == [0, 1, 2]


# --- the baseline and the rules of gene graphs, on the worked example ---


@pytest.fixture
def example_features(example: Bundle, original_features: dict[str, object]):
    return build_features(example, FeatureParameters(**original_features))


def test_partial_correlations_of_the_example(example_features) -> None:
    """Shrinkage and partial correlations equal the published numbers and the dense formula."""
    from sklearn.covariance import LedoitWolf

    matrix = example_features.matrix
    assert shrinkage_of(matrix.values) == pytest.approx(0.219781412, abs=1e-9)
    block, _ = partial_correlations(matrix.values)
    found = block(0, 8)
    place = {f: i for i, f in enumerate(matrix.feature_ids)}

    def value(a: str, b: str) -> float:
        return float(found[place[a], place[b]])

    assert value("GA::switch", "GB::switch") == pytest.approx(0.217856, abs=6e-7)
    assert value("GA::switch", "GC::switch") == pytest.approx(0.122820, abs=6e-7)
    assert value("GB::switch", "GC::switch") == pytest.approx(0.143105, abs=6e-7)
    assert value("GA::abundance", "GC::abundance") == pytest.approx(-0.341585, abs=6e-7)
    assert value("GB::abundance", "GD::abundance") == pytest.approx(0.725543, abs=6e-7)
    assert value("GA::abundance", "GB::switch") == pytest.approx(0.278743, abs=6e-7)
    precision = np.linalg.pinv(LedoitWolf().fit(matrix.values.T).covariance_)
    root = np.sqrt(np.diag(precision))
    dense = -precision / np.outer(root, root)
    np.fill_diagonal(dense, 0)
    np.testing.assert_allclose(found, dense, atol=1e-9)
    np.testing.assert_allclose(np.vstack([block(0, 3), block(3, 8)]), found, atol=1e-15)


def test_baseline_edges_of_the_example(example: Bundle) -> None:
    """Three switch edges make one module; with abundance edges GD joins, and the negative edge does not count."""
    found = _found(example, backend="baseline")
    edges = {(s, t): w for s, t, w in found.network.edges[["source", "target", "weight"]].itertuples(index=False)}
    assert edges == pytest.approx({("GA", "GB"): 0.217856, ("GA", "GC"): 0.122820, ("GB", "GC"): 0.143105}, abs=6e-7)
    assert dict(found.modules.members) == {"M000": ("GA", "GB", "GC")}
    joined = _found(example, backend="baseline", baseline={"allow_abundance_abundance": True})
    edges = {(s, t): w for s, t, w in joined.network.edges[["source", "target", "weight"]].itertuples(index=False)}
    assert edges == pytest.approx(
        {("GA", "GB"): 0.217856, ("GA", "GC"): -0.341585, ("GB", "GC"): 0.143105, ("GB", "GD"): 0.725543}, abs=6e-7
    )
    assert dict(joined.modules.members) == {"M000": ("GA", "GB", "GC", "GD")}


@pytest.mark.parametrize(("name", "alpha", "recovery"), [("toy_v1", 0.05, 1.0), ("medium_v1", 0.02, 0.875)])
def test_baseline_reproduces_published_recoveries(name: str, alpha: float, recovery: float) -> None:
    """On switch features the published recoveries come out."""
    bundle = simulate(name)
    found = _found(bundle, backend="baseline", channels="switch", baseline={"alpha": alpha, "min_module_size": 2})
    assert _recovery(bundle, found) == pytest.approx(recovery, abs=0.03)


def _naive_edges(features, similarity, rules: GeneGraphParameters) -> set[tuple[str, str]]:
    genes, types = list(features.gene_ids), list(features.feature_types)
    owns = {g for g, t in zip(genes, types, strict=True) if t == "switch"}
    found = set()
    for i in range(len(genes)):
        for j in range(i + 1, len(genes)):
            both_abundance = types[i] == types[j] == "abundance"
            if genes[i] == genes[j] or (both_abundance and not rules.joins_abundance):
                continue
            if types[i] != types[j] and genes[i] in owns and genes[j] in owns:
                continue
            alpha = rules.alpha
            if types[i] == types[j] == "switch" and rules.alpha_switch is not None:
                alpha = rules.alpha_switch
            if both_abundance and rules.alpha_abundance is not None:
                alpha = rules.alpha_abundance
            if abs(similarity[i, j]) >= alpha:
                found.add(tuple(sorted((genes[i], genes[j]))))
    return found


@pytest.mark.parametrize(
    "rules",
    [
        GeneGraphParameters(alpha=0.5),
        GeneGraphParameters(alpha=0.4, allow_abundance_abundance=True),
        GeneGraphParameters(alpha=0.5, alpha_switch=0.3, alpha_abundance=0.6),
    ],
)
def test_gene_graph_rules_equal_a_naive_loop(rules: GeneGraphParameters) -> None:
    """Blocked rules give the edges of the loop they replace."""
    features = build_features(simulate("toy_multiplex_v1")).matrix
    similarity = unit_rows(features.values) @ unit_rows(features.values).T
    ones = pd.Series(1.0, index=features.genes)
    network = gene_graph_network(features, dense_similarity(similarity), rules, ones, seed=0)
    got = set(zip(network.edges["source"], network.edges["target"], strict=True))
    assert got == _naive_edges(features, similarity, rules)


def test_reliability_weighs_switch_edges_only() -> None:
    """A gene of no reliability loses its switch edges and keeps the others."""
    features = build_features(simulate("toy_multiplex_v1")).matrix
    similarity = unit_rows(features.values) @ unit_rows(features.values).T
    rules = GeneGraphParameters(alpha=0.4, allow_abundance_abundance=True)
    weights = pd.Series(1.0, index=features.genes)
    weights["G0000"] = 0.0
    plain = candidate_pairs(features, dense_similarity(similarity), rules, pd.Series(1.0, index=features.genes))
    weighed = candidate_pairs(features, dense_similarity(similarity), rules, weights)
    assert (plain.both_abundance.sum()) == weighed.both_abundance.sum()
    touched = [f for f in (*weighed.first, *weighed.second) if features.feature_ids[f] == "G0000::switch"]
    others = {
        features.feature_types[b if features.feature_ids[a] == "G0000::switch" else a]
        for a, b in zip(weighed.first, weighed.second, strict=True)
        if "G0000::switch" in (features.feature_ids[a], features.feature_ids[b])
    }
    assert not touched or others == {"abundance"}


def test_abundance_grid_implies_edges_and_refuses_contradiction() -> None:
    """A grid turns abundance edges on; forbidding them at the same time is an error."""
    assert GeneGraphParameters(alpha_abundance_grid=(0.1, 0.2)).joins_abundance
    with pytest.raises(ParameterError, match="forbids"):
        BaselineParameters.parse({"alpha_abundance_grid": [0.1], "allow_abundance_abundance": False})


def test_abundance_grid_takes_the_smallest_that_fuses_nothing() -> None:
    """The selected threshold keeps modules apart that are apart without abundance edges; smaller ones do not."""
    bundle = simulate("medium_multiplex_v1")
    features = build_features(bundle).matrix
    rows = unit_rows(features.values)
    ones = pd.Series(1.0, index=features.genes)

    def network(**settings: object):
        rules = GeneGraphParameters(alpha=0.7, min_module_size=2, **settings)
        return gene_graph_network(features, dense_similarity(rows @ rows.T), rules, ones, seed=0)

    grid = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
    without = network(allow_abundance_abundance=False).modules.module_of
    fuses = {}
    for alpha in grid:
        owners: dict[str, set[str]] = {}
        for gene, module in network(alpha_abundance=alpha).modules.module_of.items():
            if gene in without:
                owners.setdefault(module, set()).add(without[gene])
        fuses[alpha] = any(len(o) > 1 for o in owners.values())
    chosen = network(alpha_abundance_grid=grid).calibration["selected_alpha_abundance"]
    assert not fuses[chosen]
    assert all(fuses[a] for a in grid if a < chosen)
    assert chosen < 0.9


@pytest.mark.parametrize(
    ("backend", "name", "recovery"),
    [
        ("latent", "realistic_unequal_v1", 1.0),
        ("latent", "noisy_v1", 0.833),
        ("latent", "nonlinear_v1", 0.588),
        ("graph", "realistic_v1", 1.0),
        ("graph", "noisy_v1", 0.977),
        ("graph", "nonlinear_v1", 0.525),
    ],
)
def test_factor_backends_reproduce_published_recoveries(backend: str, name: str, recovery: float) -> None:
    """With the published thresholds the published recoveries come out."""
    bundle = simulate(name)
    found = _found(bundle, backend=backend, **fixture_settings(backend, name))
    assert _recovery(bundle, found) == pytest.approx(recovery, abs=0.03)


def test_smoothing_equals_the_dense_solution() -> None:
    """Conjugate gradients solve the smoothing equation; gamma 0 and an empty graph change nothing."""
    features = build_features(simulate("toy_multiplex_v1")).matrix
    parameters = GraphParameters(edge_types=("corr", "same_gene"))
    adjacency = feature_graph(features, parameters)
    dense = np.abs(np.corrcoef(features.values))
    dense[dense < 0.3] = 0
    np.fill_diagonal(dense, 0)
    same = (features.gene_ids[:, None] == features.gene_ids[None, :]) & ~np.eye(len(dense), dtype=bool)
    dense = np.maximum(dense, same)
    np.testing.assert_allclose(adjacency.toarray(), dense, atol=1e-12)
    for normalised in (True, False):
        graph = laplacian(adjacency, normalised=normalised)
        expected = np.linalg.solve(np.eye(len(dense)) + 0.5 * graph.toarray(), features.values)
        np.testing.assert_allclose(smoothed(features.values, graph, 0.5), expected, atol=1e-9)
    np.testing.assert_array_equal(smoothed(features.values, graph, 0.0), features.values)
    none = laplacian(feature_graph(features, GraphParameters(corr_threshold=1.0)), normalised=True)
    np.testing.assert_array_equal(smoothed(features.values, none, 0.5), features.values)


def test_graph_without_smoothing_is_latent() -> None:
    """With gamma 0 both backends give the same edges."""
    bundle = simulate("realistic_v1")
    shared = {"n_components_grid": None, "n_components": 5, "alpha": 0.02}
    latent = _found(bundle, backend="latent", latent=shared)
    graph = _found(bundle, backend="graph", graph={**shared, "gamma": 0})
    pd.testing.assert_frame_equal(latent.network.edges, graph.network.edges, rtol=1e-10)


def test_multiplex_joins_both_channels() -> None:
    """With edges inside both channels abundance-only genes are found too, and the threshold is told."""
    bundle = simulate("medium_multiplex_v1")
    found = fit(bundle, {"backend": "multiplex", "evidence": {"n_null": 0}})
    truth = true_modules(bundle)
    assert truth is not None
    assert module_recovery(truth, [frozenset(g) for g in found.modules.members.values()]) >= 0.70
    assert found.network.calibration["selected_alpha_abundance"] in (0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
    types = found.network.edges[["source_feature_type", "target_feature_type"]]
    assert (types == "abundance").all(axis=1).any()
    assert (types == "switch").all(axis=1).any()


def test_switch_threshold_is_the_smallest_without_a_giant() -> None:
    """The sweep is in the calibration; the chosen threshold is its first below 30 %."""
    grid = (0.3, 0.6, 0.9)
    block = {"alpha_switch_grid": grid, "alpha": 0.3}
    found = fit(simulate("realistic_v1"), {"backend": "graph", "channels": "switch", "graph": block})
    calibration = found.network.calibration
    sweep = calibration["alpha_switch_sweep"]
    assert [s["alpha_switch"] for s in sweep] == list(grid)
    assert all(a["n_switch_connected"] >= b["n_switch_connected"] for a, b in itertools.pairwise(sweep))
    passing = [s["alpha_switch"] for s in sweep if s["n_switch_connected"] and s["giant_fraction"] < 0.3]
    assert calibration["selected_alpha_switch"] == (passing[0] if passing else grid[-1])
    kept = found.network.edges["weight"].abs()
    assert (kept >= calibration["selected_alpha_switch"]).all()


@pytest.mark.parametrize("backend", ["latent", "graph", "multiplex"])
def test_four_samples_are_few_and_no_fault(backend: str) -> None:
    """The smallest cohort that a bundle may hold is fitted; a note says that it is small."""
    bundle = simulate("toy_v1").select_samples([0, 1, 46, 47])
    assert "4 samples are few" in fit(bundle, QUICK | {"backend": backend}).notes[-1]
