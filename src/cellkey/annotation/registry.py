"""The methods that can name clusters: each is data (name, description, parameters, reference) and two functions.

Adding a method is adding a scorer, a rule and one entry here; profiles, the walk, tables, figures and reports
are shared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from cellkey.errors import ParameterError, did_you_mean
from cellkey.parameters import Parameters, read_mapping
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.enrichment_settings import RELEASED, EnrichmentScoring
from cellkey.scoring.marker_evidence import MarkerScoring, score_markers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd

    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.records.schema import TableSchema
    from cellkey.routing.walk import Rule
    from cellkey.scoring.evidence import Evidence
    from cellkey.scoring.key import MeasuredKey

__all__ = ["BOTH", "METHODS", "Family", "Method", "get_method", "method_names", "methods_table"]

Family = Literal["markers", "enrichment"]
BOTH: Final = "both"
"""Asks for ``markers`` and ``enrichment`` side by side."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to score and to route.

    Attributes
    ----------
    name, description, reference
        What users ask for, one sentence about it, and where it was published.
    family
        Which tables it fills and how its decisions are reported.
    defaults
        Parameters unless others are given.
    score
        From profiles, a measured hierarchy and parameters to evidence.
    rule
        From evidence and gating to the rule that chooses among siblings.
    routing, export
        Settings of gates and reported labels that belong to the method; given ones go before.
    """

    name: str
    description: str
    reference: str
    family: Family
    defaults: Parameters
    score: Callable[[ClusterProfiles, MeasuredKey, Any], Evidence]
    rule: Callable[[Evidence, Any], Rule]
    routing: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self, given: Parameters | Mapping[str, Any] | str | Path | None, *, option: str = "") -> Any:
        """Return the parameters with some values replaced.

        Raises
        ------
        ParameterError
            If a name is unknown or a value out of range.
        """
        model = type(self.defaults)
        if isinstance(given, Parameters):
            if not isinstance(given, model):
                msg = f"method {self.name!r} takes {model.__name__}, got {type(given).__name__}"
                raise ParameterError(msg)
            return given
        changes = read_mapping(given, option=option)
        kept = self.defaults.model_dump(exclude_unset=True)
        return model.parse({**kept, **changes}, option=option)


def _score_means(profiles: ClusterProfiles, key: MeasuredKey, parameters: EnrichmentScoring) -> Evidence:
    from cellkey.profiles.means import means_from_profiles

    return score_enrichment(means_from_profiles(profiles), key, parameters)


def _marker_rule(evidence: Evidence, gating: Any) -> Rule:
    from cellkey.routing.marker_gates import MarkerRule

    return MarkerRule(evidence, gating)


def _branch_rule(evidence: Evidence, gating: Any) -> Rule:
    from cellkey.routing.branch_rule import BranchRule

    return BranchRule(evidence, gating)


METHODS: Final[dict[str, Method]] = {
    m.name: m
    for m in (
        Method(
            "markers",
            "Shift of a type's markers from all cells, share of positive cells, differential rank, anti-markers.",
            "cellkey; after CellType-Refinery", "markers", MarkerScoring(), score_markers, _marker_rule,
        ),
        Method(
            "refinery-legacy", "The marker score with the settings of CellType-Refinery 1.0.",
            "CellType-Refinery 1.0", "markers", MarkerScoring.legacy(), score_markers, _marker_rule,
        ),
        Method(
            "enrichment",
            "Markers against all genes of similar expression, specificity among siblings, support by subtypes.",
            "cellkey; after HierAnnot", "enrichment", EnrichmentScoring(), _score_means, _branch_rule,
        ),
        Method(
            RELEASED, "Enrichment with the rules and numbers of the released HierAnnot 0.7.",
            "HierAnnot 0.7.55", "enrichment", EnrichmentScoring.released(), _score_means, _branch_rule,
            routing={"back_off": False, "rival_must_pass": False, "carrying_score": None},
            export={"mixed_between": "nodes", "candidate_status": "unknown"},
        ),
    )
}  # fmt: skip
"""All methods by name."""


def method_names() -> tuple[str, ...]:
    """Return everything that can be asked for as a method."""
    return (*METHODS, BOTH)


def get_method(name: str) -> Method:
    """Return a method.

    Raises
    ------
    ParameterError
        If there is none of this name, with close matches.
    """
    if name not in METHODS:
        hint = did_you_mean(name, method_names()) or f"; methods are {', '.join(method_names())}"
        msg = f"there is no method {name!r}{hint}"
        raise ParameterError(msg)
    return METHODS[name]


def methods_table() -> pd.DataFrame:
    """Return one row per method: name, family, description and reference."""
    return methods_schema().frame([
        {"name": m.name, "family": m.family, "description": m.description, "reference": m.reference}
        for m in METHODS.values()
    ])


def methods_schema() -> TableSchema:
    """Return the schema of the list of methods."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema("methods.csv", "Methods that can name clusters.", (
        Column("name", "string", "Name to give as --method."),
        Column("family", "string", "Which tables it fills.", ("markers", "enrichment")),
        Column("description", "string", "What it looks at."),
        Column("reference", "string", "Where it was published."),
    ))
