"""Schemas of the tables of a consensus: the outcome, the votes behind it, and what became of every label."""

from __future__ import annotations

from cellkey.records.schema import Column, TableSchema
from cellkey.records.vocabulary import CallStatus, ConsensusStop, LabelMatch

__all__ = ["CONSENSUS", "CONSENSUS_CELLS", "CONSENSUS_LABELS", "CONSENSUS_VOTES"]

CONSENSUS = TableSchema(
    "consensus",
    "One row per cluster: the type that several sources agree on, and how far they agree.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("label", "string", "Consensus: the deepest type that the votes agree on; Unassigned if there is none."),
        Column("path", "string", "Labels from the top-level type to the consensus, joined by ' / '."),
        Column("level", "int", "Depth of the consensus: 0 is a top-level type, -1 none."),
        Column("ontology_term_id", "string", "Cell Ontology id of the consensus or of its nearest ancestor that has"
               " one."),
        Column("status", "string", "What the label stands for.", tuple(CallStatus)),
        Column("stop_reason", "string", "Why the votes lead no further.", tuple(ConsensusStop)),
        Column("n_sources", "int", "Number of sources that voted."),
        Column("n_abstained", "int", "Number of sources that did not: no label, unknown, or not mapped."),
        Column("support", "float", "Least share (0 to 1), over the levels of the path, of the weight that speaks there"
               " and speaks for it; empty without a consensus."),
        Column("agreement", "float", "Share (0 to 1) of the weight of all votes that lies on one line with the"
               " consensus: the same type, one above or one below it."),
        Column("rival_label", "string", "Strongest other type where the votes part; empty if there is none."),
        Column("rival_share", "float", "Its share (0 to 1) of the weight that speaks there."),
        Column("confidence", "float", "Probability (0 to 1) that the consensus is right, calibrated on labelled data;"
               " empty without a consensus."),
        Column("n_cells", "int", "Number of cells in the cluster; 0 if unknown."),
    ),
)

CONSENSUS_VOTES = TableSchema(
    "consensus_votes",
    "One row per cluster, source and label: the votes behind a consensus.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("source", "string", "Who votes."),
        Column("label", "string", "Label as the source wrote it."),
        Column("path", "string", "Type of the hierarchy that it stands for, joined by ' / '; empty if it is no vote."),
        Column("match", "string", "How the label was found in the hierarchy.", tuple(LabelMatch)),
        Column("share", "float", "Share (0 to 1) of the source's cells in the cluster that bear the label."),
        Column("voice", "float", "Part (0 to 1) of a whole voice: 1, or less where repeats of the same method look at"
               " the same cells, each of which speaks once."),
        Column("confidence", "float", "Probability (0 to 1) that the vote is right: the source's own, or by its"
               " agreement with sources that give one; empty if there is neither."),
        Column("weight", "float", "Weight of the vote at its own level; 0 if it is no vote."),
        Column("agrees", "bool", "Whether the vote lies on one line with the consensus."),
    ),
)

CONSENSUS_CELLS = TableSchema(
    "consensus_cells",
    "One row per cell, where runs with different clusters were asked.",
    (
        Column("cell_id", "string", "Name of the cell."),
        Column("cluster_id", "string", "Its clusters in all runs, in the order of the runs, joined by '+'."),
        Column("label", "string", "Consensus of the cells that share these clusters."),
        Column("path", "string", "Labels from the top-level type to the consensus, joined by ' / '."),
        Column("confidence", "float", "Probability (0 to 1) that the consensus is right; empty without a consensus."),
    ),
)

CONSENSUS_LABELS = TableSchema(
    "consensus_labels",
    "One row per source and label: where it was found in the hierarchy, those that could not be found first.",
    (
        Column("source", "string", "Who uses the label."),
        Column("label", "string", "Label as the source wrote it."),
        Column("path", "string", "Type that it stands for, joined by ' / '; empty if none."),
        Column("match", "string", "How the label was found in the hierarchy.", tuple(LabelMatch)),
        Column("n_clusters", "int", "Number of clusters in which the source uses it."),
        Column("n_cells", "int", "Number of cells; 0 where only clusters are known."),
        Column("close_matches", "string", "For a label that was not found, names of the hierarchy that look like it,"
               " separated by ';': put the right one into the alias table."),
    ),
)
