"""Gating parameters: limits per level, in both written forms, merged leaf by leaf over the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from cellkey.errors import ParameterError, Problem, did_you_mean
from cellkey.parameters import Parameters

__all__ = ["Gating", "LevelLimits", "Requirement", "Veto", "check_gating", "merge_gating"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_Rule = TypeVar("_Rule", bound=Parameters)

_ON_LIMIT = 0.15
_ROOT_GAP = 0.25
_PER_LEVEL: dict[str, tuple[float | bool, ...]] = {
    "min_coverage": (0.50, 0.40, 0.30, 0.30),
    "min_pos_frac": (0.30, 0.20, 0.15, 0.15),
    "min_frac_markers_on": (0.40, 0.30, 0.25, 0.25),
    "min_enrichment": (0.0, -0.5, -1.0, -1.0),
    "min_gap": (_ROOT_GAP, 0.30, 0.20, 0.20),
    "max_ambiguity": (3, 3, 3, 3),
    "child_support": (False, False, False, False),
}
_SINGLE = ("root_gap_threshold", "max_depth", "anti_penalty_hard_gate", "per_cell_gap_threshold")
_BY_ROOT = ("root_hard_requirements", "root_veto_markers")
_KNOWN = (*_PER_LEVEL, *_SINGLE, *_BY_ROOT, "level_defaults", "anti_agg")


class LevelLimits(Parameters):
    """Limits that a candidate of one level must meet.

    Attributes
    ----------
    min_coverage
        Least share of the listed markers that must be measured.
    min_pos_frac
        Least mean positive fraction of the markers; enough of ``min_frac_markers_on`` also passes.
    min_frac_markers_on
        Least share of the measured markers that must be on.
    min_enrichment
        Least mean enrichment, in standard deviations over all cells.
    min_gap
        Least score gap to the runner-up among passing siblings.
    max_ambiguity
        Most near-tied candidates that may enter a vote.
    child_support
        Whether a candidate competes with the score of its best passing child where that is higher, and whether,
        if a child passes, it is enough that ``min_pos_frac`` of the cells express its own markers at all, enriched
        or not. Broad lineages need it where they make up most of the data, since nothing is enriched over itself.
        Coverage, requirements, vetoes and anti-markers still hold.
    on_limit
        Positive fraction above which a marker counts as on; follows ``min_pos_frac``.
    """

    min_coverage: Fraction = 0.50
    min_pos_frac: Fraction = 0.30
    min_frac_markers_on: Fraction = 0.40
    min_enrichment: float = 0.0
    min_gap: Annotated[float, Field(ge=0.0)] = _ROOT_GAP
    max_ambiguity: Annotated[int, Field(ge=1)] = 3
    child_support: bool = False
    on_limit: Fraction = _ON_LIMIT


class Requirement(Parameters):
    """A marker that clusters of a top-level type must express."""

    marker: str
    min_pos_frac: Fraction = 0.0
    min_enrichment: float = float("-inf")


class Veto(Parameters):
    """Markers that clusters of a top-level type must not express."""

    markers: tuple[str, ...]
    max_pos_frac: Fraction = 1.0


class Gating(Parameters):
    """All parameters of the walk, after merging.

    Attributes
    ----------
    levels
        Limits of level 0, 1, ...; deeper levels use the last entry.
    max_depth
        Deepest level that may be assigned (0 = top-level types only); None for no limit.
    anti_penalty_hard_gate
        A candidate with a greater anti-marker penalty is rejected.
    per_cell_gap_threshold
        A cell's vote is Uncertain below this difference of mean z between the two best candidates.
    root_hard_requirements, root_veto_markers
        Rules for top-level types, by label.
    """

    levels: tuple[LevelLimits, ...]
    max_depth: Annotated[int, Field(ge=0)] | None = None
    anti_penalty_hard_gate: Annotated[float, Field(ge=0.0)] = 1.0
    per_cell_gap_threshold: Annotated[float, Field(ge=0.0)] = 0.1
    root_hard_requirements: dict[str, tuple[Requirement, ...]] = Field(default_factory=dict)
    root_veto_markers: dict[str, Veto] = Field(default_factory=dict)

    def at(self, level: int) -> LevelLimits:
        """Return the limits of a level."""
        return self.levels[min(level, len(self.levels) - 1)]

    def markers(self) -> tuple[str, ...]:
        """Names of all markers in requirements and vetoes."""
        required = [r.marker for rules in self.root_hard_requirements.values() for r in rules]
        vetoed = [m for veto in self.root_veto_markers.values() for m in veto.markers]
        return tuple(dict.fromkeys([*required, *vetoed]))


def merge_gating(*sources: Mapping[str, Any] | None, names: Iterable[str] = ()) -> Gating:
    """Merge gating settings over the defaults, later sources over earlier ones, one leaf at a time.

    A per-level setting may be written as ``{"min_coverage": {"0": 0.4}}``, as
    ``{"level_defaults": {"0": {"min_coverage": 0.4}}}`` (wins within one source) or as one number for all
    levels. Level keys are numbers or texts; ``"3+"`` and ``"default"`` mean all deeper levels.

    Two limits follow others unless given themselves: ``min_frac_markers_on`` changes in the ratio of
    ``min_coverage``, and the limit above which a marker counts as on in the ratio of ``min_pos_frac``, so that
    asking for less coverage or fewer positive cells relaxes the expression side as well.

    Parameters
    ----------
    sources
        Settings in rising priority, for example those of the marker map and those of the command line.
    names
        What each source is called in messages.

    Raises
    ------
    ParameterError
        For unknown settings, levels that are not numbers, and values out of range; all at once.
    """
    settings = _Settings()
    for source, title in zip(sources, [*names, *[""] * len(sources)], strict=False):
        settings.read(source or {}, title)
    values = {"levels": settings.levels(), **settings.single, **settings.rules()}
    if settings.problems:
        msg = f"{len(settings.problems)} invalid gating setting(s)"
        raise ParameterError(msg, settings.problems)
    return Gating.parse(values, option="gating parameters")


def check_gating(settings: Mapping[str, Any], name: str = "") -> None:
    """Refuse settings that are wrong whatever map they are merged with.

    A rule for a top-level type may leave its markers to the map, of which it changes a number only.

    Raises
    ------
    ParameterError
        As :func:`merge_gating`.
    """
    left_open: dict[str, Any] = {
        setting: {root: {field: value} for root in settings[setting]}
        for setting, field, value in (("root_hard_requirements", "marker", "any"), ("root_veto_markers", "markers", []))
        if isinstance(settings.get(setting), Mapping)
    }
    merge_gating(left_open, settings, names=("", name))


class _Settings:
    """Gating settings as they are read, leaf by leaf, and all that is wrong with them.

    Attributes
    ----------
    leaves
        Value of a setting at a level.
    open_ended
        Value of a setting from a level on.
    single
        Settings without levels.
    by_root
        Fields of the rules for top-level types, by setting and type.
    problems
        What cannot be used.
    """

    def __init__(self) -> None:
        self.leaves: dict[tuple[str, int], Any] = {}
        self.open_ended: dict[str, tuple[int, Any]] = {}
        self.single: dict[str, Any] = {}
        self.by_root: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _BY_ROOT}
        self.problems: list[Problem] = []
        self._title = ""

    def read(self, source: Mapping[str, Any], title: str) -> None:
        """Read a source; what it says replaces what was said before."""
        self._title = title
        for name in source:
            if name not in _KNOWN:
                hint = did_you_mean(str(name), _KNOWN) or f" (known: {','.join(sorted(_KNOWN))})"
                self._note(f"unknown setting{hint}", str(name))
        for name in _PER_LEVEL:
            self._read_setting(name, source.get(name))
        for level, limits in self._mapping(source.get("level_defaults"), "level_defaults").items():
            self._read_level(level, limits)
        self.single.update({name: source[name] for name in _SINGLE if name in source})
        for name in _BY_ROOT:
            for root, rule in self._mapping(source.get(name), name).items():
                self._read_rule(name, str(root), rule)

    def _read_setting(self, name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for level, leaf in value.items():
                self._store(name, level, leaf, name)
        elif isinstance(value, list | tuple):
            for level, leaf in enumerate(value):
                self._store(name, level, leaf, name)
        elif value is not None:
            self._store(name, "default", value, name)
            self._store(name, 0, value, name)

    def _read_level(self, level: Any, limits: Any) -> None:
        for name, leaf in self._mapping(limits, "level_defaults", str(level)).items():
            if name in _PER_LEVEL:
                self._store(name, level, leaf, "level_defaults", name)
            else:
                hint = did_you_mean(str(name), _PER_LEVEL)
                self._note(f"unknown setting{hint}", "level_defaults", str(level), str(name))

    def _read_rule(self, name: str, root: str, rule: Any) -> None:
        if name == "root_hard_requirements" and isinstance(rule, list | tuple):
            self.by_root[name][root] = {"__all__": list(rule)}
        else:
            self.by_root[name].setdefault(root, {}).update(self._mapping(rule, name, root))

    def _store(self, name: str, level: Any, value: Any, *where: str) -> None:
        number = _level_number(level)
        if number is None:
            self._note(f"level {level!r} is not a number, '3+' or 'default'", *where)
            return
        first, and_deeper = number
        if not and_deeper:
            self.leaves[name, first] = value
            return
        self.open_ended[name] = (first, value)
        for key in [k for k in self.leaves if k[0] == name and k[1] >= first]:
            del self.leaves[key]

    def _mapping(self, value: Any, *where: str) -> Mapping[str, Any]:
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        self._note(f"must hold names and values, but holds {value!r}", *where)
        return {}

    def _note(self, what: str, *where: str) -> None:
        self.problems.append(Problem(what, ".".join(w for w in (self._title, *where) if w)))

    def levels(self) -> list[LevelLimits]:
        """Return the limits of every level that a setting speaks of, at least four."""
        root_gap = self.single.pop("root_gap_threshold", _ROOT_GAP)
        deepest = max([3, *(level for _, level in self.leaves), *(level for level, _ in self.open_ended.values())])
        chosen: dict[str, list[Any]] = {}
        for name, defaults in _PER_LEVEL.items():
            given = {level: value for (n, level), value in self.leaves.items() if n == name}
            chosen[name] = _filled(defaults, given, self.open_ended.get(name), deepest)
        if ("min_gap", 0) not in self.leaves and self.open_ended.get("min_gap", (1, None))[0] > 0:
            chosen["min_gap"][0] = root_gap
        rows = [{name: values[level] for name, values in chosen.items()} for level in range(deepest + 1)]
        return [limits for level, row in enumerate(rows) if (limits := self._limits(level, row)) is not None]

    def _limits(self, level: int, values: dict[str, Any]) -> LevelLimits | None:
        usual = {name: defaults[min(level, 3)] for name, defaults in _PER_LEVEL.items()}
        if "min_frac_markers_on" not in {*self.open_ended, *(name for name, _ in self.leaves)}:
            values["min_frac_markers_on"] = _scaled(usual["min_frac_markers_on"], values, usual, "min_coverage")
        values["on_limit"] = _scaled(_ON_LIMIT, values, usual, "min_pos_frac")
        try:
            return LevelLimits(**values)
        except ValidationError as error:
            for detail in error.errors():
                what = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, but got {detail['input']!r}"
                problem = Problem(what, f"level {level}.{detail['loc'][0]}")
                if problem not in self.problems:
                    self.problems.append(problem)
            return None

    def rules(self) -> dict[str, Any]:
        """Return the requirements and vetoes of top-level types."""
        required: dict[str, tuple[Requirement, ...]] = {}
        vetoes: dict[str, Veto] = {}
        for root, rule in self.by_root["root_hard_requirements"].items():
            parts = rule.get("__all__", [rule])
            where = f"root_hard_requirements.{root}"
            required[root] = tuple(r for part in parts if (r := self._parsed(Requirement, part, where)))
        for root, rule in self.by_root["root_veto_markers"].items():
            veto = self._parsed(Veto, rule, f"root_veto_markers.{root}")
            if veto is not None:
                vetoes[root] = veto
        return {"root_hard_requirements": required, "root_veto_markers": vetoes}

    def _parsed(self, model: type[_Rule], values: Any, where: str) -> _Rule | None:
        if isinstance(values, Mapping) and isinstance(values.get("markers"), str):
            values = {**values, "markers": [values["markers"]]}
        try:
            return model.parse(values if isinstance(values, Mapping) else {"marker": values})
        except ParameterError as error:
            self.problems.extend(Problem(p.what, ".".join(x for x in (where, p.where) if x), p.fix)
                                 for p in error.problems)
            return None


def _level_number(level: Any) -> tuple[int, bool] | None:
    """Return (level, whether all deeper levels are meant)."""
    text = str(level).strip()
    if text in ("default", "*"):
        return 1, True
    open_ended = text.endswith("+")
    text = text.removesuffix("+")
    return (int(text), open_ended) if text.isdecimal() else None


def _filled(
    defaults: tuple[float | bool, ...], given: dict[int, Any], tail: tuple[int, Any] | None, deepest: int
) -> list[Any]:
    """Value per level: given, else the tail, else the default; deeper than all of them repeats the last given."""
    values: list[Any] = []
    last_given = max(given, default=-1)
    for level in range(deepest + 1):
        if level in given:
            values.append(given[level])
        elif tail is not None and level >= tail[0]:
            values.append(tail[1])
        elif level < len(defaults):
            values.append(defaults[level])
        else:
            values.append(given[last_given] if 3 < last_given < level else values[-1])
    return values


def _scaled(base: float, values: Mapping[str, Any], defaults: Mapping[str, float | bool], leader: str) -> float:
    try:
        return min(1.0, base * float(values[leader]) / defaults[leader])
    except (TypeError, ValueError):  # reported where the leader itself is validated
        return base
