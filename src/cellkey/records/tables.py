"""Schemas of the tables that an annotation run writes.

The columns that users of the file formats rely on come first and in their promised order; further columns
follow, so that reading by position and reading by name both work. The reference pages are generated from
these declarations.
"""

from __future__ import annotations

from dataclasses import replace

from cellkey.records.confidence_tables import CONFIDENCE
from cellkey.records.consensus_tables import CONSENSUS, CONSENSUS_CELLS, CONSENSUS_LABELS, CONSENSUS_VOTES
from cellkey.records.enrichment_tables import (
    ENRICHMENT_CALLS,
    ENRICHMENT_SCORES,
    HIERARCHY_FIT,
    METHOD_COMPARISON,
)
from cellkey.records.schema import Column, TableSchema
from cellkey.records.vocabulary import (
    ConfidenceLevel,
    Criterion,
    FailReason,
    LogSource,
    LogStatus,
    MarkerRole,
    Recommendation,
    RefinementAction,
    StopDetail,
    StopReason,
)

__all__ = [
    "ALL_TABLES",
    "CLUSTER_ANNOTATIONS",
    "CONFIDENCE",
    "CONSENSUS",
    "CONSENSUS_CELLS",
    "CONSENSUS_LABELS",
    "CONSENSUS_VOTES",
    "DECISION_STEPS",
    "DIAGNOSTIC_REPORT",
    "ENRICHMENT_CALLS",
    "ENRICHMENT_SCORES",
    "GATING_DETAILS",
    "HIERARCHY_FIT",
    "MARKER_EVIDENCE",
    "MARKER_SCORES",
    "METHOD_COMPARISON",
    "REFINED_ANNOTATIONS",
    "REFINED_DECISION_STEPS",
    "REFINED_MARKER_EVIDENCE",
    "REFINED_MARKER_SCORES",
    "REFINEMENT_LOG",
]

CLUSTER_ANNOTATIONS = TableSchema(
    "cluster_annotations",
    "One row per cluster of the first clustering, in natural order: its label, why the walk stopped there,"
    " and how sure the decision was.",
    (
        Column("cluster_id", "string", "Identifier of the cluster, as in the obs column cluster_lvl0."),
        Column("assigned_label", "string", "Cell type assigned by the walk down the hierarchy; Unassigned if"
               " no top-level type passed, A~B if two were too close to choose."),
        Column("assigned_path", "string", "Labels from the top-level type to the assigned one, joined by"
               " ' / '; empty if unassigned."),
        Column("assigned_level", "int", "Depth of the assigned type: 0 is a top-level type, -1 is"
               " Unassigned."),
        Column("assigned_score", "float", "Score of the assigned type (unbounded, higher is better); 0 if"
               " unassigned."),
        Column("root_label", "string", "Top-level type on the path, A~B if undecided between two, or"
               " Unassigned."),
        Column("confidence", "float", "Least margin along the path, in score units: the score of the chosen"
               " type minus that of its closest sibling at the tightest step; 0 if unassigned."),
        Column("stop_reason", "string", "Why the walk stopped.", tuple(StopReason)),
        Column("n_cells", "int", "Number of cells in the cluster."),
        Column("coverage", "float", "Share (0 to 1) of the listed markers of the assigned type that are"
               " measured; empty if unassigned or undecided between top-level types."),
        Column("resolved_markers", "list", "Measured markers of the assigned type that entered its score."),
        Column("is_ambiguous_root", "bool", "Whether top-level types were too close to choose between."),
        Column("composition", "json", "Votes of the single cells between near-tied candidates: label to"
               " share, and keys beginning with '_' that describe the vote; evidence only, never the label;"
               " empty if no vote was held."),
        Column("cluster", "string", "Same as cluster_id."),
        Column("final_annotation", "string", "Label after refinement: that of most cells of the cluster,"
               " ties by name; equal to assigned_label without refinement."),
        Column("stop_detail", "string", "Where and how the walk stopped.", tuple(StopDetail)),
        Column("min_margin_along_path", "float", "Same value as confidence, under the name that says how it"
               " is made."),
        Column("margin_is_infinite", "bool", "Whether no step had a competitor that passed its gate."),
        Column("stopped_before_leaf", "bool", "Whether the walk stopped above a terminal type, or found"
               " none."),
        Column("runner_up_label", "string", "Closest sibling at the tightest step; empty if there was none."),
        Column("runner_up_score", "float", "Score of that sibling; empty if there was none."),
        Column("ambiguous_root_candidates", "string", "Top-level types that were too close, separated by"
               " ';'."),
        Column("root_fail_reasons", "string", "For an unassigned cluster, 'type:detail' for every top-level"
               " type that failed, separated by ';'."),
        Column("decision_trace", "json", "List of [label, score] along the path; null without a score."),
        Column("proportion", "float", "Share (0 to 1) of all cells that are in the cluster."),
        Column("confidence_level", "string", "Band of assigned_score.", tuple(ConfidenceLevel)),
        Column("n_final_labels", "int", "Number of different final labels among the cells of the cluster."),
        Column("final_purity", "float", "Share (0 to 1) of the cells that carry final_annotation."),
    ),
)

MARKER_SCORES = TableSchema(
    "marker_scores",
    "One row per cluster and cell type of the hierarchy: the score and all its parts.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("label", "string", "Cell type."),
        Column("path", "string", "Labels from the top-level type to this one, joined by ' / '; unique."),
        Column("level", "int", "Depth of the cell type; 0 is a top-level type."),
        Column("score", "float", "mean_enrichment + mean_positive_fraction + de_component - anti_penalty -"
               " coverage_penalty."),
        Column("coverage", "float", "Share (0 to 1) of the listed markers that are measured and vary."),
        Column("mean_enrichment", "float", "Mean over the markers of the shift of the cluster from all"
               " cells, in standard deviations over all cells."),
        Column("mean_positive_fraction", "float", "Mean over the markers of the share (0 to 1) of the cells"
               " at or above the marker's threshold."),
        Column("frac_markers_on", "float", "Share (0 to 1) of the markers that are enriched and positive in"
               " enough cells."),
        Column("de_component", "float", "Bonus for markers among the cluster's most differential genes, from"
               " 0 to the weight de_bonus."),
        Column("anti_penalty", "float", "Penalty (0 or more) for expression of markers that speak against"
               " the type, already multiplied by anti_weight."),
        Column("resolved_markers", "list", "Markers that entered the score."),
        Column("missing_markers", "list", "Listed markers that are not measured, or constant over all"
               " cells."),
        Column("n_cells", "int", "Number of cells in the cluster."),
        Column("markers_expected", "int", "Number of listed markers."),
        Column("markers_found", "int", "Number of listed markers that entered the score."),
        Column("mean_median", "float", "Mean over the markers of the centre (median or mean) in the cluster,"
               " in units of the expression layer."),
        Column("n_markers_on", "int", "Number of markers that are on."),
        Column("de_hits", "int", "Number of markers among the cluster's most differential genes."),
        Column("de_score", "float", "de_component before it is multiplied by de_bonus, from 0 to 1."),
        Column("de_K", "int", "Length of the list of differential genes that counted for the cluster."),
        Column("de_n_pos", "int", "Number of genes higher in the cluster than in all other cells."),
        Column("anti_markers_expected", "int", "Number of listed anti-markers."),
        Column("anti_markers_found", "int", "Number of listed anti-markers that are measured and vary."),
        Column("mean_anti_enrichment", "float", "Mean over the anti-markers of the enrichment in the"
               " cluster; empty without anti-markers."),
        Column("mean_anti_positive", "float", "Mean over the anti-markers of the positive fraction; empty"
               " without anti-markers."),
        Column("coverage_penalty", "float", "What was taken off the score for markers that are not measured:"
               " coverage_weight x (1 - coverage)."),
        Column("idf_weighted", "bool", "Whether markers shared by many types weighed less in the means."),
        Column("marker_weights", "string", "Weight of each marker as 'marker:weight', separated by ';'."),
        Column("resolved_anti_markers", "list", "Anti-markers that entered the penalty."),
        Column("missing_anti_markers", "list", "Listed anti-markers that are not measured, or constant."),
    ),
)

DECISION_STEPS = TableSchema(
    "decision_steps",
    "One row per candidate that was evaluated on the walk of a cluster: what was seen and why it was chosen"
    " or not.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("step_idx", "int", "Step of the walk; 0 chooses among the top-level types."),
        Column("parent_label", "string", "Type whose subtypes are compared; ROOT at step 0."),
        Column("child_label", "string", "Candidate."),
        Column("child_passed_gate", "bool", "Whether the candidate passed every check of its gate."),
        Column("child_score", "float", "Score of the candidate."),
        Column("child_coverage", "float", "Share (0 to 1) of its listed markers that are measured."),
        Column("child_pos_frac", "float", "Mean positive fraction (0 to 1) of its markers."),
        Column("child_enrichment", "float", "Mean enrichment of its markers, in standard deviations."),
        Column("child_anti_penalty", "float", "Penalty for its anti-markers."),
        Column("selected", "bool", "Whether the walk went on with this candidate; false for all in an"
               " undecided step."),
        Column("margin_to_runner_up", "float", "On the row of the best candidate: its score minus that of"
               " the closest other; empty elsewhere."),
        Column("fail_reason", "string", "Why the candidate was not chosen; empty for the chosen one.",
               tuple(FailReason)),
        Column("fail_detail", "string", "The check that failed with its limit, such as 'coverage<0.5'."),
        Column("child_path", "string", "Path of the candidate, joined by ' / '."),
        Column("child_frac_markers_on", "float", "Share (0 to 1) of its markers that are on."),
    ),
)

GATING_DETAILS = TableSchema(
    "gating_details",
    "One row per cluster and top-level cell type: what the gate saw and which limits it applied.",
    (
        Column("cluster", "string", "Identifier of the cluster."),
        Column("root_type", "string", "Top-level cell type."),
        Column("coverage", "float", "Share (0 to 1) of the listed markers that are measured."),
        Column("pos_frac", "float", "Mean positive fraction (0 to 1) of the markers."),
        Column("score", "float", "Score of the type."),
        Column("passed", "bool", "Whether the type passed every check of its gate."),
        Column("cluster_id", "string", "Same as cluster."),
        Column("enrichment", "float", "Mean enrichment of the markers, in standard deviations."),
        Column("frac_markers_on", "float", "Share (0 to 1) of the markers that are on."),
        Column("anti_penalty", "float", "Penalty for the anti-markers."),
        Column("required_marker", "string", "Marker that the type requires; empty if none."),
        Column("required_pos_frac", "float", "Positive fraction (0 to 1) of the required marker in the"
               " cluster."),
        Column("required_enrichment", "float", "Enrichment of the required marker in the cluster."),
        Column("veto_marker", "string", "Veto marker with the highest positive fraction; empty if none."),
        Column("veto_pos_frac", "float", "Positive fraction (0 to 1) of that marker in the cluster."),
        Column("fail_reason", "string", "Why the type was not chosen; empty for the chosen one.",
               tuple(FailReason)),
        Column("fail_detail", "string", "The check that failed with its limit."),
        Column("selected", "bool", "Whether the walk went on with this type."),
        Column("min_coverage", "float", "Limit that applied: least coverage."),
        Column("min_pos_frac", "float", "Limit that applied: least mean positive fraction."),
        Column("min_frac_markers_on", "float", "Limit that applied: least share of markers that are on."),
        Column("min_enrichment", "float", "Limit that applied: least mean enrichment."),
    ),
)

MARKER_EVIDENCE = TableSchema(
    "marker_evidence",
    "One row per cluster, cell type and marker: the measurements below the scores.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("cell_type", "string", "Cell type that lists the marker."),
        Column("path", "string", "Path of the cell type, joined by ' / '."),
        Column("level", "int", "Depth of the cell type; 0 is a top-level type."),
        Column("marker", "string", "Marker, under its name in the data."),
        Column("role", "string", "Whether the marker speaks for or against the type.", tuple(MarkerRole)),
        Column("enrichment", "float", "Shift of the cluster from all cells, in standard deviations over all"
               " cells."),
        Column("pos_frac", "float", "Share (0 to 1) of the cluster's cells at or above the threshold."),
        Column("median_val", "float", "Centre (median, or mean for sparse markers) in the cluster, in units"
               " of the expression layer."),
        Column("threshold_used", "float", "Value from which a cell counts as positive."),
        Column("global_median", "float", "Centre (median, or mean for sparse markers) over all cells."),
        Column("global_std", "float", "Population standard deviation over all cells."),
        Column("is_de_hit", "bool", "Whether the marker is among the cluster's most differential genes."),
        Column("idf_weight", "float", "Weight of the marker in the means of its type; 1 unless weighted."),
        Column("is_on", "bool", "Whether the marker is enriched and positive in enough cells."),
        Column("n_cells", "int", "Number of cells in the cluster."),
    ),
)

DIAGNOSTIC_REPORT = TableSchema(
    "diagnostic_report",
    "One row per cluster of the current clustering: whether to split it, relabel it or leave it, and why.",
    (
        Column("cluster_id", "string", "Identifier in the current clustering."),
        Column("current_label", "string", "Label that the cluster has now."),
        Column("recommendation", "string", "What to do with the cluster.", tuple(Recommendation)),
        Column("reason", "string", "The recommendation explained in one sentence with the numbers used."),
        Column("criterion", "string", "Which criterion gave heterogeneity_score.", tuple(Criterion)),
        Column("best_child", "string", "Subtype with the highest score; empty if there is none."),
        Column("child_score", "float", "Score of that subtype; empty if there is none."),
        Column("heterogeneity_score", "float", "Largest of the criteria, from 0 to 3; above 1 the default"
               " policy acts."),
        Column("n_cells", "int", "Number of cells in the cluster."),
        Column("priority", "int", "Order in which to work; 1 is first."),
        Column("iteration", "int", "Iteration in which the diagnosis was made; 1 is first."),
        Column("assigned_score", "float", "Score of the current label."),
        Column("confidence", "float", "Confidence of the current label."),
        Column("second_child", "string", "Subtype with the second highest score; empty if there is none."),
        Column("second_child_score", "float", "Score of that subtype; empty if there is none."),
        Column("minority_share", "float", "Share (0 to 1) of the cells that vote for a subtype other than"
               " the best one, among all that vote."),
        Column("marker_heterogeneity", "float", "Mean over the markers of p (1 - p), p being the positive"
               " fraction; from 0 to 0.25."),
        Column("mixed_marker_rate", "float", "Share (0 to 1) of the markers with a positive fraction between"
               " 0.2 and 0.8."),
        Column("criterion_low_confidence", "float", "Value of the criterion low_confidence."),
        Column("criterion_ambiguous_root", "float", "Value of the criterion ambiguous_root; empty if it does"
               " not apply."),
        Column("criterion_parent", "float", "Value of the criteria heterogeneous_parent and"
               " homogeneous_parent; empty if they do not apply."),
        Column("criterion_mixed_population", "float", "Value of the criterion mixed_population; empty if it"
               " does not apply."),
        Column("criterion_weak_leaf", "float", "Value of the criterion weak_leaf; empty if it does not"
               " apply."),
        Column("criterion_rival_type", "float", "Value of the criterion rival_type; empty if it does not apply."),
        Column("rival_label", "string", "Type beside the label's path with the highest score above 0; empty if there"
               " is none."),
        Column("rival_share", "float", "Share (0 to 1) of the deciding cells that agree with such a type rather than"
               " with the label; empty if there is none."),
        Column("ideal_recommendation", "string", "Recommendation if the number of cells did not matter.",
               tuple(Recommendation)),
        Column("confidence_band", "string", "Band of assigned_score.", tuple(ConfidenceLevel)),
        Column("origin_cluster", "string", "Cluster of the first clustering that the cells come from."),
        Column("target_label", "string", "Label to take for RELABEL; empty otherwise."),
    ),
)

REFINEMENT_LOG = TableSchema(
    "refinement_log",
    "One row per refinement action, in the order of work; only the header if nothing was done.",
    (
        Column("iteration", "int", "Iteration of the action; 1 is first."),
        Column("cluster_id", "string", "Identifier of the cluster before the action."),
        Column("action", "string", "What was done; KEEP where a person looked and left a remark only.",
               tuple(RefinementAction)),
        Column("old_label", "string", "Label before the action."),
        Column("new_label", "string", "Label after the action; for a split that of most cells."),
        Column("new_clusters", "list", "Identifiers made by a split or a merge; empty otherwise."),
        Column("confidence_before", "float", "Confidence before the action."),
        Column("confidence_after", "float", "Confidence after the action; for a split the mean over the"
               " parts, weighted by cells."),
        Column("timestamp", "string", "Time of the action, ISO 8601 with UTC offset."),
        Column("n_cells", "int", "Number of cells in the cluster."),
        Column("reason", "string", "Why the action was taken, or why it failed."),
        Column("source", "string", "Who asked for the action.", tuple(LogSource)),
        Column("seconds", "float", "Time that the action took, in seconds."),
        Column("status", "string", "How the action ended.", tuple(LogStatus)),
        Column("split_stability", "float", "Agreement (adjusted Rand index; 1 is always the same) between the"
               " split and splits of random subsets; empty if not measured."),
        Column("reviewer", "string", "Who decided, as the plan names them; empty for automatic actions and for"
               " plans without a name."),
    ),
)

REFINED_ANNOTATIONS = replace(
    CLUSTER_ANNOTATIONS,
    name="refined_annotations",
    meaning="The columns of cluster_annotations.csv for the clusters after refinement (obs column"
    " cluster_lvl1), and how stable splits and calls are.",
    columns=(
        *CLUSTER_ANNOTATIONS.columns,
        Column("split_stability", "float", "For a part of a split, how well it came out again when random subsets"
               " were split (mean Jaccard index, 0 to 1); empty for other clusters."),
        Column("label_stability", "float", "Share (0 to 1) of resamples of the cells in which the label holds; empty"
               " for labels that the hierarchy does not know."),
        Column("marker_stability", "float", "Share (0 to 1) of the markers of the path without which the label still"
               " holds; empty for labels that the hierarchy does not know."),
        Column("fragile_markers", "list", "Marker whose loss costs most of the path; empty if the label holds without"
               " any."),
    ),
)
REFINED_CONFIDENCE = replace(
    CONFIDENCE,
    name="refined_confidence",
    meaning="The columns of confidence.csv for the clusters after refinement (obs column cluster_lvl1). Labels that the"
    " hierarchy does not hold have no row.",
)
REFINED_MARKER_SCORES = replace(
    MARKER_SCORES,
    name="refined_marker_scores",
    meaning="The columns of marker_scores.csv for the clusters after refinement (obs column cluster_lvl1).",
)
REFINED_DECISION_STEPS = replace(
    DECISION_STEPS,
    name="refined_decision_steps",
    meaning="The columns of decision_steps.csv for the clusters after refinement (obs column cluster_lvl1).",
)
REFINED_MARKER_EVIDENCE = replace(
    MARKER_EVIDENCE,
    name="refined_marker_evidence",
    meaning="The columns of marker_evidence.csv for the clusters after refinement (obs column cluster_lvl1).",
)

ALL_TABLES: dict[str, TableSchema] = {
    schema.name: schema
    for schema in (
        CLUSTER_ANNOTATIONS,
        MARKER_SCORES,
        DECISION_STEPS,
        GATING_DETAILS,
        MARKER_EVIDENCE,
        CONFIDENCE,
        ENRICHMENT_CALLS,
        ENRICHMENT_SCORES,
        METHOD_COMPARISON,
        HIERARCHY_FIT,
        CONSENSUS,
        CONSENSUS_CELLS,
        CONSENSUS_VOTES,
        CONSENSUS_LABELS,
        DIAGNOSTIC_REPORT,
        REFINEMENT_LOG,
        REFINED_ANNOTATIONS,
        REFINED_MARKER_SCORES,
        REFINED_DECISION_STEPS,
        REFINED_MARKER_EVIDENCE,
        REFINED_CONFIDENCE,
    )
}
"""All table schemas by name; the file is the name with ``.csv``."""
