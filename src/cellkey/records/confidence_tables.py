"""Schema of the confidence of calls, level by level."""

from __future__ import annotations

from cellkey.records.schema import Column, TableSchema

__all__ = ["CONFIDENCE"]

CONFIDENCE = TableSchema(
    "confidence",
    "One row per cluster, method and level of its call: how often the level holds when cells are resampled or a"
    " marker is left out, and the probability that it is right. A cluster without a path has one row of level -1.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("method", "string", "Method that made the call."),
        Column("level", "int", "Depth of the type; 0 is a top-level type, -1 stands for no call."),
        Column("label", "string", "Type of the call at this level; empty without a call."),
        Column("path", "string", "Labels from the top-level type to this one, joined by ' / '."),
        Column("is_call", "bool", "Whether the walk ends here: the last level is the label of the cluster."),
        Column("share_held", "float", "Share (0 to 1) of the resamples whose walk passes this type (without a call:"
               " makes none either); empty if it could not be measured."),
        Column("share_held_without_marker", "float", "Share (0 to 1) of the markers of the path down to this type"
               " without which the walk still passes it; empty without markers."),
        Column("fragile_marker", "string", "Marker whose loss costs most of the path among those without which this"
               " level does not hold; empty if there is none."),
        Column("n_resamples", "int", "Number of resamples."),
        Column("confidence", "float", "Probability (0 to 1) that a cell of the cluster belongs to this type or one"
               " below it, calibrated on labelled data; never above that of the level before; empty without a call."),
    ),
)
