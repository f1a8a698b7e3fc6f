"""What annotating cells gives, and writing it into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellkey import _keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.annotation.core import Annotation
    from cellkey.clustering import Clustering
    from cellkey.profiles.resampling import Resamples

__all__ = ["AnnotationResult", "LazyFields", "embeddings", "graphs", "outdated_levels", "write_result"]


@dataclass(frozen=True, slots=True)
class AnnotationResult:
    """What :func:`annotate` found.

    Attributes
    ----------
    annotation
        Profiles, evidence, walks and calls.
    tables
        The tables of the run by name (``cluster_annotations``, ``marker_scores``, ``decision_steps``,
        ``gating_details``, ``marker_evidence``; with resamples ``confidence``; with enrichment also
        ``enrichment_calls`` and ``enrichment_scores``, with both methods ``method_comparison``).
    labels
        Group of each cell, shape (cells,); None where the cell had none.
    facts
        Plain facts for the record: layer, scale, number of cells, parameters, timings.
    messages
        What was found and done, as sentences.
    resamples
        Profiles of resampled cells, from which confidence was measured; None if that was switched off.

    Examples
    --------
    >>> result.cluster_annotations.loc[0, ["final_annotation", "stop_reason"]].tolist()
    ['CD4 T Cells', 'leaf_reached']
    >>> print(result.explain("0").splitlines()[0])
    Cluster 0: CD4 T Cells  (23 cells, 7.7 % of all)
    """

    annotation: Annotation
    tables: Mapping[str, pd.DataFrame]
    labels: NDArray[np.object_]
    facts: dict[str, Any]
    messages: tuple[str, ...] = ()
    obs: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)
    clustering: Clustering | None = None
    umap: NDArray[np.float32] | None = None
    resamples: Resamples | None = None

    @property
    def cluster_annotations(self) -> pd.DataFrame:
        """One row per cluster: label, path, score, confidence and reason."""
        return self.tables["cluster_annotations"]

    @property
    def marker_scores(self) -> pd.DataFrame:
        """One row per cluster and cell type."""
        return self.tables["marker_scores"]

    @property
    def decision_steps(self) -> pd.DataFrame:
        """One row per evaluated candidate."""
        return self.tables["decision_steps"]

    @property
    def gating_details(self) -> pd.DataFrame:
        """One row per cluster and top-level cell type."""
        return self.tables["gating_details"]

    def explain(self, group: str) -> str:
        """Return the decision trace of a cluster as readable text."""
        from cellkey.annotation.explain import explain_cluster

        return explain_cluster(self.tables, group)

    def _repr_html_(self) -> str:
        from cellkey.annotation.summary import summary_html

        nodes = self.annotation.key.hierarchy.nodes
        return summary_html(self.tables, self.messages, paths=[n.path for n in nodes])

    def __repr__(self) -> str:
        from cellkey.annotation.summary import summary_text

        return summary_text(self.tables)


class LazyFields(Mapping[str, Any]):
    """Fields for the cells, made when the first is asked for: a run that writes tables only needs none."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make: Callable[[], dict[str, Any]] | None = make
        self._made: dict[str, Any] = {}

    def _all(self) -> dict[str, Any]:
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def write_result(adata: AnnData, result: AnnotationResult, *, slim: bool = False) -> None:
    """Write the labels of a result into ``adata``; ``slim`` leaves out the embedding and the graph."""
    from cellkey.io.fields import write_fields

    if _keys.PARAMS in adata.uns:
        for column in outdated_levels(adata.obs.columns, result.obs):
            del adata.obs[column]
    obsm, obsp = ({}, {}) if slim else (embeddings(result), graphs(result))
    write_fields(adata, result.obs, result.uns, obsm=obsm, obsp=obsp)


def outdated_levels(columns: Iterable[str], written: Iterable[str]) -> list[str]:
    """Return the columns of levels that an earlier run with a deeper hierarchy left."""
    now = set(written)
    return [c for c in map(str, columns) if c.startswith(_keys.level(_keys.LABEL, "")) and c not in now]


def embeddings(result: AnnotationResult) -> dict[str, Any]:
    """Return components and embedding for ``obsm``."""
    found: dict[str, Any] = {}
    if result.clustering is not None and result.clustering.components is not None:
        found["X_pca"] = result.clustering.components.scores
    if result.umap is not None:
        found["X_umap"] = result.umap
    return found


def graphs(result: AnnotationResult) -> dict[str, Any]:
    """Return the neighbour graph for ``obsp``."""
    return {} if result.clustering is None else {"connectivities": result.clustering.graph}
