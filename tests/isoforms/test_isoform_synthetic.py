"""Synthetic data sets are the same to the bit on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.errors import InputError
from cellkey.isoforms.bundle import FeatureKind
from cellkey.isoforms.synthetic import FIXTURES, SUITES, fingerprint, fixture_names, pure_noise, simulate

# name: transcripts, total of integer parts, first counts, first age, first digits of the SHA-256
FINGERPRINTS = {
    "toy_v1": (48, 337949, (50, 340, 210), 30.002460, "f98fe8685c71"),
    "medium_v1": (800, 28777576, (50, 340, 146), 26.523467, "6b97ddc6541d"),
    "realistic_v1": (572, 9602756, (154, 250, 51), 40.365957, "87a3f6a8d94a"),
    "realistic_unequal_v1": (586, 9606888, (81, 60, 210), 36.759939, "3b592045ca2b"),
    "noisy_v1": (856, 8991227, (9, 144, 84), 50.410313, "70b5b23bc572"),
    "large_v1": (2350, 28844023, (147, 30, 36), 49.918079, "250f0d85019c"),
    "nonlinear_v1": (583, 11985896, (16, 476, 327), 71.921079, "01365687fd76"),
    "toy_multiplex_v1": (108, 968893, (3, 87, 72), 50.014762, "83a1a03c1fa9"),
    "medium_multiplex_v1": (878, 20139386, (0, 69, 35), 29.140803, "e5088f9033b1"),
    "noisy_multiplex_v1": (944, 12375171, (92, 154, 98), 40.365957, "2d3bee1ff0c3"),
    "large_multiplex_v1": (2352, 40026974, (185, 121, 59), 36.759939, "af3dbfe0ae28"),
}
LARGE = {
    "xlarge_v1": (17464, 432069869, (152, 125, 159), 32.829524, "60039134a3a7"),
    "xxlarge_v1": (34836, 863991602, (94, 242, 209), 42.863316, "75fb77a5f033"),
    "xxlarge_stress_v1": (34666, 864283322, (86, 121, 248), 63.215149, "316bbde2f3a3"),
    "xxlarge_multiplex_v1": (14255, 883013529, (91, 204, 130), 42.863316, "05c7c52c8377"),
}


def _check(name: str, expected: tuple[int, int, tuple[int, ...], float, str]) -> None:
    n_transcripts, total, first, age, sha = expected
    bundle = simulate(name)
    counts = bundle.transcript_counts
    assert len(counts) == n_transcripts
    assert tuple(np.floor(counts[0, :3]).astype(int)) == first
    assert bundle.samples["Age"].iloc[0] == pytest.approx(age, abs=1e-6)
    # exp may differ in the last bit between maths libraries; then totals agree to 1e-6.
    assert fingerprint(bundle) == sha or int(counts.sum()) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_fixture_is_reproduced(name: str) -> None:
    """Counts, ages and hash equal the published fingerprint."""
    _check(name, FINGERPRINTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_fixture_is_reproduced(name: str) -> None:
    """The same for the fixtures of thousands of genes."""
    _check(name, LARGE[name])


def test_truth_tables_follow_the_design() -> None:
    """Roles, modules and switches of the multiplex truth agree with each other."""
    bundle = simulate("medium_multiplex_v1")
    roles = bundle.truth(FeatureKind.TRUTH_CHANNEL_ROLE)
    modules = bundle.truth(FeatureKind.TRUTH_MODULE)
    assert roles is not None
    assert modules is not None
    assert roles["truth_role"].value_counts().to_dict() == {
        "background": 128,
        "switch_only": 48,
        "abundance_only": 48,
        "coupled": 48,
        "discordant": 48,
    }
    assert set(modules["gene_id"]) == set(roles["gene_id"][roles["module_id"].notna()])
    assert (roles["has_switch"] == roles["truth_role"].isin(["switch_only", "coupled", "discordant"])).all()


def test_suites_name_their_fixtures() -> None:
    """A suite holds the documented fixtures; large multiplex runs on request only."""
    assert len(fixture_names("core_v1")) == 7
    assert fixture_names("scale_v1") == ("xlarge_v1", "xxlarge_v1", "xxlarge_stress_v1")
    assert "xxlarge_multiplex_v1" not in SUITES["multiplex_v1"]
    assert len(SUITES["hard_v1"]) == 10
    assert all(FIXTURES[n].suite == suite for suite, names in SUITES.items() for n in names)


def test_unknown_names_are_answered_with_close_ones() -> None:
    """A typing error is answered with the name that was meant."""
    with pytest.raises(InputError, match="did you mean 'toy_v1'"):
        simulate("toy_v2")
    with pytest.raises(InputError, match="did you mean 'core_v1'"):
        fixture_names("core")


def test_pure_noise_plants_nothing() -> None:
    """The noise data set has an empty truth."""
    truth = pure_noise(n_genes=20, n_samples=10).truth(FeatureKind.TRUTH_MODULE)
    assert truth is not None
    assert truth.empty
