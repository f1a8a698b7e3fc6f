"""Plans as files: reading the forms that people write, and writing one that they can edit.

Three forms are read, all as YAML or JSON:

- sections by kind: ``overrides``, ``merge``, ``subcluster``, ``relabel``, ``skip``, ``rescoring``, ``auto_policy``;
- a list ``refinements`` with ``cluster`` or ``clusters``, ``action`` and what the action needs;
- a list ``operations`` with ``op_type``, as :func:`write_plan` and ``cellkey diagnose`` write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import ParameterError, Problem, did_you_mean
from cellkey.records.atomic import write_text
from cellkey.records.yaml_text import yaml_text
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.plan import OPERATIONS, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["plan_text", "read_plan", "write_plan"]

_SECTIONS = {
    "overrides": "override", "merge": "merge", "subcluster": "subcluster", "relabel": "relabel", "skip": "skip",
}
_COMMON = ("version", "description", "metadata", "auto_policy")
_SYNONYMS: dict[str, dict[str, str]] = {
    "override": {"cluster": "cluster_id", "cell_type": "label", "target_label": "label"},
    "merge": {"clusters": "source_clusters", "label": "target_label", "cell_type": "target_label"},
    "subcluster": {"cluster": "cluster_id"},
    "relabel": {"cluster": "cluster_id", "from_cluster": "cluster_id", "to_label": "label", "target_label": "label",
                "cell_type": "label"},
    "rescore": {},
    "skip": {"cluster": "cluster_id"},
}
_ACTIONS = {**{name: name for name in OPERATIONS}, "keep": "skip"}

_HEADER = """\
# Refinement plan. Edit it and carry it out with:  cellkey refine RUN --plan THIS_FILE
# op_type: override (label), merge (source_clusters, target_label), subcluster (resolution, n_pcs, neighbors_k,
#   focus_markers, min_cells, min_split_stability), relabel (label), skip, rescore (mode: none | smart | full).
# Operations that are left out are not carried out. With --auto, clusters that are not named here are judged
# automatically; skip keeps one from that.
"""


def read_plan(source: Plan | Mapping[str, Any] | str | Path) -> Plan:
    """Return the plan that a mapping, inline JSON or a YAML or JSON file holds.

    Raises
    ------
    ParameterError
        With one problem per unknown key, missing key or wrong value, and close matches.
    """
    if isinstance(source, Plan):
        return source
    values, name = (dict(source), "the plan") if isinstance(source, Mapping) else _read(source)
    problems: list[Problem] = []
    read: Callable[[dict[str, Any], list[Problem]], list[dict[str, Any]]]
    own: tuple[str, ...]
    if "operations" in values:
        read, own = _from_operations, ("operations",)
    elif "refinements" in values:
        read, own = _from_refinements, ("refinements", "iteration", "rescoring")
    else:
        read, own = _from_sections, (*_SECTIONS, "rescoring", "iteration")
    known = (*_COMMON, *own)
    everything = (*known, *_SECTIONS, "operations", "refinements", "rescoring")
    for key in values:
        if key not in known:
            hint = did_you_mean(str(key), everything)
            problems.append(Problem(f"unknown key{hint}", str(key), "" if hint else f"known: {', '.join(known)}"))
    operations = read(values, problems)
    automatic = values.get("auto_policy") or {}
    try:
        RefinementParameters.parse(automatic)
    except ParameterError as error:
        problems += [Problem(p.what, f"auto_policy.{p.where}", p.fix) for p in error.problems]
    if not problems:
        kept = {k: values[k] for k in _COMMON if k in values and values[k] not in (None, "")}
        try:
            return Plan.parse({**kept, "operations": operations})
        except ParameterError as error:
            problems += error.problems
    msg = f"{name}: {len(problems)} problem(s)"
    raise ParameterError(msg, problems)


def _read(source: str | Path) -> tuple[dict[str, Any], str]:
    import yaml

    if isinstance(source, str) and source.lstrip().startswith("{"):
        text, name = source, "the plan"
    else:
        path = Path(str(source).removeprefix("@"))
        name = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"cannot read the plan {path}: {error.strerror or error}"
            raise ParameterError(msg) from None
    try:
        # BaseLoader leaves every value as text: YAML itself would read the cluster 3:0 as 180.
        value = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, Loader=yaml.BaseLoader)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        msg = f"{name} is not valid YAML: {error}"
        raise ParameterError(msg) from None
    if value in (None, ""):
        return {}, name
    if not isinstance(value, dict):
        msg = f"{name} must hold names and values, but holds a {type(value).__name__}"
        raise ParameterError(msg)
    return {str(k): v for k, v in value.items()}, name


def _from_sections(values: dict[str, Any], problems: list[Problem]) -> list[dict[str, Any]]:
    found = []
    for section, kind in _SECTIONS.items():
        for i, entry in enumerate(_entries(values.get(section), section, problems)):
            found.append(_operation(kind, entry, f"{section}[{i}]", problems))
    return [*filter(None, found), *_rescoring(values, problems)]


def _from_refinements(values: dict[str, Any], problems: list[Problem]) -> list[dict[str, Any]]:
    found = []
    for i, entry in enumerate(_entries(values.get("refinements"), "refinements", problems)):
        where = f"refinements[{i}]"
        action = str(entry.get("action", "")).lower()
        if action not in _ACTIONS:
            hint = did_you_mean(action, _ACTIONS) or f" (known: {', '.join(_ACTIONS)})"
            problems.append(Problem(f"unknown action {action!r}{hint}", where))
            continue
        kind = _ACTIONS[action]
        rest = {k: v for k, v in entry.items() if k != "action"}
        several = rest.get("clusters")
        if kind != "merge" and isinstance(several, list | tuple):
            base = {k: v for k, v in rest.items() if k != "clusters"}
            found += [_operation(kind, {**base, "cluster": c}, where, problems) for c in several]
        else:
            found.append(_operation(kind, rest, where, problems))
    return [*filter(None, found), *_rescoring(values, problems)]


def _from_operations(values: dict[str, Any], problems: list[Problem]) -> list[dict[str, Any]]:
    found = []
    for i, entry in enumerate(_entries(values.get("operations"), "operations", problems)):
        kind = str(entry.get("op_type", "")).lower()
        if kind not in OPERATIONS:
            hint = did_you_mean(kind, OPERATIONS) or f" (known: {', '.join(OPERATIONS)})"
            problems.append(Problem(f"unknown op_type {kind!r}{hint}", f"operations[{i}]"))
            continue
        rest = {k: v for k, v in entry.items() if k != "op_type"}
        found.append(_operation(kind, rest, f"operations[{i}]", problems))
    return [op for op in found if op is not None]


def _rescoring(values: dict[str, Any], problems: list[Problem]) -> list[dict[str, Any]]:
    given = values.get("rescoring")
    if not given:
        return []
    if not isinstance(given, Mapping):
        problems.append(Problem(f"must hold mode and recompute_de, but holds {given!r}", "rescoring"))
        return []
    operation = _operation("rescore", dict(given), "rescoring", problems)
    return [] if operation is None else [operation]


def _entries(value: Any, where: str, problems: list[Problem]) -> list[dict[str, Any]]:
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        problems.append(Problem(f"must be a list of entries, but is a {type(value).__name__}", where))
        return []
    entries = []
    for i, entry in enumerate(value):
        if where == "skip" and isinstance(entry, str | int):
            entries.append({"cluster_id": str(entry)})
        elif isinstance(entry, Mapping):
            entries.append(dict(entry))
        else:
            problems.append(Problem(f"must hold names and values, but is {entry!r}", f"{where}[{i}]"))
    return entries


def _operation(kind: str, entry: dict[str, Any], where: str, problems: list[Problem]) -> dict[str, Any] | None:
    """Return the entry under its canonical names after checking it; None if it cannot be used."""
    synonyms = _SYNONYMS[kind]
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if value not in (None, "", "null", "~") or key == "reason":
            values[synonyms.get(key, key)] = value
    try:
        model = OPERATIONS[kind].parse({"op_type": kind, **values})
    except ParameterError as error:
        for p in error.problems:
            unknown = p.what.startswith("unknown setting")
            hint = did_you_mean(p.where, [*OPERATIONS[kind].model_fields, *synonyms]) if unknown else ""
            problems.append(Problem(f"unknown setting{hint}" if hint else p.what, f"{where}.{p.where}", p.fix))
        return None
    return model.model_dump(mode="json")


def plan_text(plan: Plan) -> str:
    """Return a plan as YAML with a header that says how to edit it."""
    def short(op: Any) -> dict[str, Any]:
        values = op.model_dump(mode="json", exclude_defaults=True)
        return {"op_type": op.op_type, **{k: v for k, v in values.items() if k != "op_type"}}

    content: dict[str, Any] = {"version": plan.version}
    if plan.description:
        content["description"] = plan.description
    content["metadata"] = {**plan.metadata, "checksum": plan.checksum()}
    if plan.auto_policy:
        content["auto_policy"] = plan.auto_policy
    content["operations"] = [short(op) for op in plan.operations]
    return _HEADER + yaml_text(content)


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan as a YAML file that a person can edit; see :func:`plan_text`."""
    write_text(path, plan_text(plan))
