"""Features of the worked example agree with independently computed numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.errors import BundleError, CellkeyWarning, ParameterError
from cellkey.isoforms.abundance import cpm_scale, log_expression, median_of_ratios, tmm_factors
from cellkey.isoforms.bundle import Bundle
from cellkey.isoforms.composition import centred_log_ratios, gene_blocks, switch_coordinates, transcript_usage
from cellkey.isoforms.covariates import design_of
from cellkey.isoforms.features import FeatureSet, build_features
from cellkey.isoforms.reliability import degradation_sensitivity, minor_usage
from cellkey.isoforms.settings import FeatureParameters


@pytest.fixture
def features(example: Bundle, original_features: dict[str, object]) -> FeatureSet:
    return build_features(example, FeatureParameters(**original_features))


def _row(features: FeatureSet, name: str) -> np.ndarray:
    return features.raw.values[list(features.raw.feature_ids).index(name)]


def test_usage_and_log_ratios(example: Bundle) -> None:
    """Usage with half a read added, and centred log-ratios, of gene GB."""
    blocks = gene_blocks(example.transcripts)
    usage = transcript_usage(example.transcript_counts, blocks)
    b1 = blocks.transcript_ids.index("B1")
    np.testing.assert_allclose(
        usage[b1], [0.103448, 0.182266, 0.251232, 0.408867, 0.497537, 0.655172, 0.733990, 0.842365], atol=5e-7
    )
    ratios = centred_log_ratios(usage, blocks)
    np.testing.assert_allclose(
        ratios[b1 : b1 + 3],
        [
            [-0.939207, -0.514333, -0.227765, 0.244225, 0.468598, 0.918387, 1.155621, 1.580688],
            [0.812062, 0.528710, 0.455530, 0.169190, -0.035648, -0.165300, -0.351818, -0.727762],
            [0.127145, -0.014377, -0.227765, -0.413415, -0.432950, -0.753087, -0.803803, -0.852925],
        ],
        atol=5e-7,
    )


def test_switch_coordinates_and_loadings(features: FeatureSet) -> None:
    """Coordinates, loadings and variance shares of all four genes."""
    expected = {
        "GA": [-1.274864, -0.858066, -0.453954, -0.174917, 0.130730, 0.393894, 0.832673, 1.404504],
        "GB": [-1.566444, -1.038971, -0.698843, -0.116646, 0.169231, 0.705048, 1.003324, 1.543301],
        "GC": [-0.878834, -0.609399, -0.362762, -0.084347, 0.095865, 0.315795, 0.618717, 0.904967],
        "GD": [-0.008289, 0.015258, -0.090688, 0.132175, -0.064167, 0.034071, -0.095196, 0.076837],
    }
    for gene, values in expected.items():
        np.testing.assert_allclose(_row(features, f"{gene}::switch"), values, atol=6e-7)
    loadings = features.loadings.set_index("transcript_id")
    np.testing.assert_allclose(
        loadings["loading"],
        [0.707107, -0.707107, 0.812898, -0.472763, -0.340135, 0.707107, -0.707107, 0.816350, -0.421558, -0.394793],
        atol=6e-7,
    )
    np.testing.assert_allclose(
        loadings.loc[["A1", "B1", "C1", "D1"], "variance_share"], [1, 0.993863, 1, 0.642282], atol=6e-7
    )
    assert list(loadings.index[loadings["is_driver"]]) == ["A1", "B1", "C1", "D1"]


def test_switch_coordinates_equal_singular_value_decomposition(example: Bundle) -> None:
    """The batched decomposition equals one SVD per gene."""
    blocks = gene_blocks(example.transcripts)
    usage = transcript_usage(example.transcript_counts, blocks)
    ratios = centred_log_ratios(usage, blocks)
    found = switch_coordinates(ratios, usage, blocks, orientation="pivot")
    for i, g in enumerate(found.genes):
        rows = ratios[blocks.starts[g] : blocks.starts[g] + blocks.sizes[g]]
        rows = rows - rows.mean(axis=1, keepdims=True)
        _, sizes, right = np.linalg.svd(rows.T, full_matrices=False)
        y = right[0] @ rows
        y = y if y @ found.values[i] > 0 else -y
        np.testing.assert_allclose(found.values[i], y, rtol=1e-9, atol=1e-12)
        assert found.variance_share[i] == pytest.approx(sizes[0] ** 2 / (sizes**2).sum(), rel=1e-9)


def test_abundance_in_counts_per_million(example: Bundle, features: FeatureSet) -> None:
    """Log counts per million and their z scores."""
    blocks = gene_blocks(example.transcripts)
    totals = blocks.sums(example.transcript_counts[blocks.order])
    np.testing.assert_allclose(
        log_expression(totals, cpm_scale(totals))[0],
        [17.498613, 17.621232, 17.809050, 17.908800, 18.172579, 18.375755, 18.652803, 18.845651],
        atol=6e-7,
    )
    np.testing.assert_allclose(
        _row(features, "GA::abundance"),
        [-1.345794, -1.076130, -0.663082, -0.443711, 0.136392, 0.583215, 1.192499, 1.616611],
        atol=6e-7,
    )
    np.testing.assert_allclose(
        _row(features, "GB::abundance"),
        [-2.122080, -0.815819, -0.279819, 0.782825, 1.025408, 0.990518, 0.308853, 0.110113],
        atol=6e-7,
    )


def test_size_factors_remove_the_library_artefact(example: Bundle) -> None:
    """Median-of-ratios factors and the abundance they give."""
    blocks = gene_blocks(example.transcripts)
    totals = blocks.sums(example.transcript_counts[blocks.order])
    np.testing.assert_allclose(
        median_of_ratios(totals),
        [0.996985, 1.006856, 0.992012, 1.001932, 0.988180, 1.011755, 1.001932, 0.981991],
        atol=6e-7,
    )
    found = build_features(example)
    np.testing.assert_allclose(
        _row(found, "GA::abundance"),
        [-1.005358, -1.040022, -0.652341, -0.687367, -0.050457, 0.370662, 1.238423, 1.826460],
        atol=6e-7,
    )
    np.testing.assert_allclose(
        _row(found, "GB::abundance"),
        [0.073058, -0.986286, 0.610682, -0.459230, 1.026845, -1.508212, -0.459230, 1.702373],
        atol=6e-7,
    )


def test_scaled_switch(example: Bundle) -> None:
    """Scaled coordinates have unit spread; the sign follows the reference isoform."""
    found = build_features(example, FeatureParameters(orientation="pivot"))
    np.testing.assert_allclose(
        _row(found, "GA::switch"),
        [-1.546505, -1.040898, -0.550680, -0.212187, 0.158585, 0.477822, 1.010094, 1.703768],
        atol=6e-7,
    )
    oriented = build_features(example)
    loadings = oriented.loadings
    assert (loadings.loc[loadings["is_reference"], "loading"] > 0).all()
    # C2 is used most of GC; A1 and A2 are used alike, so that the first one counts.
    assert set(loadings.loc[loadings["is_reference"], "transcript_id"]) == {"A1", "B1", "C2", "D1"}
    principal = example.transcripts.assign(is_principal=example.transcripts["transcript_id"].isin(["A2", "B3"]))
    marked = build_features(
        Bundle(example.manifest, example.samples, {"transcript": principal}, example.matrices)
    ).loadings
    assert set(marked.loc[marked["is_reference"], "transcript_id"]) == {"A2", "B3", "C2", "D1"}


def test_residuals_on_a_covariate(example: Bundle, original_features: dict[str, object]) -> None:
    """Least-squares residuals of a switch coordinate on RIN."""
    rin = [7.9, 7.1, 8.0, 6.8, 7.5, 6.9, 7.7, 7.2]
    bundle = replace(example, samples=example.samples.assign(RIN=rin))
    found = build_features(bundle, FeatureParameters(**original_features))
    row = found.matrix.values[list(found.matrix.feature_ids).index("GA::switch")]
    np.testing.assert_allclose(
        row, [-1.005160, -1.009364, -0.131625, -0.484090, 0.189933, 0.137346, 0.997127, 1.305832], atol=6e-7
    )
    assert found.matrix.covariates == ("RIN",)
    assert found.matrix.effective_samples == 7
    assert found.quality["confound_r2_after"].max() < 1e-20


def test_reliability(example: Bundle) -> None:
    """Degradation sensitivity against age, and minor usage."""
    blocks = gene_blocks(example.transcripts)
    usage = transcript_usage(example.transcript_counts, blocks)
    ratios = centred_log_ratios(usage, blocks)
    np.testing.assert_allclose(
        degradation_sensitivity(ratios, blocks, example.samples["Age"]),
        [0.994533, 0.989319, 0.997550, 0.015189],
        atol=6e-7,
    )
    np.testing.assert_allclose(minor_usage(usage, blocks), [0.291735, 0.406404, 0.331853, 0.499360], atol=6e-7)


def test_tmm_is_neutral_for_scaled_copies() -> None:
    """Samples that differ by depth only get factors in proportion to depth."""
    counts = np.outer(np.arange(1.0, 200.0), [1.0, 2.0, 5.0])
    factors = tmm_factors(counts)
    np.testing.assert_allclose(factors / factors[0], [1, 2, 5])


def test_channels_select_features(example: Bundle) -> None:
    """Single-channel features hold that channel only."""
    for channel in ("switch", "abundance"):
        assert set(build_features(example, channels=channel).matrix.feature_types) == {channel}


def test_genes_with_one_transcript_have_no_switch(example: Bundle) -> None:
    """A bundle without alternative transcripts has no switch channel, and says so."""
    table = example.transcripts.assign(gene_id=example.transcripts["transcript_id"])
    single = Bundle(example.manifest, example.samples, {"transcript": table}, example.matrices)
    assert set(build_features(single).matrix.feature_types) == {"abundance"}
    with pytest.raises(BundleError, match="0 of 10 genes have two transcripts"):
        build_features(single, channels="switch")


def test_silent_gene_gives_constant_zero(example: Bundle) -> None:
    """A gene without reads has usage 1/k everywhere and a coordinate of zeros."""
    counts = example.transcript_counts.copy()
    counts[:2] = 0
    found = build_features(Bundle(example.manifest, example.samples, example.tables, {"transcript_counts": counts}))
    np.testing.assert_array_equal(_row(found, "GA::switch"), np.zeros(8))
    assert np.isnan(found.usage["A1"]).all()


def test_covariates_are_checked(example: Bundle) -> None:
    """A named covariate that is absent is an error; one that does not vary is left out with a warning."""
    with pytest.raises(BundleError, match="did you mean 'Age'"):
        design_of(example.samples, ["age"])
    with pytest.warns(CellkeyWarning, match="do not vary"):
        design = design_of(example.samples.assign(flat=1), ["flat"])
    assert design.basis.shape == (8, 1)
    with pytest.raises(BundleError, match="degrees of freedom"):
        design_of(example.samples, ["sample_id"])


def test_missing_values_and_levels_of_covariates(example: Bundle) -> None:
    """Missing numbers become the mean, missing text a level of its own."""
    samples = example.samples.assign(a=[1, 2, np.nan, 4, 5, 6, 7, 8], b=["x", "x", "y", None, "y", "x", "y", "x"])
    design = design_of(samples, ["a", "b"])
    assert design.basis.shape == (8, 4)
    np.testing.assert_allclose(design.basis.T @ design.basis, np.eye(4), atol=1e-12)
    y = np.random.default_rng(0).normal(size=(1, 8))
    dummies = pd.get_dummies(samples["b"].fillna("?")).to_numpy(dtype=float)
    a = samples["a"].fillna(samples["a"].mean()).to_numpy()
    x = np.column_stack([np.ones(8), a, dummies])
    oracle = y[0] - x @ np.linalg.lstsq(x, y[0], rcond=None)[0]
    np.testing.assert_allclose(design.residuals(y)[0], oracle, atol=1e-10)


def test_unknown_settings_are_answered() -> None:
    """A misspelt setting is refused with the right name."""
    with pytest.raises(ParameterError, match="pseudocount"):
        FeatureParameters.parse({"pseudocounts": 1})
    with pytest.raises(ParameterError, match="degradation_covariate"):
        FeatureParameters.parse({"reliability": "degradation"})


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_does_not_matter(random) -> None:
    """Shuffled transcripts and samples give the same features, signs included."""
    from cellkey.isoforms.synthetic import simulate

    bundle = simulate("toy_multiplex_v1").select_samples(list(range(12)))
    rows, columns = list(range(len(bundle.transcripts))), list(range(12))
    random.shuffle(rows)
    random.shuffle(columns)
    other = Bundle(
        bundle.manifest,
        bundle.samples.iloc[columns].reset_index(drop=True),
        {"transcript": bundle.transcripts.iloc[rows].reset_index(drop=True)},
        {"transcript_counts": bundle.transcript_counts[rows][:, columns]},
    )
    a, b = build_features(bundle), build_features(other)
    assert list(a.matrix.feature_ids) == list(b.matrix.feature_ids)
    assert a.matrix.sample_ids == b.matrix.sample_ids
    np.testing.assert_allclose(a.matrix.values, b.matrix.values, atol=1e-12)
    pd.testing.assert_frame_equal(a.loadings, b.loadings, atol=1e-12)
