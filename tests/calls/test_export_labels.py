"""Reported labels: every rule, its threshold, and which one wins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellkey.calls.call import CallStatus
from cellkey.calls.expand import expand_to_cells
from cellkey.calls.export import EXPORT_COLUMNS, ExportRules, export_labels, sanitised
from cellkey.errors import MissingFieldError, ParameterError

NAN = float("nan")


def row(cluster: str = "7", label: str = "Neutrophil", **values: object) -> dict[str, object]:
    usual = {
        "cluster_id": cluster, "annot_label": label, "annot_level": 2, "annot_status": "assigned",
        "annot_confidence": "high", "annot_score": 1.0, "annot_branch_supported_raw_score": 0.8,
        "annot_best_any_level_label": "Plasma cell", "annot_best_any_level_score": 0.5,
        "annot_best_any_level_raw_score": 0.5, "annot_low_evidence": False, "annot_low_absolute_support": False,
        "annot_branch_conflict": False, "annot_parent_mixing": False, "annot_mixed_primary": "",
        "annot_mixed_secondary": "", "annot_secondary_compartment_score": 0.0, "annot_final_top_branch": "Immune",
        "annot_second_best_call": "Fibroblast", "annot_second_best_call_score": 0.5, "annot_final_call_margin": 0.5,
    }
    return usual | values


def unresolved(**values: object) -> dict[str, object]:
    return row(**({
        "cluster": "10", "label": "Unresolved", "annot_level": 0, "annot_status": "stopped_at_parent",
        "annot_confidence": "none", "annot_score": NAN, "annot_branch_supported_raw_score": NAN,
        "annot_low_evidence": True, "annot_final_call_margin": NAN, "annot_final_top_branch": "Unresolved",
    } | values))  # type: ignore[arg-type]


def reported(record: dict[str, object], **rules: object) -> tuple[str, str, str]:
    found = export_labels(pd.DataFrame([record]), ExportRules(**rules)).iloc[0]  # type: ignore[arg-type]
    return tuple(found[[f"annot_export_{n}" for n in ("label", "label_with_cluster", "status")]])


MIXED = {"annot_second_best_call": "Macrophage", "annot_second_best_call_score": 0.6, "annot_final_call_margin": 0.02}


def test_label_texts_are_those_of_the_article() -> None:
    """resolved, mixed, candidate and unknown, with and without the cluster."""
    assert reported(row()) == ("Neutrophil", "Neutrophil_7", "resolved")
    assert reported(row(**MIXED)) == ("mixed_neutrophil.macrophage", "mixed_neutrophil.macrophage_7", "mixed")
    candidate = unresolved(annot_best_any_level_score=1.0, annot_best_any_level_raw_score=0.2)
    assert reported(candidate) == ("candidate_plasma_cell", "candidate_plasma_cell_10", "candidate")
    assert reported(candidate, candidate_status="unknown")[2] == "unknown"
    assert reported(unresolved()) == ("unknown", "unknown_10", "unknown")
    assert reported(row("3", "CD8 T cell"))[1] == "CD8_T_cell_3"
    assert reported(row("3", "Stem/TA-like"))[1] == "Stem_TA_like_3"
    long = row("4", "Distal/TAL-like", **MIXED | {"annot_second_best_call": "CD8 T cell"})
    assert reported(long)[1] == "mixed_distal_tal_like.cd8_t_cell_4"


@pytest.mark.parametrize(("name", "clean"), [
    ("Capillary endothelial", "Capillary_endothelial"), ("a / b - c", "a_b_c"), (" -x- ", "x"), ("A__B", "A_B"),
])
def test_sanitised_names(name: str, clean: str) -> None:
    assert sanitised(name) == clean


def test_mixed_needs_a_tie_and_two_strong_calls() -> None:
    """At the thresholds it is mixed, beyond any of them it is not; each can be changed."""
    for change in ({"annot_final_call_margin": 0.021}, {"annot_score": 0.34}, {"annot_second_best_call_score": 0.34},
                   {"annot_final_call_margin": NAN}, {"annot_second_best_call": ""}):
        assert reported(row(**MIXED | change))[2] == "resolved", change
    assert reported(row(**MIXED | {"annot_final_call_margin": -1.09}))[2] == "mixed"
    assert reported(row(**MIXED), mixed_on_parent_mixing=False)[2] == "resolved"
    assert reported(row(**MIXED | {"annot_score": 0.3}), mixed_min_score=0.3)[2] == "mixed"
    assert reported(row(), mixed_max_margin=0.5)[2] == "mixed"
    text = reported(row(**MIXED), mixed_label_prefix="both", mixed_branch_separator="+")[0]
    assert text == "both_neutrophil+macrophage"


def test_two_tied_lineages_are_mixed_although_nothing_was_routed() -> None:
    """Names of both lineages; only if both are strong enough."""
    tied = unresolved(annot_parent_mixing=True, annot_mixed_primary="T cell", annot_mixed_secondary="B cell",
                      annot_secondary_compartment_score=0.4)
    assert reported(tied) == ("mixed_t_cell.b_cell", "mixed_t_cell.b_cell_10", "mixed")
    assert reported(tied, mixed_min_score=0.5)[2] == "unknown"


def test_unknown_rules() -> None:
    """Tier, conflict, raw support, and limits on any column; a missing value never triggers a limit."""
    assert reported(row(annot_confidence="low"))[2] == "unknown"
    assert reported(row(annot_confidence="low"), unknown_on_low_confidence=False)[2] == "resolved"
    assert reported(row(annot_confidence="medium"), unknown_confidence_levels=("medium",))[2] == "unknown"
    low = row(annot_confidence="low", annot_low_evidence=True)
    assert reported(low, unknown_confidence_levels=("none",)) == ("Neutrophil", "Neutrophil_7", "resolved")
    assert reported(row(annot_branch_conflict=True))[2] == "resolved"
    assert reported(row(annot_branch_conflict=True), unknown_on_branch_conflict=True)[2] == "unknown"
    assert reported(row(annot_low_absolute_support=True), unknown_on_low_absolute_support=True)[2] == "unknown"
    weak = row(annot_branch_supported_raw_score=0.09)
    assert reported(weak)[2] == "resolved"
    assert reported(weak, unknown_branch_raw_threshold=0.1) == ("unknown", "unknown_7", "unknown")
    assert reported(row(annot_branch_supported_raw_score=NAN), unknown_branch_raw_threshold=0.1)[2] == "resolved"
    assert reported(row(), unknown_min_score=1.1)[2] == "unknown"
    assert reported(row(), unknown_max_margin=0.6)[2] == "unknown"
    other = reported(row(), unknown_min_score=0.9, unknown_score_column="annot_branch_supported_raw_score")
    assert other[2] == "unknown"
    assert reported(row(annot_confidence="low"), unknown_label="?") == ("?", "?_7", "unknown")
    assert reported(row(**MIXED, annot_confidence="low"))[2] == "unknown"


def test_candidates_need_score_and_raw_enrichment() -> None:
    """Groups without a lineage always, other unknown groups if they may be rescued."""
    strong = {"annot_best_any_level_score": 1.5, "annot_best_any_level_raw_score": 0.3}
    assert reported(unresolved(**strong | {"annot_best_any_level_score": 0.99}))[2] == "unknown"
    assert reported(unresolved(**strong | {"annot_best_any_level_raw_score": 0.19}))[2] == "unknown"
    assert reported(unresolved(**strong), unresolved_candidate_min_score=2.0)[2] == "unknown"
    weak = row(annot_confidence="low", **strong)
    assert reported(weak)[2] == "candidate"
    assert reported(weak, rescue_unknown_with_blocked_candidates=False)[2] == "unknown"
    assert reported(unresolved(**strong), unresolved_candidate_label_prefix="maybe")[0] == "maybe_plasma_cell"
    assert reported(row(**strong))[2] == "resolved"


def test_columns_and_reasons() -> None:
    """All columns are added in order; candidate columns are filled for groups that were considered."""
    table = pd.DataFrame([row(), unresolved(annot_best_any_level_score=2.0)])
    found = export_labels(table)
    assert list(found.columns) == [*table.columns, *EXPORT_COLUMNS]
    assert found["annot_export_reason"].tolist() == ["resolved", "blocked_strong_candidate"]
    assert found["annot_unresolved_candidate_label"].tolist() == ["", "Plasma cell"]
    np.testing.assert_allclose(found["annot_unresolved_candidate_score"], [NAN, 2.0])
    assert set(found["annot_export_status"]) <= {str(s) for s in CallStatus}
    assert "annot_export_label_with_cluster" not in export_labels(table, ExportRules(label_with_cluster=False))


def test_an_unknown_column_or_rule_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(MissingFieldError, match="did you mean 'annot_score'"):
        reported(row(), unknown_min_score=1, unknown_score_column="annot_scor")
    with pytest.raises(ParameterError, match="did you mean 'mixed_min_score'"):
        ExportRules.parse({"mixed_min_scor": 1})


def test_labels_of_cells_follow_their_clusters() -> None:
    """Ids match as text, the index stays, strangers are unassigned with a status of their own."""
    summary = pd.DataFrame({
        "cluster_id": ["0", "10"], "annot_export_label": ["B cell", "unknown"],
        "annot_export_label_with_cluster": ["B_cell_0", "unknown_10"], "annot_export_status": ["resolved", "unknown"],
    })
    clusters = pd.Series([0, 10, 3, None, 0], index=list("abcde"), dtype=object)
    found = expand_to_cells(clusters, summary, cluster_key="leiden")
    assert list(found.columns) == ["leiden", "annot_export_label", "annot_export_label_with_cluster",
                                   "annot_export_status"]
    assert found.index.tolist() == list("abcde")
    assert found["annot_export_label"].tolist() == ["B cell", "unknown", "unassigned", "unassigned", "B cell"]
    assert found["annot_export_label_with_cluster"].tolist()[2:4] == ["unassigned_3", "unassigned"]
    assert found["annot_export_status"].tolist()[2:4] == ["not_analyzed", "not_analyzed"]
    named = expand_to_cells(clusters, summary, columns=["annot_export_label"], prefix="run", with_cluster=False)
    assert list(named.columns) == ["cluster", "run_export_label"]
    bare = expand_to_cells(clusters, summary, columns=["annot_export_label"], fill_unassigned=False)
    assert bare["annot_export_label"].isna().tolist() == [False, False, True, True, False]
    with pytest.raises(MissingFieldError, match="annot_export_status"):
        expand_to_cells(clusters, summary, columns=["annot_export_stats"])
