"""Runs on the same cells with different clusters: cells that share their cluster in every run are asked together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import InputError
from cellkey.records.consensus_tables import CONSENSUS_CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cellkey.annotation.agreement import Source

__all__ = ["SharedCells", "shared_cells", "voices"]


@dataclass(frozen=True, slots=True)
class SharedCells:
    """Cells of several runs in groups that no clustering divides.

    Attributes
    ----------
    groups
        Group of each cell, by name of the cell: its clusters in all runs, joined by ``+``.
    clusters
        Cluster of each group in each run; groups x runs.
    n_left_out
        Cells that some run lacks.
    """

    groups: pd.Series
    clusters: pd.DataFrame
    n_left_out: int

    def asked(self, sources: Sequence[tuple[int, Source]]) -> list[Source]:
        """Return what sources say of the groups, each of them beside the number of its run.

        A source says of a group what it says of the group's cluster. Repeats of one method on other clusters look at
        the same cells again: they share their voice (:func:`voices`).
        """
        sizes = self.groups.value_counts()
        shares: dict[tuple[int, ...], pd.DataFrame] = {}
        found = []
        for run, source in sources:
            repeats = tuple(sorted({i for i, s in sources if s.method and s.method == source.method} | {run}))
            if repeats not in shares:
                shares[repeats] = voices(self.clusters[list(repeats)], sizes)
            found.append(self._of_groups(source, run, sizes, shares[repeats][run]))
        return found

    def _of_groups(self, source: Source, run: int, sizes: pd.Series, voice: pd.Series) -> Source:
        said = {
            str(group): [replace(s, n_cells=int(sizes[str(group)]), voice=float(voice[str(group)]))
                         for s in source.statements.get(str(cluster), ())]
            for group, cluster in self.clusters[run].items()
        }
        return replace(source, statements={group: statements for group, statements in said.items() if statements})

    def messages(self) -> tuple[str, ...]:
        """Say that clusters differ, and how many cells could not be asked."""
        text = (f"The runs have different clusters: {len(self.clusters)} groups of cells that share theirs in every run"
                " were asked; consensus_cells.csv has the label of every cell.")
        if self.n_left_out:
            text += f" {self.n_left_out} cell(s) are not in all runs and are left out."
        return (text,)

    def table(self, consensus: pd.DataFrame) -> pd.DataFrame:
        """Return the table ``consensus_cells`` for a consensus of the groups."""
        found = consensus.set_index("cluster_id").loc[self.groups.to_numpy(), ["label", "path", "confidence"]]
        found = found.rename_axis("cluster_id").reset_index()
        return CONSENSUS_CELLS.conform(found.assign(cell_id=self.groups.index.astype(str)))


def voices(clusters: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    r"""Return the voice (0 to 1) of each run's cluster about each group, so that every cell speaks once.

    The clusters :math:`C_1, \dots, C_m` that hold a group in :math:`m` runs overlap. A cell that lies in :math:`n` of
    them gives each the :math:`n`-th part of its voice, and the voice of a cluster is the mean of its cells:

    .. math:: v_r = \frac{1}{|C_r|} \sum_{x \in C_r} \frac{1}{n(x)}

    That is 1 for a single run, 1/m for clusters of the same cells, and nearly 1 for a large cluster beside small
    ones. Sequences that are alike share the weight of their positions in the same way (Henikoff and Henikoff 1994).

    Parameters
    ----------
    clusters
        Cluster of each group in each run; groups x runs.
    sizes
        Cells of each group, by its name.
    """
    import pandas as pd

    codes = clusters.apply(lambda c: pd.factorize(c)[0]).to_numpy()
    cells = sizes.reindex(clusters.index).to_numpy(dtype=np.float64)
    found = np.empty(codes.shape, dtype=np.float64)
    for group, own in enumerate(codes):
        together = codes == own  # which groups lie in each of the clusters of this one
        n = together.sum(axis=1)
        held = np.where(together, cells[:, None], 0.0)
        found[group] = (held / np.maximum(n, 1)[:, None]).sum(axis=0) / held.sum(axis=0)
    return pd.DataFrame(found, index=clusters.index, columns=clusters.columns)


def shared_cells(memberships: Sequence[pd.Series]) -> SharedCells | None:
    """Return the groups that no clustering divides; None if all runs have the same clusters.

    Parameters
    ----------
    memberships
        Cluster of each cell, by name of the cell, for each run.

    Raises
    ------
    InputError
        If no cell is in all runs, or names of cells repeat.
    """
    import pandas as pd

    repeated = [str(m.index[m.index.duplicated()][0]) for m in memberships if not m.index.is_unique]
    if repeated:
        msg = f"cells of the runs cannot be matched: names repeat, such as {repeated[0]!r}; make the names unique"
        raise InputError(msg)
    frame = pd.concat([m.dropna().astype(str).rename(i) for i, m in enumerate(memberships)], axis=1, join="inner")
    if frame.empty:
        names = " and ".join(repr(m.index[0]) for m in memberships[:2])
        msg = f"no cell is in all runs: the names of their cells look like {names}"
        raise InputError(msg)
    if frame.eq(frame[0], axis=0).all(axis=None):
        return None
    # Names are made once per group, not per cell.
    group_of = frame.groupby(list(frame.columns), sort=False).ngroup()
    clusters = frame[~group_of.duplicated()]
    titles = ["+".join(row) for row in clusters.to_numpy()]
    if len(set(titles)) < len(titles):  # names of clusters may hold a "+" themselves
        titles = [f"{name} ({i})" for i, name in enumerate(titles)]
    groups = pd.Series(np.array(titles, dtype=object)[group_of.to_numpy()], index=frame.index)
    everywhere = set().union(*(m.index for m in memberships))
    return SharedCells(groups, clusters.set_axis(titles, axis=0), len(everywhere) - len(frame))
