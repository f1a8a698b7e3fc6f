"""The hierarchy of cell types that generated data are made from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PROTEIN_MAP", "RNA_MAP", "Leaf", "leaves", "marker_map"]

#: Marker map of generated RNA data: markers of a node are expressed in its subtree and nowhere else.
RNA_MAP: dict[str, Any] = {
    "Immune Cells": {
        "markers": ["PTPRC", "LAPTM5", "CORO1A", "CD53"],
        "children": {
            "T Cells": {
                "markers": ["CD3D", "CD3E", "TRAC", "CD2"],
                "children": {
                    "CD4 T Cells": {"markers": ["CD4", "IL7R", "CCR7", "TCF7"]},
                    "CD8 T Cells": {"markers": ["CD8A", "CD8B", "GZMK", "CCL5"]},
                },
            },
            "B Cells": {"markers": ["MS4A1", "CD79A", "CD79B", "BANK1"]},
            "Myeloids": {
                "markers": ["LYZ", "CST3", "FCER1G", "AIF1"],
                "children": {
                    "Monocytes": {"markers": ["CD14", "S100A8", "S100A9", "VCAN"]},
                    "Macrophages": {"markers": ["CD163", "C1QA", "C1QB", "MRC1"]},
                    "Dendritic Cells": {"markers": ["FCER1A", "CLEC10A", "CD1C", "CLEC9A"]},
                },
            },
        },
    },
    "Epithelium": {
        "markers": ["EPCAM", "KRT8", "KRT18", "CDH1"],
        "children": {
            "Ciliated Epithelium": {"markers": ["FOXJ1", "PIFO", "TPPP3", "CAPS"]},
            "Secretory Epithelium": {"markers": ["SCGB1A1", "MUC5B", "BPIFB1", "LCN2"]},
            "Basal Cells": {"markers": ["KRT5", "TP63", "KRT15", "NGFR"]},
        },
    },
    "Mesenchymal Cells": {
        "markers": ["COL1A2", "COL3A1", "PDGFRB", "SPARC"],
        "children": {
            "Fibroblasts": {"markers": ["DCN", "LUM", "PDGFRA", "COL1A1"]},
            "Smooth Muscle Cells": {"markers": ["ACTA2", "MYH11", "DES", "CNN1"]},
        },
    },
    "Endothelium": {
        "markers": ["PECAM1", "CDH5", "VWF", "CLDN5"],
        "children": {
            "Vascular Endothelium": {"markers": ["FLT1", "PLVAP", "EMCN", "KDR"]},
            "Lymphatic Endothelium": {"markers": ["LYVE1", "PROX1", "CCL21", "FLT4"]},
        },
    },
}

#: Marker map of generated protein panels.
PROTEIN_MAP: dict[str, Any] = {
    "Immune Cells": {
        "markers": ["CD45"],
        "anti_markers": ["Pan-Cytokeratin", "E-cadherin"],
        "children": {
            "T Cells": {
                "markers": ["CD3"],
                "children": {"CD4 T Cells": {"markers": ["CD4"]}, "CD8 T Cells": {"markers": ["CD8"]}},
            },
            "B Cells": {"markers": ["CD20"]},
            "Macrophages": {"markers": ["CD68", "CD163"]},
        },
    },
    "Epithelium": {
        "markers": ["E-cadherin", "Pan-Cytokeratin"],
        "anti_markers": ["CD45", "CD31"],
        "children": {
            "Ciliated Epithelium": {"markers": ["FOXJ1", "Acetylated Tubulin"]},
            "Secretory Epithelium": {"markers": ["MUC5AC", "SCGB1A1"]},
            "Basal Cells": {"markers": ["KRT5", "p63"]},
        },
    },
    "Mesenchymal Cells": {
        "markers": ["Vimentin"],
        "anti_markers": ["E-cadherin", "CD45"],
        "children": {"Fibroblasts": {"markers": ["PDGFRa"]}, "Smooth Muscle Cells": {"markers": ["aSMA"]}},
    },
    "Endothelium": {"markers": ["CD31", "CD34"], "anti_markers": ["CD45", "E-cadherin"]},
}

# One marker that the root must show, and markers of other roots that forbid it.
_GATES: dict[str, Any] = {
    "root_hard_requirements": {
        "Immune Cells": {"marker": "PTPRC", "min_pos_frac": 0.3},
        "Epithelium": {"marker": "EPCAM", "min_pos_frac": 0.3},
        "Mesenchymal Cells": {"marker": "COL1A2", "min_pos_frac": 0.3},
        "Endothelium": {"marker": "PECAM1", "min_pos_frac": 0.3},
    },
    "root_veto_markers": {
        "Immune Cells": {"markers": ["EPCAM", "COL1A2", "PECAM1"], "max_pos_frac": 0.2},
        "Epithelium": {"markers": ["PTPRC", "COL1A2", "PECAM1"], "max_pos_frac": 0.2},
        "Mesenchymal Cells": {"markers": ["PTPRC", "EPCAM", "PECAM1"], "max_pos_frac": 0.2},
        "Endothelium": {"markers": ["PTPRC", "EPCAM", "COL1A2"], "max_pos_frac": 0.2},
    },
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A cell type without children: labels from the root on, and the markers it expresses."""

    path: tuple[str, ...]
    markers: tuple[str, ...]

    @property
    def label(self) -> str:
        """Own label."""
        return self.path[-1]


def marker_map(*, protein: bool = False, gates: bool = False) -> dict[str, Any]:
    """Return a copy of the marker map of generated data; ``gates`` adds requirements and vetoes for the
    roots."""
    found = copy.deepcopy(PROTEIN_MAP if protein else RNA_MAP)
    return {**found, "_gating_params": copy.deepcopy(_GATES)} if gates and not protein else found


def leaves(nodes: Mapping[str, Any]) -> list[Leaf]:
    """Return the leaves of a marker map in order; each expresses its own and its ancestors' markers."""
    return list(_walk(nodes, (), ()))


def _walk(nodes: Mapping[str, Any], path: tuple[str, ...], markers: tuple[str, ...]) -> Iterator[Leaf]:
    for label, node in nodes.items():
        if label.startswith("_"):
            continue
        here, shown = (*path, label), (*markers, *node["markers"])
        children = node.get("children", {})
        if children:
            yield from _walk(children, here, shown)
        else:
            yield Leaf(here, shown)
