"""Consensus of files: runs, columns of cells and tables of clusters in, a run directory of its own out."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.annotation.agreement import Agreement, Source, Statement, agree
from cellkey.annotation.shared_cells import shared_cells
from cellkey.calls.consensus import ConsensusRules
from cellkey.errors import InputError, MissingFieldError, RunError, did_you_mean
from cellkey.hierarchy.cell_type import path_of_text
from cellkey.records.run import COARSE_CELLS, MANIFEST, staged, write_manifest
from cellkey.records.tables import ALL_TABLES
from cellkey.records.vocabulary import CallStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["consensus", "obs_source", "run_sources", "table_source"]

_CLUSTER_COLUMNS = ("cluster_id", "cluster", "cluster_lvl0", "leiden", "seurat_clusters")


def consensus(
    runs: Sequence[str | Path] = (),
    *,
    obs: Sequence[str] = (),
    tables: Sequence[str] = (),
    sources: Sequence[Source] = (),
    hierarchy: Any = None,
    aliases: str | Path | Mapping[str, str] | None = None,
    ontology: str | Path | None = None,
    cluster_key: str | None = None,
    rules: ConsensusRules | Mapping[str, Any] | str | None = None,
    output_dir: str | Path | None = None,
    figures: bool = True,
) -> Agreement:
    """Return what several sources of calls agree on, cluster by cluster.

    Parameters
    ----------
    runs
        Directories of annotation runs on the same cells. A run by both methods is two sources. If their clusters
        differ (repeats with other settings of clustering), the cells that share their cluster in every run are
        asked together, and ``consensus_cells`` has the label of every cell.
    obs
        ``FILE.h5ad:COLUMN``: labels of cells, of CellTypist, SingleR, popV, Azimuth or a person. Cells are matched
        by name with those of the first run; without a run, ``cluster_key`` names their clusters.
    tables
        ``FILE.csv:COLUMN``: labels of clusters, in a table with a column ``cluster_id`` (or ``cluster``).
    sources
        Further ones, made in Python.
    hierarchy
        What all labels are mapped to: a hierarchy, a file or a built-in name. None takes that of the first run.
    aliases
        Other names: a mapping, or a file of two columns, label and name (or Cell Ontology id) in the hierarchy.
    ontology
        OBO file of the Cell Ontology, for ids beyond those of the built-in hierarchies.
    cluster_key
        Column of the cells of ``obs`` that holds their clusters.
    rules
        See :class:`~cellkey.calls.consensus.ConsensusRules`.
    output_dir
        Directory to write; nothing is written if None.
    figures
        Whether to draw the confusion of the first two sources.

    Returns
    -------
    Agreement
        With tables ``consensus``, ``consensus_votes`` and ``consensus_labels``, and ``consensus_cells`` where
        clusters differ.

    Raises
    ------
    InputError
        If a source cannot be read, clusters or cells do not match, or there are fewer than two sources.

    Examples
    --------
    >>> agreed = cellkey.consensus([run.directory], obs=[f"{folder / 'cells.h5ad'}:true_label"])
    >>> agreed.tables["consensus"]["label"].head(3).tolist()
    ['CD4 T Cells', 'CD8 T Cells', 'B Cells']
    """
    from cellkey.hierarchy import read_hierarchy
    from cellkey.hierarchy.ontology import read_ontology

    parsed = rules if isinstance(rules, ConsensusRules) else ConsensusRules.parse(rules, option="consensus rules")
    memberships = [_clusters_of(Path(run)) for run in runs]
    known = [m for m in memberships if m is not None]
    shared = shared_cells(known) if len(known) == len(runs) > 1 else None
    if shared is not None:
        _only_cells(sources, tables)
    clusters = shared.groups if shared is not None else memberships[0] if runs else None
    of_runs = [(i, source) for i, run in enumerate(runs) for source in run_sources(run)]
    found = [*sources, *([s for _, s in of_runs] if shared is None else shared.asked(of_runs))]
    found += [_obs_file(spec, clusters, cluster_key) for spec in obs]
    found += [table_source(*_split(spec, ".csv")) for spec in tables]
    tree = read_hierarchy(hierarchy) if isinstance(hierarchy, str | Path | dict) else hierarchy
    if tree is None:
        tree = _hierarchy_of(runs)
    agreement = agree(
        _named_apart(found), tree, rules=parsed, aliases=_aliases(aliases),
        ontology=None if ontology is None else read_ontology(ontology), n_cells=_sizes(runs, clusters),
    )
    if shared is not None:
        of_cells = shared.table(agreement.tables["consensus"])
        agreement = replace(agreement, tables={**agreement.tables, "consensus_cells": of_cells},
                            messages=(*agreement.messages, *shared.messages()))
    if output_dir is not None:
        given = [str(x) for x in (*runs, *obs, *tables)]
        _write(agreement, tree, Path(output_dir), parsed, given, runs, figures=figures)
    return agreement


def _only_cells(sources: Sequence[Source], tables: Sequence[str]) -> None:
    if sources or tables:
        named = ", ".join([*(s.name for s in sources), *map(str, tables)])
        msg = (f"the runs have different clusters, so that labels of clusters ({named}) belong to none of them: give"
               " labels of cells (obs), or runs on the same clusters")
        raise InputError(msg)


# --- sources ---


def run_sources(run: str | Path) -> list[Source]:
    """Return the calls of an annotation run, one source per method; levels have confidence where it was measured.

    Raises
    ------
    InputError
        If the directory holds no annotation run.
    """
    directory = Path(run)
    if not (directory / "cluster_annotations.csv").is_file():
        msg = f"{directory} is not an annotation run: it holds no cluster_annotations.csv"
        raise InputError(msg)
    calls = ALL_TABLES["cluster_annotations"].read_csv(directory / "cluster_annotations.csv")
    sizes = dict(zip(calls["cluster_id"], calls["n_cells"].astype(int), strict=True))
    marker_map = _marker_map(directory)
    terms = {n["path"]: n["ontology_id"] for n in marker_map.get("nodes", []) if n["ontology_id"]}
    hierarchy = json.dumps(marker_map.get("source"), sort_keys=True)
    name = directory.name or str(directory.resolve().name)
    if not (directory / "confidence.csv").is_file():
        said = {str(r["cluster_id"]): [_call_statement(r)] for r in calls.to_dict("records")}
        return [Source(name, said, terms, f"{_parameters(directory).get('method', 'markers')} {hierarchy}")]
    table = ALL_TABLES["confidence"].read_csv(directory / "confidence.csv")
    unknown = _unknown(directory)
    found = []
    methods = list(dict.fromkeys(table["method"]))
    for method in methods:
        rows = table[table["method"] == method]
        said = {str(c): [_statement(part, sizes.get(str(c), 0))] for c, part in rows.groupby("cluster_id", sort=False)}
        if method in unknown:
            said |= {c: [Statement("unknown", n_cells=sizes.get(c, 0))] for c in unknown[method]}
        of_method = name if len(methods) == 1 else f"{name} ({method})"
        found.append(Source(of_method, said, terms, f"{method} {hierarchy}"))
    return found


def _call_statement(row: Mapping[Any, Any]) -> Statement:
    """What a run says that measured no confidence; undecided between two lineages is no vote."""
    undecided = row["assigned_level"] < 0 or row["is_ambiguous_root"]
    path = () if undecided else path_of_text(row["assigned_path"])
    return Statement(row["assigned_label"], path, n_cells=int(row["n_cells"]))


def _statement(levels: pd.DataFrame, n_cells: int) -> Statement:
    last = levels.iloc[-1]
    if last["level"] < 0:
        return Statement("", n_cells=n_cells)
    confidence = tuple(levels["confidence"].astype(float))
    return Statement(last["label"], path_of_text(last["path"]), confidence=confidence, n_cells=n_cells)


def _unknown(directory: Path) -> dict[str, list[str]]:
    """Clusters that enrichment reports as unknown or mixed: it has a path for them, but does not stand by it."""
    file = directory / "enrichment_calls.csv"
    if not file.is_file():
        return {}
    table = ALL_TABLES["enrichment_calls"].read_csv(file)
    silent = table[table["annot_export_status"].isin([CallStatus.UNKNOWN, CallStatus.MIXED])]
    method = _parameters(directory).get("enrichment", {}).get("method", "enrichment")
    return {method: silent["cluster_id"].astype(str).tolist()}


def _parameters(directory: Path) -> dict[str, Any]:
    """Parameters of a run, from its manifest; empty if it has none."""
    manifest = directory / MANIFEST
    return dict(json.loads(manifest.read_text(encoding="utf-8")).get("parameters", {})) if manifest.is_file() else {}


def obs_source(
    name: str, labels: Any, clusters: Any, ontology_ids: Any = None
) -> Source:
    """Return labels of cells as a source: in each cluster every label votes with its share of the labelled cells.

    Parameters
    ----------
    name
        Of the source.
    labels, clusters
        Label and cluster of each cell, shape (cells,); missing values leave a cell out.
    ontology_ids
        Cell Ontology id of each cell, where the source gives them.
    """
    import pandas as pd

    frame = pd.DataFrame({
        "cluster": np.asarray(clusters, dtype=object), "label": np.asarray(labels, dtype=object),
        "term": "" if ontology_ids is None else np.asarray(ontology_ids, dtype=object),
    }).dropna(subset=["cluster", "label"])
    frame["term"] = frame["term"].fillna("")
    said: dict[str, list[Statement]] = {}
    for cluster, part in frame.astype(str).groupby("cluster", sort=False):
        counts = [(str(k[0]), str(k[1]), int(n)) for k, n in part.groupby(["label", "term"]).size().items()]  # type: ignore[index]
        said[str(cluster)] = [
            Statement(label, ontology_id=term, share=n / len(part), n_cells=n)
            for label, term, n in sorted(counts, key=lambda c: (-c[2], c))
        ]
    return Source(name, said)


def table_source(path: str | Path, column: str) -> Source:
    """Return labels of clusters from a CSV file.

    Columns ``<column>_ontology_term_id`` and ``<column>_confidence`` (0 to 1) go along if they are there.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks the column or one of clusters.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        msg = f"cannot read the table {path}: {getattr(error, 'strerror', None) or error}"
        raise InputError(msg) from error
    if column not in frame:
        msg = f"{path} has no column {column!r}{did_you_mean(column, map(str, frame.columns))}"
        raise MissingFieldError(msg)
    cluster = next((c for c in _CLUSTER_COLUMNS if c in frame and c != column), None)
    if cluster is None:
        msg = f"{path} names no clusters: one column must be called {' or '.join(_CLUSTER_COLUMNS)}"
        raise MissingFieldError(msg)
    term = f"{column}_ontology_term_id"
    terms = frame[term] if term in frame else [""] * len(frame)
    likely = pd.to_numeric(frame.get(f"{column}_confidence", pd.Series(np.nan, frame.index)), errors="coerce")
    rows = zip(frame[cluster], frame[column], terms, likely, strict=True)
    said = {c: [Statement(label, ontology_id=t, confidence=() if p != p else (p,))] for c, label, t, p in rows}
    return Source(f"{Path(path).stem}:{column}", said)


def _obs_file(spec: str, clusters: pd.Series | None, cluster_key: str | None) -> Source:
    from cellkey.io.read import read_cells

    path, column = _split(spec, ".h5ad")
    adata = read_cells(path, backed=True)
    try:
        frame = adata.obs.copy()
    finally:
        adata.file.close()
    if column not in frame:
        msg = f"obs of {path} has no column {column!r}{did_you_mean(column, map(str, frame.columns))}"
        raise MissingFieldError(msg)
    term = f"{column}_ontology_term_id"
    terms = frame.get(term)
    return obs_source(f"{Path(path).stem}:{column}", frame[column], _cell_clusters(path, frame, clusters, cluster_key),
                      terms)


def _cell_clusters(
    path: str, frame: pd.DataFrame, clusters: pd.Series | None, cluster_key: str | None
) -> NDArray[np.object_]:
    if cluster_key is not None:
        if cluster_key not in frame:
            msg = f"obs of {path} has no column {cluster_key!r}{did_you_mean(cluster_key, map(str, frame.columns))}"
            raise MissingFieldError(msg)
        return frame[cluster_key].astype(object).to_numpy()
    if clusters is None:
        msg = f"the clusters of the cells of {path} are not known: give a RUN on the same cells, or --cluster-key"
        raise InputError(msg)
    found = clusters.reindex(frame.index)
    known = int(found.notna().sum())
    if known == 0:
        msg = (f"no cell of {path} is in the run: its names look like {frame.index[0]!r}, those of the run like "
               f"{clusters.index[0]!r}")
        raise InputError(msg)
    return found.astype(object).to_numpy()


def _clusters_of(run: Path) -> pd.Series | None:
    """Cluster of each cell of a run, by name."""
    from cellkey.io.read import read_cells

    if not (run / COARSE_CELLS).is_file():
        return None
    adata = read_cells(run / COARSE_CELLS, backed=True)
    try:
        clusters: pd.Series = adata.obs[_keys.CLUSTER].astype(object)
        return clusters
    finally:
        adata.file.close()


def _marker_map(run: Path) -> dict[str, Any]:
    """The hierarchy that a run was annotated with, as its cells keep it; empty if it wrote none."""
    import h5py

    if not (run / COARSE_CELLS).is_file():
        return {}
    with h5py.File(run / COARSE_CELLS, "r") as file:
        stored = file.get(f"uns/{_keys.MARKER_MAP}")
        return {} if stored is None else dict(json.loads(stored.asstr()[()]))


def _hierarchy_of(runs: Sequence[str | Path]) -> Hierarchy:
    from cellkey.hierarchy import read_hierarchy

    for run in runs:
        source = _marker_map(Path(run)).get("source")
        if source:
            return read_hierarchy(source)
    msg = "which hierarchy are the labels to be mapped to? Name it with --hierarchy (a run without cells keeps none)"
    raise InputError(msg)


def _sizes(runs: Sequence[str | Path], clusters: pd.Series | None) -> dict[str, int]:
    if clusters is not None:
        return {str(k): int(v) for k, v in clusters.value_counts().items()}
    if not runs:
        return {}
    table = ALL_TABLES["cluster_annotations"].read_csv(Path(runs[0]) / "cluster_annotations.csv")
    return {str(c): int(n) for c, n in zip(table["cluster_id"], table["n_cells"], strict=True)}


def _aliases(given: str | Path | Mapping[str, str] | None) -> dict[str, str]:
    if given is None or not isinstance(given, str | Path):
        return dict(given or {})
    try:
        with Path(given).open(encoding="utf-8", newline="") as handle:
            first = handle.readline()
            handle.seek(0)
            rows = [r for r in csv.reader(handle, delimiter="\t" if "\t" in first else ",") if any(r)]
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the alias table {given}: {getattr(error, 'strerror', None) or error}"
        raise InputError(msg) from error
    wrong = next((i for i, r in enumerate(rows, 1) if len(r) < 2), None)
    if wrong is not None:
        msg = f"{given}, line {wrong}: expected two columns, label and name in the hierarchy"
        raise InputError(msg)
    return {r[0].strip(): r[1].strip() for r in rows if not r[0].startswith("#")}


def _split(spec: str, ending: str) -> tuple[str, str]:
    path, _, column = str(spec).rpartition(":")
    if not path or not column:
        msg = f"{spec!r}: name the file and the column as FILE{ending}:COLUMN"
        raise InputError(msg)
    return path, column


def _named_apart(sources: Sequence[Source]) -> list[Source]:
    """Sources with a number after names that occur more than once."""
    seen: dict[str, int] = {}
    found = []
    for source in sources:
        seen[source.name] = seen.get(source.name, 0) + 1
        name = source.name if seen[source.name] == 1 else f"{source.name} #{seen[source.name]}"
        found.append(replace(source, name=name))
    return found


# --- output ---


def _write(
    agreement: Agreement, hierarchy: Hierarchy, directory: Path, rules: ConsensusRules, given: Sequence[str],
    runs: Sequence[str | Path], *, figures: bool,
) -> None:
    if (directory / "cluster_annotations.csv").is_file():
        msg = f"{directory} holds an annotation run: write the consensus to a directory of its own"
        raise RunError(msg)
    with staged(directory) as staging:
        for name, table in agreement.tables.items():
            ALL_TABLES[name].write_csv(table, staging / f"{name}.csv")
        drawn = []
        if figures:
            from cellkey.plots.confusion import draw_confusion

            tables = agreement.tables
            drawn.append(draw_confusion(tables["consensus_votes"], tables["consensus"], hierarchy, staging / "figures"))
        write_manifest(staging, {
            "kind": "consensus", "sources": list(given), "rules": rules.model_dump(mode="json"),
            "runs": [os.path.relpath(r, directory) for r in runs],
            "hierarchy": hierarchy.name, "messages": list(agreement.messages), "figures": [p.name for p in drawn],
        })
    if "consensus_cells" not in agreement.tables:  # of an earlier consensus in the same directory
        (directory / "consensus_cells.csv").unlink(missing_ok=True)
