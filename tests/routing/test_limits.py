"""Gating parameters: two written forms, leaf-by-leaf merging, followers, and messages for every mistake."""

from __future__ import annotations

import pytest

from cellkey.errors import ParameterError
from cellkey.routing.limits import check_gating, merge_gating


def test_defaults_by_level() -> None:
    gating = merge_gating()
    assert [gating.at(i).min_coverage for i in range(5)] == [0.5, 0.4, 0.3, 0.3, 0.3]
    assert [gating.at(i).min_gap for i in range(4)] == [0.25, 0.3, 0.2, 0.2]
    assert [gating.at(i).min_enrichment for i in range(4)] == [0.0, -0.5, -1.0, -1.0]
    assert (gating.max_depth, gating.anti_penalty_hard_gate, gating.per_cell_gap_threshold) == (None, 1.0, 0.1)


@pytest.mark.parametrize("settings", [
    {"level_defaults": {"0": {"min_coverage": 0.4}}},
    {"level_defaults": {0: {"min_coverage": 0.4}}},
    {"min_coverage": {"0": 0.4}},
    {"min_coverage": {0: 0.4}},
])
def test_both_forms_and_both_kinds_of_level_keys(settings: dict) -> None:
    gating = merge_gating(settings)
    assert [gating.at(i).min_coverage for i in range(3)] == [0.4, 0.4, 0.3]


def test_level_defaults_win_within_one_source() -> None:
    gating = merge_gating({"min_coverage": {"0": 0.1}, "level_defaults": {"0": {"min_coverage": 0.2}}})
    assert gating.at(0).min_coverage == 0.2


def test_later_sources_replace_single_leaves_only() -> None:
    ours = {"level_defaults": {"0": {"min_coverage": 0.45, "min_gap": 0.4}},
            "root_hard_requirements": {"T Cells": {"marker": "CD3D", "min_pos_frac": 0.4, "min_enrichment": 0.0}}}
    user = {"level_defaults": {"0": {"min_coverage": 0.30}},
            "root_hard_requirements": {"T Cells": {"min_pos_frac": 0.2}}}
    gating = merge_gating(ours, user)
    assert (gating.at(0).min_coverage, gating.at(0).min_gap) == (0.30, 0.4)
    rule = gating.root_hard_requirements["T Cells"][0]
    assert (rule.marker, rule.min_pos_frac, rule.min_enrichment) == ("CD3D", 0.2, 0.0)


def test_all_deeper_levels_and_deepest_given_level() -> None:
    assert [merge_gating({"min_gap": {"3+": 0.1}}).at(i).min_gap for i in (2, 3, 9)] == [0.2, 0.1, 0.1]
    assert [merge_gating({"min_gap": {"default": 0.1}}).at(i).min_gap for i in (0, 1, 9)] == [0.25, 0.1, 0.1]
    assert [merge_gating({"min_gap": {"5": 0.9}}).at(i).min_gap for i in (4, 5, 6)] == [0.2, 0.9, 0.9]
    assert [merge_gating({"min_gap": 0.7}).at(i).min_gap for i in (0, 1, 4)] == [0.7, 0.7, 0.7]


def test_a_gap_given_for_the_root_replaces_the_root_gap_threshold() -> None:
    assert merge_gating({"root_gap_threshold": 0.6}).at(0).min_gap == 0.6
    assert merge_gating({"root_gap_threshold": 0.6, "min_gap": {"0": 0.4}}).at(0).min_gap == 0.4
    assert merge_gating({"root_gap_threshold": 0.6, "min_gap": {"1": 0.4}}).at(0).min_gap == 0.6


def test_expression_limits_follow_coverage_and_positive_fraction() -> None:
    """Asking for half the coverage asks for half the markers on; the same for the on-limit of a marker."""
    relaxed = merge_gating({"level_defaults": {"0": {"min_coverage": 0.25, "min_pos_frac": 0.15}}}).at(0)
    assert relaxed.min_frac_markers_on == pytest.approx(0.20)
    assert relaxed.on_limit == pytest.approx(0.075)
    strict = merge_gating({"level_defaults": {"0": {"min_coverage": 1.0}}}).at(0)
    assert strict.min_frac_markers_on == pytest.approx(0.8)
    given = merge_gating({"level_defaults": {"0": {"min_coverage": 0.25, "min_frac_markers_on": 0.4}}}).at(0)
    assert given.min_frac_markers_on == 0.4


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        merge_gating({
            "min_coverge": {"0": 0.4},
            "level_defaults": {"0": {"min_pos_fraction": 0.2}, "one": {"min_gap": 0.1}, "1": {"min_coverage": 1.4}},
            "root_veto_markers": {"T Cells": {"markers": ["CD19"], "max_pos_fraction": 0.1}},
            "root_hard_requirements": {"B Cells": {"min_pos_frac": 0.3}},
        }, names=["--gating-params"])
    text = str(caught.value)
    for expected in ("min_coverage", "min_pos_frac", "'one' is not a number", "1.4", "max_pos_frac", "marker"):
        assert expected in text
    assert len(caught.value.problems) == 6


def test_several_requirements_and_a_veto_written_as_one_name() -> None:
    gating = merge_gating({
        "root_hard_requirements": {"T Cells": [{"marker": "CD3D"}, {"marker": "CD3E", "min_pos_frac": 0.1}]},
        "root_veto_markers": {"T Cells": {"markers": "CD19", "max_pos_frac": 0.1}},
    })
    assert [r.marker for r in gating.root_hard_requirements["T Cells"]] == ["CD3D", "CD3E"]
    assert gating.root_veto_markers["T Cells"].markers == ("CD19",)
    assert gating.markers() == ("CD3D", "CD3E", "CD19")


def test_a_number_of_a_rule_may_be_changed_without_naming_its_marker() -> None:
    """Settings are checked before the map is known; what the map must add is asked for when they are merged."""
    change = {"root_hard_requirements": {"T Cells": {"min_pos_frac": 0.2}},
              "root_veto_markers": {"T Cells": {"max_pos_frac": 0.3}}}
    check_gating(change)
    of_map = {"root_hard_requirements": {"T Cells": {"marker": "CD3D", "min_pos_frac": 0.4}},
              "root_veto_markers": {"T Cells": {"markers": ["CD19"], "max_pos_frac": 0.1}}}
    gating = merge_gating(of_map, change)
    assert gating.root_hard_requirements["T Cells"][0].min_pos_frac == 0.2
    assert gating.root_veto_markers["T Cells"].max_pos_frac == 0.3
    with pytest.raises(ParameterError, match="marker: field required"):
        merge_gating({}, change)
    with pytest.raises(ParameterError, match="max_pos_frac"):
        check_gating({"root_veto_markers": {"T Cells": {"max_pos_frac": 3}}})
    with pytest.raises(ParameterError, match="min_pos_frac"):
        check_gating({"root_hard_requirements": {"T Cells": {"min_pos": 3}}})
