"""Schemas of the tables that enrichment adds to a run, and of the comparison of two methods."""

from __future__ import annotations

from cellkey.records.schema import Column, TableSchema
from cellkey.records.vocabulary import (
    BranchStop,
    CallStatus,
    ConfidenceTier,
    ExportReason,
    MethodAgreement,
    RouteStatus,
    ScoreStatus,
)

__all__ = ["ENRICHMENT_CALLS", "ENRICHMENT_SCORES", "HIERARCHY_FIT", "METHOD_COMPARISON"]

ENRICHMENT_CALLS = TableSchema(
    "enrichment_calls",
    "One row per cluster called by enrichment: the routed label, the reported label, and what decided both.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("annot_label", "string", "Routed label: the last type on the path; Unresolved if there is none."),
        Column("annot_label_with_cluster", "string", "Routed label, underscore, cluster."),
        Column("annot_path", "string", "Types on the path, joined by ' > '."),
        Column("annot_level", "int", "Number of types on the path; 0 if unresolved."),
        Column("annot_status", "string", "How the walk ended.", tuple(RouteStatus)),
        Column("annot_stop_reason", "string", "Why the walk ended.", tuple(BranchStop)),
        Column("annot_confidence", "string", "Confidence tier of the routed label.", tuple(ConfidenceTier)),
        Column("annot_score", "float", "Branch support of the routed label."),
        Column("annot_raw_score", "float", "Its raw enrichment, in units of log expression."),
        Column("annot_branch_supported_raw_score", "float", "Raw enrichment blended with that of its best subtype."),
        Column("annot_margin", "float", "Same value as annot_final_call_margin."),
        Column("annot_best_any_level_label", "string", "Terminal type with the greatest branch support anywhere."),
        Column("annot_best_any_level_score", "float", "Its branch support."),
        Column("annot_low_evidence", "bool", "Whether the tier is low or none, or nothing was assigned."),
        Column("annot_low_absolute_support", "bool", "Whether the blended raw enrichment is below its limit or"
               " missing."),
        Column("annot_deeper_level_unresolved", "bool", "Whether the walk stopped among subtypes that were too weak"
               " or too close."),
        Column("annot_branch_conflict", "bool", "Whether a terminal type of another lineage has more support."),
        Column("annot_decision_label", "string", "Label before levels were given up for lack of own support."),
        Column("annot_decision_path", "string", "Path before that, joined by ' > '."),
        Column("annot_decision_level", "int", "Number of types on that path."),
        Column("annot_decision_score", "float", "Branch support of that label."),
        Column("annot_decision_raw_score", "float", "Raw enrichment of that label."),
        Column("annot_decision_branch_supported_raw_score", "float", "Blended raw enrichment of that label."),
        Column("annot_backoff_applied", "bool", "Whether levels were given up."),
        Column("annot_backoff_steps", "int", "How many."),
        Column("annot_backoff_reason", "string", "Why; empty if none was."),
        Column("annot_best_any_level_raw_score", "float", "Raw enrichment of the best terminal type."),
        Column("annot_primary_compartment", "string", "Lineage with the greatest support."),
        Column("annot_secondary_compartment", "string", "Lineage with the second greatest support."),
        Column("annot_primary_compartment_score", "float", "Branch support of the first."),
        Column("annot_secondary_compartment_score", "float", "Branch support of the second."),
        Column("annot_top_level_gap", "float", "Difference of the two."),
        Column("annot_mixed_compartment", "bool", "Whether that difference is below the margin threshold."),
        Column("annot_parent_mixing", "bool", "Whether both lineages are strong and the walk could not choose."),
        Column("annot_mixed_primary", "string", "First of two mixed lineages; empty if there are none."),
        Column("annot_mixed_secondary", "string", "Second of two mixed lineages; empty if there are none."),
        Column("annot_best_any_level_top_branch", "string", "Lineage of the best terminal type."),
        Column("annot_final_top_branch", "string", "Lineage of the routed label."),
        Column("annot_second_best_call", "string", "Best type of another lineage that would pass all gates."),
        Column("annot_second_best_call_score", "float", "Its branch support."),
        Column("annot_final_call_margin", "float", "Branch support of the routed label minus that of the second"
               " best call; empty without one."),
        Column("annot_path_margin", "float", "Least lead over a sibling along the path."),
        Column("annot_export_label", "string", "Label to report: a type, mixed_a.b, candidate_a or unknown."),
        Column("annot_export_label_with_cluster", "string", "The same with the cluster at the end."),
        Column("annot_unresolved_candidate_label", "string", "Type considered as a candidate; empty if none was."),
        Column("annot_unresolved_candidate_score", "float", "Its branch support."),
        Column("annot_unresolved_candidate_raw_score", "float", "Its raw enrichment."),
        Column("annot_export_status", "string", "What the reported label stands for.", tuple(CallStatus)),
        Column("annot_export_reason", "string", "Which rule made the reported label.", tuple(ExportReason)),
    ),
)

ENRICHMENT_SCORES = TableSchema(
    "enrichment_scores",
    "One row per cluster and cell type: all parts of its enrichment.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("label", "string", "Cell type."),
        Column("path", "string", "Labels from the top-level type to this one, joined by ' / '; unique."),
        Column("level", "int", "Depth of the cell type; 0 is a top-level type."),
        Column("status", "string", "Whether the type could be scored.", tuple(ScoreStatus)),
        Column("support", "float", "Branch support, by which siblings compete."),
        Column("local", "float", "Support by its own markers alone."),
        Column("best_child", "float", "Greatest support (at least 0) of its subtypes; empty for terminal types."),
        Column("raw", "float", "Raw enrichment: markers over controls, minus the weighted anti-markers."),
        Column("branch_raw", "float", "Raw enrichment blended with that of the best subtype."),
        Column("positive", "float", "Enrichment of the markers over their controls."),
        Column("negative", "float", "Enrichment of the anti-markers as it was subtracted, before its weight."),
        Column("z", "float", "Raw enrichment in robust units over clusters."),
        Column("specificity", "float", "z minus that of the best sibling, or of the parent of an only child."),
        Column("decision", "float", "Specificity times 0.5 + 0.5 x detection."),
        Column("detection", "float", "Share (0 to 1) of the measured markers that are detected."),
        Column("gate", "float", "Share (0 to 1) to which specificity counts, given the raw enrichment."),
        Column("factor", "float", "Factor (0 to 1) for the number of markers."),
        Column("error", "float", "Standard error of raw enrichment from counting transcripts; 0 if not known."),
        Column("sure_support", "float", "Branch support with raw enrichment lowered by two such errors."),
        Column("scored_markers", "list", "Markers that were scored."),
        Column("missing_markers", "list", "Markers of that list which are not measured."),
        Column("scored_anti_markers", "list", "Anti-markers that were scored."),
        Column("used_listed", "bool", "Whether markers shared with the parent were scored as well, because too few"
               " others are measured."),
        Column("n_controls", "int", "Control genes of all its markers together."),
        Column("n_cells", "int", "Number of cells in the cluster."),
    ),
)

METHOD_COMPARISON = TableSchema(
    "method_comparison",
    "One row per cluster: what the marker score and enrichment call it, and how the two relate.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("n_cells", "int", "Number of cells in the cluster."),
        Column("markers_label", "string", "Label by the marker score."),
        Column("enrichment_label", "string", "Reported label by enrichment."),
        Column("agreement", "string", "How the paths relate.", tuple(MethodAgreement)),
        Column("shared_path", "string", "Labels that both paths begin with, joined by ' / '; the other path if one"
               " method calls nothing."),
        Column("markers_path", "string", "Path by the marker score, joined by ' / '."),
        Column("enrichment_path", "string", "Path by enrichment, joined by ' / '."),
        Column("markers_confidence", "float", "Least margin along the path, in units of the marker score."),
        Column("enrichment_confidence", "float", "Least margin along the path, in units of branch support."),
        Column("markers_status", "string", "What the first label stands for.", tuple(CallStatus)),
        Column("enrichment_status", "string", "What the second label stands for.", tuple(CallStatus)),
        Column("enrichment_tier", "string", "Confidence tier by enrichment.", tuple(ConfidenceTier)),
    ),
)

HIERARCHY_FIT = TableSchema(
    "hierarchy_fit",
    "One row per hierarchy: how well it explains the clusters of a data set, against permuted gene labels.",
    (
        Column("name", "string", "Hierarchy."),
        Column("fit", "float", "Explained support beyond chance, 0 (no more than with permuted gene labels) to 1."),
        Column("p_value", "float", "Share of permutations that explain as much, counting the data themselves."),
        Column("explained", "float", "Mean support (0 to 1) of the clusters' calls; unresolved clusters count 0."),
        Column("explained_by_chance", "float", "Mean of the same over the permutations."),
        Column("fraction_resolved", "float", "Share (0 to 1) of clusters with a type of their own."),
        Column("fraction_unresolved", "float", "Share (0 to 1) of clusters without any."),
        Column("measured_markers", "float", "Share (0 to 1) of the listed markers that are measured."),
        Column("n_clusters", "int", "Number of clusters."),
        Column("n_permutations", "int", "Number of permutations."),
        Column("rank", "int", "Rank by fit; 1 is the best, ties by name."),
    ),
)
