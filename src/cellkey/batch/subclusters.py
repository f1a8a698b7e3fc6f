"""From cells to the marker tables that name the parts of one population: parted, compared, counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.batch.markers import markers_of_profiles
from cellkey.batch.preparation import prepare_cells
from cellkey.batch.settings import BatchSettings
from cellkey.errors import InputError, did_you_mean
from cellkey.llm.result_tables import neutral_table
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

__all__ = ["Population", "part_population"]

_REST = "all other cells"


@dataclass(frozen=True)
class Population:
    """The parts of one population.

    Parameters
    ----------
    siblings
        Marker table of each part against the other parts.
    against_rest
        Marker table of each part against all other cells; None where the population is all there is.
    sizes
        Cells by part.
    parts
        Part of each cell of the population, by name of the cell.
    """

    siblings: pd.DataFrame
    against_rest: pd.DataFrame | None
    sizes: dict[str, int]
    parts: pd.Series

    def write_cells(self, labels: pd.DataFrame, path: Path) -> None:
        """Write part and label of every cell of the population as CSV; ``labels`` is the table of the parts."""
        names = dict(zip(labels["cluster"], labels["sub_cell_type"], strict=True))
        table = self.parts.to_frame().assign(cell_type_sub=self.parts.map(names))
        with atomic_path(path) as temporary:
            neutral_table(table.rename_axis("cell").reset_index()).to_csv(temporary, index=False, lineterminator="\n")


def part_population(
    path: Path, cluster_key: str, members: Sequence[str], *, resolution: float = 0.4, seed: int = 0
) -> Population:
    """Part the cells of some clusters of a file, and compare the parts with each other and with the rest.

    Parameters
    ----------
    path
        Cells, prepared as those of a batch; the file is not changed.
    cluster_key
        Column of ``obs`` that says which cells belong to the population.
    members
        Its values.
    resolution, seed
        Of the clustering inside the population; see :class:`~cellkey.clustering.SubclusteringParameters`.

    Raises
    ------
    InputError
        If the column does not hold the values, or the population stays whole.
    """
    import pandas as pd

    from cellkey.annotation.inputs import cluster_labels
    from cellkey.annotation.passes import LocalPasses
    from cellkey.annotation.values import expression_of
    from cellkey.clustering import SubclusteringParameters, pick_layer, subcluster
    from cellkey.profiles.profile import profile_clusters

    prepared = prepare_cells(path, BatchSettings())
    adata, names = prepared.adata, np.asarray(prepared.adata.var_names.astype(str), dtype=object)
    clusters = cluster_labels(adata, cluster_key)
    known = sorted({c for c in clusters if c is not None})
    for name in members:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it holds {', '.join(known[:12])}"
            msg = f"no cell has {name!r} in obs[{cluster_key!r}]{hint}"
            raise InputError(msg)
    inside = np.isin(clusters.astype(str), list(members))
    layer, X = pick_layer(adata, prepared.layer)
    expression, _ = expression_of(X, layer, names, True, None, None, [], LocalPasses("cpu"))
    params = SubclusteringParameters(resolution=resolution, min_cells=50, seed=seed)
    found = subcluster(expression, list(names), np.flatnonzero(inside), params=params)
    if found.outcome != "split":
        whole = f"{' and '.join(members)} of {path} stays whole: {found.reason}"
        msg = f"{whole}; --resolution {2 * resolution:g} parts finer"
        raise InputError(msg)
    labels = np.full(len(clusters), None, dtype=object)
    labels[inside] = found.labels
    siblings = markers_of_profiles(profile_clusters(expression, labels, names))
    rest = None
    if not inside.all():
        labels[~inside] = _REST
        everyone = markers_of_profiles(profile_clusters(expression, labels, names))
        rest = everyone[everyone["cluster"] != _REST].reset_index(drop=True)
    parts = pd.Series(found.labels, index=adata.obs_names[inside], name="subcluster")
    return Population(siblings, rest, {str(k): int(n) for k, n in parts.value_counts().items()}, parts)
