"""What an assistant may ask of the runs below one folder; plain functions, without any protocol.

Runs are named by their place below the folder. Nothing outside it is ever opened. A change of labels is first a plan
beside the run, which a person can read; carrying it out is a verb of its own.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from cellkey import _keys
from cellkey.annotation.explain import explain_run
from cellkey.errors import CellkeyError, InputError, ParameterError, did_you_mean
from cellkey.hierarchy.catalogue import get_builtin, list_builtin
from cellkey.hierarchy.tree import Hierarchy
from cellkey.records.fingerprint import CALLS, calls_fingerprint
from cellkey.records.run import COARSE_CELLS, MANIFEST, OUTPUT_CELLS, read_manifest
from cellkey.records.run_tables import RunKind, run_calls, run_kind, run_tables
from cellkey.refinement.plan import Plan
from cellkey.refinement.plan_files import read_plan, write_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from cellkey.refinement.run import RefinementRun

__all__ = ["RunFolder"]

_DEPTH: Final = 4
_MOST_RUNS: Final = 200
_MOST_CLUSTERS: Final = 500
_PLANS: Final = "proposed_plans"
_CALLS: Final = ("cluster_annotations.csv", "consensus.csv")
_PLAN_ID: Final = re.compile(r"^[0-9a-f]{12}$")
_SHOWN: Final = ("cluster_id", "assigned_label", "assigned_path", "n_cells", "margin", "confidence", "stop_reason",
                 "runner_up_label")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The runs below a folder.

    Parameters
    ----------
    root
        The folder; nothing outside it is read or written.
    allow_apply
        Whether :meth:`apply_plan` may change a run.
    """

    root: Path
    allow_apply: bool = False

    def list_runs(self) -> list[dict[str, Any]]:
        """Return the finished runs, each with the id that the other verbs take."""
        found = []
        for directory in self._directories():
            manifest = read_manifest(directory)
            if manifest.get("kind") == "export":
                continue
            found.append({
                "run": directory.relative_to(self.root.resolve()).as_posix(), "kind": manifest.get("kind", ""),
                "input": _input(manifest), "created": manifest.get("created", ""), "hierarchy": _named(manifest),
            })
        return found[:_MOST_RUNS]

    def describe_run(self, run: str) -> dict[str, Any]:
        """Return what a run was made of and one row per cluster, refined ones where it was refined."""
        directory = self._run(run)
        manifest = read_manifest(directory)
        table = _calls(directory)
        rows = table[[c for c in _SHOWN if c in table]].head(_MOST_CLUSTERS)
        return {
            "run": run, "input": _input(manifest), "hierarchy": _named(manifest),
            "messages": manifest.get("messages", []), "n_cells": int(table["n_cells"].sum()),
            "n_clusters": len(table), "clusters": json.loads(rows.to_json(orient="records")),
        }

    def explain_cluster(self, run: str, cluster: str) -> str:
        """Return the walk of a cluster, every candidate of every step and why it lost; of a consensus the votes."""
        return explain_run(self._run(run), [cluster])

    def list_hierarchies(self, name: str = "") -> dict[str, Any]:
        """Return the built-in hierarchies, or the cell types of one of them."""
        if not name:
            return {"hierarchies": json.loads(list_builtin().to_json(orient="records"))}
        tree = get_builtin(name)
        return {"hierarchy": name, "cell_types": [
            {"path": n.path_text, "markers": list(n.markers), "ontology_id": n.ontology_id or ""} for n in tree.nodes]}

    def propose_relabel(
        self, run: str, changes: Sequence[Mapping[str, str]], description: str = "", reviewer: str = ""
    ) -> dict[str, Any]:
        """Save a plan that gives clusters other labels; nothing is changed.

        Parameters
        ----------
        run
            Id of the run.
        changes
            Each with ``cluster``, ``label`` (a name or path of the run's hierarchy) and ``reason``.
        description, reviewer
            Kept with the plan.

        Raises
        ------
        InputError
            If a change lacks a part, a cluster or label does not exist, or a cluster is named twice: all at once.
        """
        directory = self._run(run)
        if run_kind(directory) is not RunKind.ANNOTATION:
            msg = f"{run!r} is a consensus without labels of its own: propose for one of the runs behind it"
            raise InputError(msg)
        incomplete = [str(c.get("cluster", i)) for i, c in enumerate(changes) if not all(
            str(c.get(k, "")).strip() for k in ("cluster", "label", "reason"))]
        if incomplete or not changes:
            msg = "every change needs cluster, label and reason" + (
                f"; incomplete: {', '.join(incomplete)}" if incomplete else ", but there is none")
            raise InputError(msg)
        operations = [{"op_type": "relabel", "cluster_id": str(c["cluster"]), "label": str(c["label"]),
                       "reason": str(c["reason"])} for c in changes]
        plan = Plan.parse({"description": description, "operations": operations,
                           "metadata": {"run": run, CALLS: calls_fingerprint(directory), **(
                               {"reviewer": reviewer} if reviewer else {})}})
        calls = _calls(directory)
        plan.check(dict(zip(calls["cluster_id"].astype(str), calls["n_cells"], strict=True)), _hierarchy(directory))
        plan_id = plan.checksum()[:12]
        (directory / _PLANS).mkdir(exist_ok=True)
        write_plan(plan, directory / _PLANS / f"{plan_id}.yaml")
        now = dict(zip(calls["cluster_id"].astype(str), calls["assigned_label"], strict=True))
        place = self.root / run
        command = ["cellkey", "refine", str(place), "--plan", str(place / _PLANS / f"{plan_id}.yaml")]
        return {
            "run": run, "plan": plan_id, "file": f"{run}/{_PLANS}/{plan_id}.yaml",
            "changes": [{"cluster": o["cluster_id"], "from": now[o["cluster_id"]], "to": o["label"],
                         "reason": o["reason"]} for o in operations],
            "applied": False, "next": f"a person applies it with: {shlex.join(command)}",
        }

    def apply_plan(self, run: str, plan: str) -> dict[str, Any]:
        """Carry out a plan that :meth:`propose_relabel` saved.

        Raises
        ------
        ParameterError
            If the folder was not opened for changes.
        InputError
            If there is no such plan.
        """
        if not self.allow_apply:
            msg = "this server may not change runs: start it with --allow-apply, or let a person run 'cellkey refine'"
            raise ParameterError(msg)
        directory = self._run(run)
        known = sorted(p.stem for p in (directory / _PLANS).glob("*.yaml"))
        if not _PLAN_ID.match(plan) or plan not in known:
            msg = f"run {run!r} has no plan {plan!r}{did_you_mean(plan, known)}; propose one first"
            raise InputError(msg)
        from cellkey.refinement import refine_run

        before = _calls(directory).set_index("cluster_id")["assigned_label"]
        written = read_plan(directory / _PLANS / f"{plan}.yaml")
        done = refine_run(directory, plan=written, automatic=False, figures=False)
        after = _calls(directory).set_index("cluster_id")["assigned_label"]
        changed = [{"cluster": str(c), "from": str(before.get(c, "")), "to": str(label)}
                   for c, label in after.items() if before.get(c) != label]
        return {"run": run, "plan": plan, "applied": True, "changed": changed,
                "next": _way_back(self.root / run, done)}

    def _directories(self) -> Iterator[Path]:
        root = self.root.resolve()
        for manifest in sorted(root.rglob(MANIFEST)):
            directory = manifest.parent
            inside = manifest.resolve().is_relative_to(root)
            if inside and len(directory.relative_to(root).parts) <= _DEPTH and any(
                    (directory / name).is_file() for name in _CALLS):
                yield directory

    def _run(self, run: str) -> Path:
        """Directory of a run id; never one outside the root, whatever the id says."""
        root = self.root.resolve()
        try:
            directory = (root / run).resolve()
        except (OSError, ValueError):
            directory = root.parent
        known = [d.relative_to(root).as_posix() for d in self._directories()]
        if not directory.is_relative_to(root) or directory.relative_to(root).as_posix() not in known:
            msg = f"there is no run {run!r}{did_you_mean(run, known)}; there are {', '.join(known[:20]) or 'none'}"
            raise InputError(msg)
        return directory


def _calls(directory: Path) -> pd.DataFrame:
    """The present clusters of an annotation, those of a consensus as they are.

    In both ``confidence`` is how probably the label is right, missing where it was not measured; the column of that
    name in the file is the lead over the closest rival and called ``margin`` here.
    """
    if run_kind(directory) is RunKind.ANNOTATION:
        tables = run_tables(directory, ("cluster_annotations", "confidence"))
        calls = tables["cluster_annotations"].rename(columns={"confidence": "margin"})
        measured = tables.get("confidence")
        if measured is None:
            return calls
        likely = measured[measured["is_call"]].drop_duplicates("cluster_id").set_index("cluster_id")["confidence"]
        return calls.assign(confidence=calls["cluster_id"].map(likely))
    return run_calls(directory).rename(columns={"final_annotation": "assigned_label"})


def _input(manifest: Mapping[str, Any]) -> str:
    """Name of the file that was annotated, or of the sources that a consensus is made of."""
    sources = (PurePath(s).name for s in manifest.get("sources", ()))
    return str(manifest.get("input", {}).get("name", "")) or ", ".join(sources)


def _named(manifest: Mapping[str, Any]) -> str:
    """Name of the hierarchy of a run, or of a consensus."""
    return str(manifest.get("parameters", {}).get("hierarchy", "") or manifest.get("hierarchy", ""))


def _way_back(directory: Path, done: RefinementRun) -> str:
    iterations = done.result.refinement.iterations if done.result else ()
    if not iterations:
        return "nothing was changed"
    return "to go back: " + shlex.join(["cellkey", "refine", str(directory), "--undo", str(iterations[0].number)])


def _hierarchy(directory: Path) -> Hierarchy:
    """The hierarchy that the cells of a run were labelled by, without reading the cells."""
    import h5py
    from anndata.io import read_elem

    file = next((directory / n for n in (OUTPUT_CELLS, COARSE_CELLS) if (directory / n).is_file()), None)
    if file is None:
        msg = f"{directory.name} holds no cells (it was written with --skip-cells): labels cannot be changed"
        raise CellkeyError(msg)
    with h5py.File(file, "r") as handle:
        return Hierarchy.from_dict(json.loads(str(read_elem(handle[f"uns/{_keys.MARKER_MAP}"])))["source"])
