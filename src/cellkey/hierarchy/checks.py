"""What a hierarchy says that cannot be meant: checks that need whole nodes, siblings or the gating rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cellkey.errors import did_you_mean
from cellkey.hierarchy.aliases import compact_key, only_gene
from cellkey.hierarchy.cell_type import Path, path_text

if TYPE_CHECKING:
    from cellkey.hierarchy.draft import Draft, DraftHierarchy, ListedName
    from cellkey.hierarchy.findings import Findings

__all__ = ["check_draft", "unknown_root"]

_RESERVED_CALLS: Final = frozenset({"ROOT", "Unassigned", "Uncertain"})
_SPREADSHEET_DATE: Final = re.compile(
    r"^(?:\d{1,2}[-/](?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*|"
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[-/]\d{1,2}|\d{4}-\d\d-\d\d.*)$",
    re.IGNORECASE,
)
_SIGNED: Final = re.compile(r"^(CD\d+[a-zA-Z]?|[A-Za-z0-9]{2,})([+-]|hi|low?|bright|dim)$")


def check_draft(draft: DraftHierarchy, findings: Findings) -> None:
    """Add what is wrong with the nodes, among siblings and in the gating rules to the findings."""
    if not draft.nodes:
        only_settings = draft.gating or draft.metadata or draft.cell_states
        text = "it holds settings, but no cell type" if only_settings else "it holds no cell type"
        fix = 'add one: {"T Cells": {"markers": ["CD3D", "CD3E"]}}'
        findings.error(text, fix=f"{fix}; or use it with another map, as --gating-params" if draft.gating else fix)
        return
    parents = {node.path[:-1] for node in draft.nodes}
    for node in draft.nodes:
        _check_call_names(node, findings)
        _check_marker_lists(node, findings)
        if not node.markers and node.path not in parents:
            findings.warning(
                "has neither markers nor children, so it can never be called",
                node.line,
                node.path,
                "add markers",
            )
    for group in draft.child_groups():
        _check_siblings(group, findings)
    _check_parents(draft, findings)
    _check_repeated_labels(draft, findings)
    for setting in ("root_hard_requirements", "root_veto_markers"):
        _check_root_rules(setting, draft, findings)


def _check_call_names(node: Draft, findings: Findings) -> None:
    if node.path[-1] in _RESERVED_CALLS:
        findings.error(
            f"label {node.path[-1]!r} is the name of an outcome", node.line, node.path, "choose another name"
        )


def _check_marker_lists(node: Draft, findings: Findings) -> None:
    for what, listed in (("marker", node.markers), ("anti-marker", node.anti_markers)):
        first: dict[str, int | None] = {}
        for item in listed:
            if item.name in first:
                where = f" (first on line {first[item.name]})" if first[item.name] else ""
                findings.error(
                    f"{what} {item.name!r} is listed more than once{where}",
                    item.line,
                    node.path,
                    "keep one of them",
                )
            first.setdefault(item.name, item.line)
            _check_spelling(item, node, findings)
        _check_same_gene(listed, what, node, findings)
    positive = {m.name: m for m in node.markers}
    for item in node.anti_markers:
        if item.name in positive:
            findings.error(
                f"{item.name!r} is listed both as marker and as anti-marker",
                item.line,
                node.path,
                "a marker speaks either for or against a type",
            )
    _check_opposed_aliases(node, findings)


def _check_spelling(item: ListedName, node: Draft, findings: Findings) -> None:
    if _SPREADSHEET_DATE.match(item.name):
        findings.warning(
            f"{item.name!r} looks like a gene symbol that a spreadsheet turned into a date",
            item.line,
            node.path,
            "restore the symbol, for example MARCHF1 or SEPTIN2",
        )
    elif _carries_sign(item.name):
        findings.warning(
            f"{item.name!r} carries a sign; only the name of the gene or protein is compared",
            item.line,
            node.path,
            "list positive names in markers and negative ones in anti_markers",
        )


def _carries_sign(name: str) -> bool:
    match = _SIGNED.match(name)
    return match is not None and (match[2] in "+-" or compact_key(match[1]).startswith("cd"))


def _gene_key(name: str) -> str:
    """Return one text for all names that are the same gene for certain."""
    return only_gene(name) or compact_key(name)


def _check_same_gene(listed: list[ListedName], what: str, node: Draft, findings: Findings) -> None:
    first: dict[str, str] = {}
    for item in listed:
        earlier = first.setdefault(_gene_key(item.name), item.name)
        if earlier != item.name:
            findings.note(
                f"{what}s {earlier!r} and {item.name!r} name the same gene, which counts once where both are "
                "measured as one variable",
                item.line,
                node.path,
            )


def _check_opposed_aliases(node: Draft, findings: Findings) -> None:
    markers = {_gene_key(m.name): m.name for m in node.markers}
    for item in node.anti_markers:
        marker = markers.get(_gene_key(item.name), item.name)
        if marker != item.name:
            findings.warning(
                f"anti-marker {item.name!r} and marker {marker!r} name the same gene, which then speaks "
                "for and against the type",
                item.line,
                node.path,
                "keep one of them",
            )


def _check_siblings(group: list[Draft], findings: Findings) -> None:
    seen: dict[tuple[frozenset[str], frozenset[str]], Draft] = {}
    for node in group:
        key = (frozenset(m.name for m in node.markers), frozenset(m.name for m in node.anti_markers))
        if key[0] and key in seen:
            findings.warning(
                f"has the same markers as its sibling {seen[key].path[-1]!r}",
                node.line,
                node.path,
                "add a marker that differs",
            )
        seen.setdefault(key, node)


def _check_parents(draft: DraftHierarchy, findings: Findings) -> None:
    by_path = {node.path: node for node in draft.nodes}
    for node in draft.nodes:
        parent = by_path.get(node.path[:-1])
        own = {m.name for m in node.markers}
        if parent and own and own <= {m.name for m in parent.markers}:
            findings.warning(
                f"lists only markers of its parent {parent.path[-1]!r}: none speaks for it in particular",
                node.line,
                node.path,
                "add a marker of its own",
            )


def _check_repeated_labels(draft: DraftHierarchy, findings: Findings) -> None:
    places: dict[str, set[Path]] = {}
    for node in draft.nodes:
        places.setdefault(node.path[-1], set()).add(node.path)
    for label, paths in sorted(places.items()):
        if len(paths) > 1:
            shown = "; ".join(path_text(p) for p in sorted(paths)[:4])
            findings.note(f"label {label!r} stands in {len(paths)} branches, kept apart by their paths: {shown}")


def _check_root_rules(setting: str, draft: DraftHierarchy, findings: Findings) -> None:
    rules = draft.gating.get(setting)
    line = draft.gating_line
    if rules is None:
        return
    if not isinstance(rules, Mapping):
        findings.error(f"_gating_params.{setting} must be an object of roots, but is {rules!r}", line)
        return
    roots = {node.path[0]: node for node in draft.nodes if len(node.path) == 1}
    for root, rule in rules.items():
        if not isinstance(rule, Mapping):
            findings.error(f"_gating_params.{setting}.{root} must be an object, but is {rule!r}", line)
        elif root not in roots:
            findings.warning(unknown_root(f"_gating_params.{setting}", str(root), [n.path for n in draft.nodes]), line)
        elif setting == "root_veto_markers":
            _check_own_veto(root, rule, draft, findings)


def unknown_root(setting: str, root: str, paths: Sequence[Path]) -> str:
    """Say that a rule for a top-level type is not used, and where its type is instead."""
    places = [path_text(path) for path in paths if path[-1] == root]
    below = f" as a root (it stands at {places[0]!r})" if places else ""
    hint = "" if places else did_you_mean(root, [path[0] for path in paths])
    return f"{setting} names the root {root!r}, which is not in the hierarchy{below}, so the rule is not used{hint}"


def _check_own_veto(root: str, rule: Mapping[str, Any], draft: DraftHierarchy, findings: Findings) -> None:
    listed = rule.get("markers", ())
    vetoes = {listed} if isinstance(listed, str) else {v for v in listed if isinstance(v, str)}
    for node in draft.nodes:
        if node.path[0] != root:
            continue
        for name in sorted(vetoes.intersection(m.name for m in node.markers)):
            findings.warning(
                f"{name!r} is a marker of this type and also blocks its root {root!r} "
                "(_gating_params.root_veto_markers)",
                node.line,
                node.path,
                "drop it from one of the two",
            )
