"""Which methods a run uses, with all their parameters, read and checked before any data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellkey.annotation.registry import BOTH, METHODS, Method, get_method
from cellkey.calls.export import ExportRules
from cellkey.errors import ParameterError, did_you_mean
from cellkey.parameters import Parameters, read_mapping
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.limits import check_gating

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.scoring.enrichment_settings import EnrichmentScoring
    from cellkey.scoring.marker_evidence import MarkerScoring

__all__ = ["MethodPlan", "plan_methods"]

_FAMILIES = ("markers", "enrichment")


@dataclass(frozen=True, slots=True)
class MethodPlan:
    """Methods and parameters of a run.

    ``marker_scoring`` is always there: marker statistics fill the shared tables whatever method decides.
    ``gates`` are the settings of the marker gates as given, before those of a hierarchy are merged in.
    """

    name: str
    markers: Method
    enrichment: Method | None
    marker_scoring: MarkerScoring
    gates: dict[str, Any]
    enrichment_scoring: EnrichmentScoring | None = None
    routing: BranchGating | None = None
    export: ExportRules | None = None

    @property
    def decides(self) -> Method:
        """The method whose labels are written."""
        return self.markers if self.name == BOTH or self.enrichment is None else self.enrichment

    def record(self) -> dict[str, Any]:
        """Return all parameters as plain values, for the record of a run."""
        scoring = self.enrichment_scoring if self.decides.family == "enrichment" else self.marker_scoring
        found: dict[str, Any] = {"method": self.name, "scoring": _plain(scoring)}
        if self.enrichment is not None:
            found |= {"enrichment": {"method": self.enrichment.name, "scoring": _plain(self.enrichment_scoring),
                                     "routing": _plain(self.routing), "export": _plain(self.export)}}
        return found


def _plain(parameters: Parameters | None) -> dict[str, Any]:
    return {} if parameters is None else parameters.model_dump(mode="json")


def plan_methods(
    method: str = "markers",
    *,
    scoring: Parameters | Mapping[str, Any] | str | None = None,
    gating: Parameters | Mapping[str, Any] | str | None = None,
    export: ExportRules | Mapping[str, Any] | str | None = None,
    options: tuple[str, str, str] = ("scoring parameters", "gating parameters", "export parameters"),
) -> MethodPlan:
    """Read all parameters for a method.

    Parameters
    ----------
    method
        Name from :data:`~cellkey.annotation.registry.METHODS`, or ``both``.
    scoring, gating
        For one method its own settings; for ``both``, or to be explicit, ``{"markers": {...},
        "enrichment": {...}}``. Gating may also be an object that holds nothing but the ``_gating_params`` of a map.
    export
        Rules of reported labels; for enrichment only.
    options
        What the three are called in messages.

    Raises
    ------
    ParameterError
        If a name or a value cannot be used.
    """
    both = method == BOTH
    chosen = None if both else get_method(method)
    markers = METHODS["markers"] if chosen is None or chosen.family != "markers" else chosen
    enrichment = METHODS["enrichment"] if both else chosen if chosen and chosen.family == "enrichment" else None
    family = None if both else "markers" if enrichment is None else "enrichment"
    scores = _by_family(scoring, family, options[0])
    gates = _by_family(gating, family, options[1])
    marker_gates = read_mapping(gates["markers"], option=options[1])
    if set(marker_gates) == {"_gating_params"}:  # as a marker map has them
        marker_gates = read_mapping(marker_gates["_gating_params"], option=options[1])
    check_gating(marker_gates, options[1])
    if enrichment is None:
        if export is not None and read_mapping(_mapping(export), option=options[2]):
            msg = f"{options[2]}: method {method!r} has none; they belong to enrichment"
            raise ParameterError(msg)
        return MethodPlan(method, markers, None, markers.parameters(scores["markers"], option=options[0]),
                          marker_gates)
    return MethodPlan(
        method, markers, enrichment, markers.parameters(scores["markers"], option=options[0]), marker_gates,
        enrichment.parameters(scores["enrichment"], option=options[0]),
        _with_defaults(BranchGating, enrichment.routing, gates["enrichment"], options[1]),
        _with_defaults(ExportRules, enrichment.export, export, options[2]),
    )


def _with_defaults(model: type[Any], defaults: Mapping[str, Any], given: Any, option: str) -> Any:
    if isinstance(given, model):
        return given
    return model.parse({**defaults, **read_mapping(given, option=option)}, option=option)


def _mapping(value: Any) -> Any:
    return value.model_dump(exclude_unset=True) if isinstance(value, Parameters) else value


def _by_family(given: Any, family: str | None, option: str) -> dict[str, Any]:
    """Split settings into those of each family."""
    if isinstance(given, Parameters):
        owner = family or ("enrichment" if "raw_weight" in type(given).model_fields else "markers")
        return {f: given if f == owner else None for f in _FAMILIES}
    values = read_mapping(given, option=option)
    nested = bool(values) and set(values) <= set(_FAMILIES)
    if nested:
        return {f: values.get(f) for f in _FAMILIES}
    if family is None and values:
        names = ", ".join(map(repr, sorted(values)))
        hint = next((did_you_mean(v, _FAMILIES) for v in values if did_you_mean(v, _FAMILIES)), "")
        msg = f"{option}: with method 'both' give {{\"markers\": {{...}}, \"enrichment\": {{...}}}}, got {names}{hint}"
        raise ParameterError(msg)
    return {f: values if f == family else None for f in _FAMILIES}
