"""The tables of a dataset's annotation: their columns, and the rows made from results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.llm.spreadsheets import neutral_cell, one_line
from cellkey.llm.workflow import State
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from cellkey.llm.accounting import Call
    from cellkey.llm.results import AnnotationResult, ClusterResult

__all__ = ["ANNOTATIONS", "FINAL_RESULTS", "STATUS_OF_STATE", "annotation_row", "neutral_table", "original_row"]

STATUS_OF_STATE: Mapping[State, str] = {
    State.ACCEPTED: "ok",
    State.BOOSTED: "boosted",
    State.LOW_CONFIDENCE: "low_confidence",
    State.CONFLICT: "conflict",
    State.UNLABELLED: "unlabelled",
}

ANNOTATIONS = TableSchema(
    "annotations.csv",
    "Every cluster with its label, the way to it, and what it cost.",
    (
        Column("cluster", "string", "cluster identifier"),
        Column("n_cells", "float", "cells; empty where not known"),
        Column(
            "cell_type",
            "string",
            "final label: the detailed type, or the general one; Unknown without a label",
        ),
        Column("general_cell_type", "string", "general type"),
        Column("subtype_1", "string", "most likely detailed type"),
        Column("subtype_2", "string", "second"),
        Column("subtype_3", "string", "third"),
        Column("cell_state", "string", "activation, cycle, stress; apart from identity"),
        Column("mixed_populations", "string", "types that seem mixed, separated by semicolons"),
        Column("possible_tissues", "string", "tissues named where the tissue was withheld"),
        Column("ontology_id", "string", "Cell Ontology identifier of the label, or of its general type"),
        Column("ontology_label", "string", "preferred name of that term"),
        Column("confidence", "string", "the model's own word", ("high", "medium", "low")),
        Column("score", "float", "scorer's 0 to 100; empty without a score"),
        Column("status", "string", "outcome", tuple(STATUS_OF_STATE.values())),
        Column("attempts", "int", "proposals of the annotator"),
        Column("boosted", "bool", "whether the booster finished"),
        Column("boost_changed", "bool", "whether the booster replaced the label"),
        Column("label_before_boost", "string", "label before boosting, where it was replaced"),
        Column("checks", "string", "findings of the rule checks, separated by semicolons"),
        Column("n_markers_shown", "int", "genes shown to the model"),
        Column("markers_shown", "list", "those genes, best first"),
        Column("evidence", "string", "the model's explanation"),
        Column("scorer_reason", "string", "the scorer's explanation"),
        Column("broad_group", "string", "group of the label, few groups"),
        Column("detailed_group", "string", "group of the label, by type"),
        Column("specific_group", "string", "group of the label, as detailed as possible"),
        Column("agreement_general", "float", "share of repeated runs with the winning general type"),
        Column("agreement_detailed", "float", "share of repeated runs with the winning detailed type"),
        Column("similarity", "float", "mean of both shares; above 0.9 robust, below 0.75 weak"),
        Column("entropy", "float", "entropy of the detailed labels of repeated runs, bits"),
        Column("n_repeats", "int", "runs"),
        Column("model", "string", "model that answered"),
        Column("provider", "string", "service"),
        Column("tissue", "string", "tissue as given"),
        Column("species", "string", "species as given"),
        Column("calls", "int", "HTTP attempts on behalf of the cluster"),
        Column("input_tokens", "int", "tokens read by the model"),
        Column("output_tokens", "int", "tokens written by the model"),
        Column("cost_usd", "float", "their price"),
        Column("error", "string", "why there is no label, or no better one"),
    ),
)

FINAL_RESULTS = TableSchema(
    "FINAL_RESULTS.csv",
    "The same results under the column names of the original program.",
    tuple(
        Column(name, "string", meaning)
        for name, meaning in (
            ("Cluster ID", "cluster identifier"),
            ("Predicted General Cell Type", "general type"),
            ("Predicted Detailed Cell Type", "ranked detailed types, joined by comma and blank"),
            ("Possible Mixed Cell Types", "types that seem mixed"),
            ("Marker Number", "genes shown"),
            ("Marker List", "those genes"),
            ("Iterations", "proposals of the annotator"),
            ("Model", "model"),
            ("Provider", "service"),
            ("Tissue", "tissue"),
            ("Species", "species"),
            ("Score", "0 to 100"),
            ("Scoring_Reasoning", "the scorer's explanation"),
            ("Merged_Grouping_1", "broad group"),
            ("Merged_Grouping_2", "detailed group"),
            ("Merged_Grouping_3", "specific group"),
        )
    ),
)


def annotation_row(whole: AnnotationResult, result: ClusterResult) -> dict[str, Any]:
    """Return the row of :data:`ANNOTATIONS` about one cluster."""
    case, evidence, agreement = result.case, result.evidence, result.agreement
    model, provider = result.answered_by or (whole.model, whole.provider)
    return {
        "cluster": result.cluster,
        "n_cells": evidence.n_cells if evidence.n_cells is not None else float("nan"),
        "cell_type": result.label,
        "general_cell_type": result.general_label,
        **_answer_fields(result),
        "ontology_id": result.term.id if result.term else "",
        "ontology_label": result.term.label if result.term else "",
        "score": case.score.score if case.score is not None else float("nan"),
        "status": result.status,
        "attempts": case.annotations,
        "boosted": case.was_boosted,
        "boost_changed": case.boost_changed,
        "label_before_boost": case.before_boost.detailed_cell_type if case.before_boost else "",
        "checks": "; ".join(map(str, case.findings)),
        "n_markers_shown": len(evidence.selection.genes),
        "markers_shown": list(evidence.selection.names),
        "scorer_reason": case.score.reason if case.score else "",
        "broad_group": result.groups.broad if result.groups else "",
        "detailed_group": result.groups.detailed if result.groups else "",
        "specific_group": result.groups.specific if result.groups else "",
        "agreement_general": agreement.general if agreement else float("nan"),
        "agreement_detailed": agreement.detailed if agreement else float("nan"),
        "similarity": agreement.similarity if agreement else float("nan"),
        "entropy": agreement.entropy if agreement else float("nan"),
        "n_repeats": 1 + len(result.repeats),
        "model": model,
        "provider": provider,
        "tissue": evidence.study.tissue,
        "species": whole.study.species,
        **_spending(result.calls),
        "error": one_line("; ".join([*case.notes] or [case.error])),
    }


def original_row(whole: AnnotationResult, result: ClusterResult) -> dict[str, Any]:
    """Return the row of :data:`FINAL_RESULTS` about one cluster."""
    proposal, case = result.case.proposal, result.case
    subtypes = [s.name for s in proposal.ranked_subtypes] if proposal and result.is_labelled else []
    groups = result.groups
    model, provider = result.answered_by or (whole.model, whole.provider)
    return {
        "Cluster ID": result.cluster,
        "Predicted General Cell Type": result.general_label,
        "Predicted Detailed Cell Type": ", ".join(subtypes) or result.label,
        "Possible Mixed Cell Types": ", ".join(proposal.mixed_populations) if proposal else "",
        "Marker Number": len(result.evidence.selection.genes),
        "Marker List": ", ".join(result.evidence.selection.names),
        "Iterations": case.annotations,
        "Model": model,
        "Provider": provider,
        "Tissue": result.evidence.study.tissue,
        "Species": whole.study.species,
        "Score": case.score.score if case.score else "",
        "Scoring_Reasoning": case.score.reason if case.score else "",
        "Merged_Grouping_1": groups.broad if groups else "",
        "Merged_Grouping_2": groups.detailed if groups else "",
        "Merged_Grouping_3": groups.specific if groups else "",
    }


def _answer_fields(result: ClusterResult) -> dict[str, Any]:
    proposal = result.case.proposal
    names = [s.name for s in proposal.ranked_subtypes] if proposal and result.is_labelled else []
    names += [""] * (3 - len(names))
    return {
        "subtype_1": names[0],
        "subtype_2": names[1],
        "subtype_3": names[2],
        "cell_state": (proposal.cell_state or "") if proposal else "",
        "mixed_populations": "; ".join(proposal.mixed_populations) if proposal else "",
        "possible_tissues": "; ".join(proposal.possible_tissues) if proposal else "",
        "confidence": proposal.confidence if proposal else "",
        "evidence": proposal.evidence if proposal else "",
    }


def _spending(calls: Iterable[Call]) -> dict[str, Any]:
    real = [c for c in calls if not c.is_hit]
    return {
        "calls": len(real),
        "input_tokens": sum(c.input_tokens for c in real),
        "output_tokens": sum(c.output_tokens for c in real),
        "cost_usd": sum(c.cost for c in real),
    }


def neutral_table(table: pd.DataFrame) -> pd.DataFrame:
    """Texts of data and models on one line each, and never read as formulas."""
    return table.map(lambda v: neutral_cell(one_line(v)) if isinstance(v, str) else v)
