"""Eigengenes, roles, traits, evidence and measures, against independent numbers and other packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.errors import BundleError, InputError
from cellkey.isoforms.bundle import Bundle
from cellkey.isoforms.correlation import bh, correlation_at, correlation_pvalues, fisher_interval
from cellkey.isoforms.eigengenes import eigengene, membership_table, merge_close_modules, module_eigengenes
from cellkey.isoforms.evidence import coherence_null, preservation
from cellkey.isoforms.feature_matrix import FeatureMatrix
from cellkey.isoforms.features import build_features
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.gene_sets import enrich_modules, read_gmt
from cellkey.isoforms.linear_models import least_squares, one_way, welch
from cellkey.isoforms.metrics import (
    agreement,
    edge_ranking,
    edge_report,
    giant_component_fraction,
    matched_recovery,
    module_recovery,
    recovery_null,
    true_modules,
)
from cellkey.isoforms.modules import ModuleSet
from cellkey.isoforms.roles import gene_roles
from cellkey.isoforms.settings import FeatureParameters, TraitParameters
from cellkey.isoforms.synthetic import simulate
from cellkey.isoforms.tables import EDGES
from cellkey.isoforms.traits import associate_traits as trait_tests

MODULE = ModuleSet({"M000": ("GA", "GB", "GC")})
EIGENGENE = [-0.568437, -0.374392, -0.227165, -0.050372, 0.091166, 0.227644, 0.361238, 0.540318]


@pytest.fixture
def matrix(example: Bundle, original_features: dict[str, object]) -> FeatureMatrix:
    return build_features(example, FeatureParameters(**original_features)).matrix


def test_eigengene_of_the_example(matrix: FeatureMatrix) -> None:
    """First component of z-scored rows: values, variance share and memberships."""
    found = module_eigengenes(MODULE, matrix)["M000"]
    np.testing.assert_allclose(found.values, EIGENGENE, atol=6e-7)
    assert found.variance_share == pytest.approx(0.903368, abs=6e-7)
    np.testing.assert_allclose(found.kme, [0.986531, 0.994641, 0.716254, 0.998870, -0.974895, 0.998234], atol=6e-7)
    assert np.linalg.norm(found.values) == pytest.approx(1.0)


def test_mean_eigengene_of_the_example(matrix: FeatureMatrix) -> None:
    """The plain mean cancels members of opposite sign; it is kept for comparison (of unscaled rows)."""
    rows = matrix.values[MODULE.feature_rows(matrix)["M000"]]
    np.testing.assert_allclose(
        rows.mean(axis=0),
        [-0.989751, -0.570858, -0.282556, 0.065563, 0.253923, 0.417785, 0.480611, 0.625283],
        atol=6e-7,
    )
    assert eigengene(rows, "mean").variance_share < eigengene(rows).variance_share


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(3, 20), st.integers(0, 10**6))
def test_eigengene_equals_singular_vectors(p: int, n: int, seed: int) -> None:
    """Both ways to take the component equal NumPy's SVD, and the mean membership is not negative."""
    rows = np.random.default_rng(seed).normal(size=(p, n))
    found = eigengene(rows)
    z = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    _, sizes, right = np.linalg.svd(z, full_matrices=False)
    if len(sizes) == 1 or sizes[0] > 1.001 * sizes[1]:
        assert abs(right[0] @ found.values) == pytest.approx(1.0, abs=1e-6)
    assert found.kme.mean() >= -1e-9


def test_roles_of_the_example(matrix: FeatureMatrix) -> None:
    """GA and GB are coupled, GC is discordant; GD, added, is tied by abundance only."""
    modules = ModuleSet({"M000": ("GA", "GB", "GC", "GD")})
    roles = gene_roles(modules, matrix, module_eigengenes(modules, matrix)).set_index("gene_id")
    assert roles["module_role"].to_dict() == {
        "GA": "coupled",
        "GB": "coupled",
        "GC": "discordant",
        "GD": "abundance_only",
    }
    np.testing.assert_allclose(roles["switch_abundance_r"], [0.989985, 0.705697, -0.983020, 0.096216], atol=6e-7)
    assert roles["coupling"].to_dict() == {"GA": "positive", "GB": "positive", "GC": "negative", "GD": "uncorrelated"}
    assert roles.loc["GD", "significant_role"] == "inactive"


def test_single_channel_roles(example: Bundle) -> None:
    """In a single-channel fit the other correlation is missing and its flag false."""
    matrix = build_features(example, channels="switch").matrix
    roles = gene_roles(MODULE, matrix, module_eigengenes(MODULE, matrix))
    assert set(roles["module_role"]) == {"switch_only"}
    assert roles["abundance_r"].isna().all()
    assert not roles["abundance_active"].any()
    assert set(roles["coupling"]) == {"single_channel"}


def test_role_accuracy_on_planted_modules() -> None:
    """Planted roles are called right for nearly all genes; asking for significance helps."""
    bundle = simulate("medium_multiplex_v1")
    found = fit(bundle, {"evidence": {"n_null": 0}})
    truth = bundle.tables["truth_channel_role"].set_index("gene_id")["truth_role"]
    known = found.roles[found.roles["gene_id"].map(truth) != "background"]
    for column, least in (("module_role", 0.93), ("significant_role", 0.95)):
        assert (known[column] == known["gene_id"].map(truth)).mean() >= least


def associate_traits_of_the_example(example: Bundle) -> None:
    """Welch t of diagnosis and Pearson r of age, with interval and adjusted p."""
    found = trait_tests({"M000": np.array(EIGENGENE)}, example.samples).tests.set_index("trait")
    dx = found.loc["Dx"]
    assert (dx["test"], dx["contrast"]) == ("welch_t", "Control - Case")
    assert dx[["effect", "statistic", "df", "pvalue", "qvalue"]].to_list() == pytest.approx(
        [-0.610183, -4.182914, 5.890213, 0.006034970, 0.006034970], rel=2e-5
    )
    age = found.loc["Age"]
    assert age[["effect", "pvalue", "qvalue"]].to_list() == pytest.approx(
        [0.996821, 8.009460e-8, 1.601892e-7], rel=2e-4
    )
    assert age[["ci_low", "ci_high"]].to_list() == pytest.approx([0.981791, 0.999449], abs=2e-6)


def test_linear_model_of_the_example(example: Bundle) -> None:
    """Coefficients and HC3 errors of the eigengene on age and diagnosis."""
    case = (example.samples["Dx"] == "Case").to_numpy(dtype=float)
    design = np.column_stack([np.ones(8), example.samples["Age"], case])
    found = least_squares(np.array(EIGENGENE), design)
    assert found is not None
    np.testing.assert_allclose(found.estimate, [-1.671638, 0.027607, 0.078748], atol=2e-6)
    np.testing.assert_allclose(found.se, [0.127278, 0.002475, 0.052400], atol=2e-6)


def test_linear_models_equal_statsmodels() -> None:
    """HC3 errors, p values, intervals and the joint test equal those of statsmodels."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    samples = pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(40)],
            "group": rng.choice(["a", "b", "c"], 40),
            "age": rng.normal(50, 10, 40),
        }
    )
    y = rng.normal(size=40) * (1 + (samples["group"] == "b"))
    found = trait_tests({"M": y.to_numpy()}, samples, TraitParameters(covariates=("age",)), columns=["group"]).models
    design = np.column_stack([np.ones(40), samples["group"] == "b", samples["group"] == "c", samples["age"]]).astype(
        float
    )
    oracle = sm.OLS(y.to_numpy(), design).fit(cov_type="HC3", use_t=True)
    assert list(found["term"]) == ["b - a", "c - a"]
    np.testing.assert_allclose(found["estimate"], oracle.params[1:3], rtol=1e-9)
    np.testing.assert_allclose(found["se"], oracle.bse[1:3], rtol=1e-9)
    np.testing.assert_allclose(found["pvalue"], oracle.pvalues[1:3], rtol=1e-9)
    np.testing.assert_allclose(found[["ci_low", "ci_high"]], oracle.conf_int()[1:3], rtol=1e-9)
    joint = oracle.f_test(np.eye(4)[1:3])
    assert found["joint_pvalue"].iloc[0] == pytest.approx(float(joint.pvalue), rel=1e-9)


def test_tests_equal_scipy() -> None:
    """Welch t, one-way analysis of variance, Pearson p and intervals equal SciPy's."""
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=9), rng.normal(0.5, 2, 14), rng.normal(size=5)
    oracle = scipy.stats.ttest_ind(b, a, equal_var=False)
    found = welch(a, b)
    assert (found.statistic, found.pvalue, found.df) == pytest.approx((oracle.statistic, oracle.pvalue, oracle.df))
    interval = oracle.confidence_interval()
    assert found.interval() == pytest.approx((interval.low, interval.high))
    f, _, _, _, p = one_way(np.r_[a, b, c], np.repeat([0, 1, 2], [9, 14, 5]))
    assert (f, p) == pytest.approx(tuple(scipy.stats.f_oneway(a, b, c)))
    x, y = rng.normal(size=12), rng.normal(size=12)
    r = scipy.stats.pearsonr(x, y)
    assert float(correlation_pvalues(np.array(r.statistic), 12)) == pytest.approx(r.pvalue)
    ci = r.confidence_interval()
    assert [float(v) for v in fisher_interval(np.array(r.statistic), 12)] == pytest.approx([ci.low, ci.high])
    assert float(correlation_pvalues(np.array(correlation_at(0.01, 30)), 30)) == pytest.approx(0.01)


def test_adjustment_leaves_missing_values_out() -> None:
    """Missing p values stay missing and do not count."""
    found = bh(np.array([0.01, np.nan, 0.04, 0.02]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.04, 0.03])


def test_skipped_traits_have_reasons() -> None:
    """Every column that is not tested is listed with the reason."""
    samples = pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(8)],
            "flat": 1,
            "one": "x",
            "id": list("abcdefgh"),
            "few": [1.0, 2.0] + [np.nan] * 6,
            "rare": ["a"] * 7 + ["b"],
            "flag": [True, False] * 4,
            "good": range(8),
        }
    )
    found = trait_tests({"M": np.arange(8.0)}, samples, TraitParameters(max_levels=5))
    reasons = {s["trait"]: s["reason"] for s in found.skipped}
    assert set(reasons) == {"flat", "one", "id", "few", "rare"}
    assert "8 levels" in reasons["id"]
    assert "'b'" in repr(reasons["rare"]) or "b" in reasons["rare"]
    assert set(found.tests["trait"]) == {"flag", "good"}
    assert set(found.tests["test"]) == {"pearson"}


def test_missing_traits_and_covariates_are_errors() -> None:
    """A trait asked for by name must be there."""
    samples = pd.DataFrame({"sample_id": ["a", "b"], "Age": [1, 2]})
    with pytest.raises(BundleError, match="did you mean 'Age'"):
        trait_tests({}, samples, columns=["age"])


def test_aliased_covariate_is_reported() -> None:
    """A trait that the covariates determine has no linear model, and the reason is told."""
    samples = pd.DataFrame({"sample_id": [f"s{i}" for i in range(8)], "a": range(8), "b": [2 * i for i in range(8)]})
    found = trait_tests({"M": np.arange(8.0) ** 2}, samples, TraitParameters(covariates=("b",)), columns=["a"])
    assert found.models.empty
    assert "combination of the covariates" in found.skipped[0]["reason"]


def test_permuted_traits_are_calibrated() -> None:
    """With permuted traits at most 5 % of modules pass q <= 0.05 on average."""
    bundle = simulate("large_v1")
    found = fit(bundle, {"evidence": {"n_null": 0}})
    profiles = {m: e.values for m, e in found.eigengenes.items()}
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        shuffled = found.bundle.samples.assign(
            Age=rng.permutation(found.bundle.samples["Age"]), Dx=rng.permutation(found.bundle.samples["Dx"])
        )
        tests = trait_tests(profiles, shuffled, columns=["Age", "Dx"]).tests
        shares.append(tests.groupby("module_id")["qvalue"].min().le(0.05).mean())
    assert np.mean(shares) <= 0.05


def test_membership_ranks_and_hubs() -> None:
    """The strongest gene comes first, hubs are the first five and all strong ones, degrees count inside edges."""
    bundle = simulate("toy_v1")
    found = fit(bundle, {"evidence": {"n_null": 0}})
    table = found.membership
    first = table[(table["module_id"] == "M000") & (table["rank"] == 1)]
    own = table[table["module_id"] == "M000"]
    assert first["kme"].abs().max() == own["kme"].abs().max()
    strong = own.groupby("gene_id")["kme"].apply(lambda v: v.abs().max())
    hubs = set(own.loc[own["is_hub"], "gene_id"])
    assert hubs == set(strong.index[strong >= 0.8]) | set(own.loc[own["rank"] <= 5, "gene_id"])
    edges = found.network.edges
    gene = first["gene_id"].iloc[0]
    members = set(found.modules.members["M000"])
    inside = edges[edges["source"].isin(members) & edges["target"].isin(members)]
    degree = inside.loc[(inside["source"] == gene) | (inside["target"] == gene), "weight"].abs().sum()
    assert first["intramodular_degree"].iloc[0] == pytest.approx(degree)
    assert set(table["best_other_module"]) == {"M000", "M001"}


def test_membership_of_no_module_is_an_empty_table(matrix: FeatureMatrix) -> None:
    """Without modules all tables are empty and have their columns."""
    none = ModuleSet({})
    edges = pd.DataFrame(columns=EDGES.names)
    assert membership_table(none, matrix, {}, edges).empty
    assert gene_roles(none, matrix, {}).empty
    assert coherence_null(none, matrix, 5, np.random.default_rng(0)).empty


def test_merging_logs_its_steps() -> None:
    """Halves of one module are merged, two modules are not, and the history tells so."""
    bundle = simulate("realistic_v1")
    found = fit(bundle, {"evidence": {"n_null": 0}})
    genes = [list(g) for g in found.modules.members.values()]
    split = [genes[0][:10], genes[0][10:], *genes[1:]]
    merged, history = merge_close_modules(split, found.features.matrix, 0.75)
    assert sorted(map(sorted, merged)) == sorted(map(sorted, genes))
    assert len(history) == 1
    assert abs(history[0]["correlation"]) > 0.9


def test_planted_modules_beat_random_sets() -> None:
    """A planted module is more coherent than random genes, a random set is not."""
    bundle = simulate("large_v1")
    matrix = build_features(bundle).matrix
    truth = true_modules(bundle) or []
    background = sorted(set(bundle.gene_ids) - set().union(*truth))
    modules = ModuleSet({"real": tuple(sorted(truth[0])), "random": tuple(background[::30])})
    table = coherence_null(modules, matrix, 99, np.random.default_rng(0)).set_index("module_id")
    assert table.loc["real", "pvalue"] == pytest.approx(0.01)
    assert table.loc["real", "zscore"] > 5
    assert table.loc["random", "pvalue"] > 0.05


def test_stability_by_resampling() -> None:
    """Strong modules come back on subsamples and halves."""
    for resample in ("subsample", "split"):
        found = fit(simulate("realistic_v1"), {"evidence": {"n_null": 0, "n_resamples": 3, "resample": resample}})
        assert found.evidence["jaccard_mean"].min() > 0.9
        assert found.evidence["coassignment"].min() > 0.9


def test_preservation_between_data_sets() -> None:
    """Modules hold in the other half of the samples, and random sets do not."""
    bundle = simulate("large_v1")
    half = [build_features(bundle.select_samples(list(range(start, 120, 2)))).matrix for start in (0, 1)]
    truth = true_modules(bundle) or []
    background = sorted(set(bundle.gene_ids) - set().union(*truth))
    modules = ModuleSet({"real": tuple(sorted(truth[1])), "random": tuple(background[::40])})
    table = preservation(modules, *half, n_permutations=30, rng=np.random.default_rng(0)).set_index("module_id")
    assert table.loc["real", "z_summary"] > 10
    assert abs(table.loc["random", "z_summary"]) < 2
    assert table.loc["real", "median_rank"] < table.loc["random", "median_rank"]


def test_measures_on_small_cases() -> None:
    """Recovery, matched recovery and agreement of hand-made partitions."""
    truth = [frozenset("abcd"), frozenset("efgh")]
    exact = ModuleSet({"M000": tuple("abcd"), "M001": tuple("efgh")})
    found = [frozenset(g) for g in exact.members.values()]
    assert module_recovery(truth, found) == matched_recovery(truth, found) == 1.0
    assert agreement(truth, exact)["ari"] == 1.0
    one = [frozenset("abcdefgh")]
    assert module_recovery(truth, one) == 0.5
    assert matched_recovery(truth, one) == 0.25
    assert module_recovery(truth, []) == 0.0
    half = ModuleSet({"M000": tuple("ab")})
    assert agreement(truth, half, assigned_only=True)["homogeneity"] == 1.0
    null = recovery_null(truth, found, [*"abcdefgh", *"xyz"], n=50, rng=np.random.default_rng(0))
    assert null["pvalue"] is not None
    assert null["pvalue"] < 0.05


def test_edge_measures() -> None:
    """Precision, recall, giant component and the ranking of pairs."""
    edges = pd.DataFrame({"source": ["a", "a", "c"], "target": ["b", "e", "d"], "weight": [0.9, -0.2, 0.7]})
    truth = [frozenset("abcd"), frozenset("ef")]
    report = edge_report(edges, truth)
    assert report["precision"] == pytest.approx(2 / 3)
    assert report["recall"] == pytest.approx(2 / 7)
    assert report["weight_ratio"] == pytest.approx(4.0)
    assert report["top_degree_genes"][0] == {"gene_id": "a", "degree": 2}
    assert giant_component_fraction(edges, 10) == 0.3
    assert giant_component_fraction(edges.iloc[:0], 10) == 0.0
    bundle = simulate("toy_v1")
    ranking = edge_ranking(build_features(bundle).matrix, true_modules(bundle) or [])
    assert ranking is not None
    assert ranking["auroc"] == pytest.approx(1.0, abs=1e-3)


def test_gene_set_enrichment_equals_fisher(tmp_path: Path) -> None:
    """Over-representation equals the one-sided exact test; symbols match without regard to case."""
    modules = ModuleSet({"M000": tuple(f"g{i}" for i in range(10)), "M001": ("g10", "g11")})
    background = [f"g{i}" for i in range(100)]
    names = {"g0": "Cxcl9"}
    sets = {"hit": [*(f"g{i}" for i in range(1, 6)), "CXCL9", "g50", "elsewhere"], "none": ["g90"]}
    table = enrich_modules(modules, sets, background, names=names)
    assert table[["module_id", "gene_set", "n_set", "n_overlap"]].to_numpy().tolist() == [["M000", "hit", 7, 6]]
    oracle = scipy.stats.fisher_exact([[6, 4], [1, 89]], alternative="greater").pvalue
    assert table["pvalue"].iloc[0] == pytest.approx(oracle)
    assert table["qvalue"].iloc[0] == pytest.approx(4 * oracle)
    assert table["genes"].iloc[0] == "Cxcl9,g1,g2,g3,g4,g5"
    path = tmp_path / "s.gmt"
    path.write_text("a\tx\tg1\tg2\n\nb\t\tg3\n")
    assert read_gmt(path) == {"a": {"g1", "g2"}, "b": {"g3"}}
    path.write_text("a\tonly a description\n")
    with pytest.raises(InputError, match="line 1: the set 'a' has no gene"):
        read_gmt(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no gene set"):
        read_gmt(path)
