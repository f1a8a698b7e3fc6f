"""Which stored profiles may stand in for a matrix: those of exactly these values, names, clusters and settings.

A run keeps its profiles (``profiles.h5``) and says in ``manifest.json`` what they were made from: a digest of all
values of the matrix, and the size and time of change of every ``.h5ad`` and ``.h5`` file written. A file that still has
both is taken to hold what was written (the rule by which version control and build tools know unchanged files); any
other file is read once and its values are compared by their digest. Clusters and gene names are compared always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import RunError
from cellkey.io.write import link_or_copy
from cellkey.profiles.storage import evidence_stamp, load_profiles, save_profiles, save_resamples
from cellkey.profiles.survey import matrix_digest
from cellkey.records.run import PROFILES, RESAMPLES, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cellkey.annotation.result import AnnotationResult
    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["evidence_record", "keep_evidence", "known_hashes", "settings_of", "stored_profiles"]


def keep_evidence(
    result: AnnotationResult, staging: Path, home: Path, profiles: ClusterProfiles | None, resamples: Any, stamp: str
) -> list[Path]:
    """Write the profiles and resamples of a result; link those of an earlier run that were used again.

    Parameters
    ----------
    staging, home
        Where the files of the run are gathered, and where the earlier run lies.
    profiles, resamples
        Those of the earlier run, if any.
    stamp
        What new ones are made from; see :func:`~cellkey.profiles.storage.evidence_stamp`.

    Returns
    -------
    The files that were linked.
    """
    made, drawn = result.annotation.profiles, result.resamples
    linked = [staging / PROFILES] if made is profiles else []
    if made is not profiles:
        made.info["fingerprint"] = stamp
        save_profiles(made, staging / PROFILES)
    if drawn is not None and drawn is resamples:
        linked.append(staging / RESAMPLES)
    elif drawn is not None:
        drawn.info["fingerprint"] = str(made.info.get("fingerprint", ""))
        save_resamples(drawn, staging / RESAMPLES)
    for file in linked:
        link_or_copy(home / file.name, file)
    return linked


def evidence_record(staging: Path, digest: str) -> dict[str, Any]:
    """Return what the manifest says about the evidence: the digest of the matrix and the files that hold it."""
    files = {path.name: _state(path) for path in sorted([*staging.glob("*.h5ad"), *staging.glob("*.h5")])}
    return {"matrix_digest": digest, "files": files}


def known_hashes(run: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return the hashes that the manifest of ``run`` holds of files that are still as it wrote them, by name."""
    try:
        manifest = read_manifest(run)
    except RunError:
        return {}
    written, outputs = manifest.get("evidence", {}).get("files", {}), manifest.get("outputs", {})
    return {
        f.name: outputs[f.name]["blake2b"]
        for f in files if written.get(f.name) == _state(f) and "blake2b" in outputs.get(f.name, {})
    }


def _state(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def stored_profiles(
    cells: Any,
    path: Path,
    profiles_file: Path,
    *,
    layer: str,
    matrix: Any,
    groupby: str,
    options: Mapping[str, Any],
    quantiles: Iterable[float] | None,
) -> tuple[ClusterProfiles | None, str, str]:
    """Return the profiles of ``profiles_file`` if they are of these cells; else None and the reason.

    Parameters
    ----------
    cells
        Open cells; only ``var`` and one column of ``obs`` are read.
    path
        File of the cells.
    layer, matrix
        Name and matrix to score on; read only if the file is not the one that the run wrote.
    groupby
        Column with the clusters.
    options
        Arguments of :func:`~cellkey.annotation.cells.annotate`.
    quantiles
        Quantiles of the positivity threshold that will be needed; None reads all.

    Returns
    -------
    Profiles or None, the digest of the matrix (``""`` if unknown), and why there are no profiles.
    """
    try:
        names = np.asarray(cells.var_names.astype(str), dtype=object)
        profiles = load_profiles(profiles_file, quantiles=quantiles, var_names=names)
    except RunError as error:
        return None, "", str(error)
    if layer != profiles.info.get("layer"):
        return None, "", f"they are of layer {profiles.info.get('layer')!r}, not {layer!r}"
    wanted = "none" if not options.get("normalize", True) else profiles.info.get("transform")
    if options.get("assume") is not None or profiles.info.get("transform") != wanted:
        return None, "", "the scale of the values is to be another one"
    digest = _digest(path, profiles_file.parent, matrix)
    column = cells.column(groupby)
    stamp = evidence_stamp(digest, [] if column is None else column, names, **settings_of(profiles))
    if stamp == profiles.info.get("fingerprint"):
        return profiles, digest, ""
    return None, digest, "values, gene names or clusters are not those they were made from"


def settings_of(profiles: ClusterProfiles) -> dict[str, Any]:
    """Return the settings that profiles depend on beside values, names and clusters."""
    return {"basis": profiles.basis, **{k: profiles.info.get(k) for k in ("transform", "layer")}}


def _digest(path: Path, run: Path, matrix: Any) -> str:
    """Digest of the matrix: from the manifest if the file is untouched, else from its values."""
    try:
        record = read_manifest(run).get("evidence", {})
    except RunError:
        record = {}
    known = record.get("files", {}).get(path.name) if path.parent.resolve() == run.resolve() else None
    if known == _state(path) and path.is_file():
        return str(record["matrix_digest"])
    return matrix_digest(matrix)

