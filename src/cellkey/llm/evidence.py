"""What is known about the clusters of one dataset, and how it is laid out for a model."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cellkey.llm.identifiers import natural_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.llm.marker_selection import MarkerSelection, ShownGene

__all__ = ["ClusterEvidence", "Detail", "Study", "evidence_of", "plain_text"]

_BLIND = {"", "none", "tissue blind", "tissue-blind", "unknown"}
_NO_NOTES = {"", "no", "none"}


class Detail(StrEnum):
    """How much of a cluster is shown."""

    FULL = "full"
    NAMES = "names"
    HALF = "half"


def plain_text(value: str, limit: int = 60) -> str:
    """Return ``value`` on one line without control characters, cut to ``limit`` characters.

    Names from data go to a model in this form: no gene has a name of 60 characters, and no instruction fits
    well.
    """
    text = "".join(c if c.isprintable() else " " for c in value)
    return " ".join(text.split())[:limit]


@dataclass(frozen=True, slots=True)
class Study:
    """Context that all clusters of a dataset share.

    Parameters
    ----------
    tissue
        Free text; empty, ``none`` or ``tissue blind`` withholds it, and the model names likely tissues.
    species
        Free text.
    notes
        Disease, treatment, enrichment; ``no`` means none.
    dataset
        Name for records; never sent.
    tissues
        Tissue of single clusters, where it is another one.
    """

    tissue: str = ""
    species: str = "human"
    notes: str = ""
    dataset: str = ""
    tissues: Mapping[str, str] = field(default_factory=dict)

    def of(self, cluster: str) -> Study:
        """Return the context of one cluster."""
        return replace(self, tissue=self.tissues.get(cluster, self.tissue), tissues={}) if self.tissues else self

    @property
    def is_blind(self) -> bool:
        """Whether the tissue is withheld."""
        return self.tissue.strip().casefold() in _BLIND

    def described(self) -> dict[str, str]:
        """Return the context as it is shown to a model."""
        parts = {"species": plain_text(self.species)}
        if not self.is_blind:
            parts["tissue"] = plain_text(self.tissue, 120)
        if self.notes.strip().casefold() not in _NO_NOTES:
            parts["notes"] = plain_text(self.notes, 1000)
        return parts


@dataclass(frozen=True, slots=True)
class ClusterEvidence:
    """Genes and size of one cluster, the overview of all clusters it is seen against, and panels that its genes match.

    ``panels`` are shown as they are; see :mod:`cellkey.llm.panels`.
    """

    selection: MarkerSelection
    study: Study
    n_cells: int | None = None
    share: float | None = None
    overview: dict[str, Any] = field(default_factory=dict, repr=False)
    panels: tuple[dict[str, Any], ...] = ()

    @property
    def cluster(self) -> str:
        """Identifier."""
        return self.selection.cluster

    def described(self, detail: Detail = Detail.FULL) -> dict[str, Any]:
        """Return everything a model is shown: context, overview, then the cluster, in this order."""
        return {"study": self.study.described(), "dataset": self.overview, "cluster": self._cluster(detail)}

    def jittered(self, repeat: int) -> ClusterEvidence:
        """Return the evidence of repeated run number ``repeat``: order shuffled in blocks of five ranks, and
        nine tenths of the genes below rank 20."""
        if repeat == 0:
            return self
        rng = random.Random(f"{self.study.dataset}\0{self.cluster}\0{repeat}")
        genes = list(self.selection.genes)
        kept = genes[:20] + [g for g in genes[20:] if rng.random() < 0.9]
        blocks = [kept[i : i + 5] for i in range(0, len(kept), 5)]
        for block in blocks:
            rng.shuffle(block)
        shown = tuple(g for block in blocks for g in block)
        return replace(self, selection=replace(self.selection, genes=shown))

    def _cluster(self, detail: Detail) -> dict[str, Any]:
        genes = self.selection.genes
        if detail is Detail.HALF:
            genes = genes[: max(len(genes) // 2, 20)]
        block: dict[str, Any] = {"cluster": self.cluster}
        if self.n_cells is not None:
            block["cells"] = self.n_cells
        if self.share is not None:
            block["share"] = f"{self.share:.1%}"
        block["genes"] = [_described(g, detail) for g in genes]
        if self.selection.negative:
            block["genes_it_lacks"] = [_described(g, detail) for g in self.selection.negative]
        if self.panels:
            block["marker_panels_of_the_user"] = list(self.panels)
        if self.selection.n_dropped:
            block["housekeeping_genes_not_shown"] = self.selection.n_dropped
        if self.selection.low_markers:
            block["note"] = "few genes pass the usual filters; be cautious"
        return block


def _described(gene: ShownGene, detail: Detail) -> str:
    name = plain_text(gene.name)
    if detail is Detail.NAMES:
        return name
    return replace(gene, name=name).described()


def evidence_of(
    selections: Mapping[str, MarkerSelection],
    study: Study,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, ClusterEvidence]:
    """Return the evidence of every cluster.

    Parameters
    ----------
    selections
        Genes by cluster.
    study
        Context.
    sizes
        Cells by cluster, where known.
    """
    counts = sizes or {}
    total = sum(counts.values())
    overview = _overview(selections, counts)
    return {
        cluster: ClusterEvidence(
            selections[cluster],
            study.of(cluster),
            counts.get(cluster),
            counts[cluster] / total if cluster in counts and total else None,
            overview,
        )
        for cluster in sorted(selections, key=natural_key)
    }


def _overview(selections: Mapping[str, MarkerSelection], counts: Mapping[str, int]) -> dict[str, Any]:
    """Number of clusters, and size and top genes of each; three genes instead of five when there are many."""
    n_genes = 5 if len(selections) <= 40 else 3
    rows = {}
    for cluster in sorted(selections, key=natural_key):
        genes = " ".join(plain_text(n) for n in selections[cluster].names[:n_genes])
        rows[cluster] = f"{counts[cluster]} cells: {genes}" if cluster in counts else genes
    return {"n_clusters": len(selections), "top_genes_by_cluster": rows}
