"""How many markers of the built-in maps stand in public marker tables for the same type or a related one.

    python benchmarks/marker_support.py

PanglaoDB and CellMarker 2.0 are matched by name, the Cell Marker Accordion by Cell Ontology id. *related* types are
those above and below in the ontology. The tables list many genes per type, so that this finds slips, not best markers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pandas as pd

from _truth import data_folder
from cellkey.hierarchy import CellType, builtin_names, get_builtin
from cellkey.hierarchy.ontology import Ontology, read_ontology

Sets = dict[str, set[str]]


def main() -> None:
    """Print one row per map of a tissue, and the symbols that no table knows."""
    folder = data_folder()
    if folder is None:
        print("labelled data not found (set CELLKEY_DATA): nothing compared")
        return
    ontology = read_ontology(folder / "ontology" / "cl-basic.obo.gz")
    by_name, by_id = public_sets(folder / "markers")
    known = set().union(*by_name.values(), *by_id.values())
    rows, unknown = [], set()
    for name in builtin_names():
        tree = get_builtin(name)
        if name != "default" and tree.metadata.get("category") != "tissue":
            continue
        types = [n for n in tree if n.markers]
        outside = [n.path_text for n in types if n.ontology_id and n.ontology_id not in ontology]
        same, near = zip(*(support(n, ontology, by_name, by_id) for n in types), strict=True)
        markers = sum(len(n.markers) for n in types)
        rows.append({
            "map": name, "types": len(types), "markers": markers, "same type": sum(same), "or related": sum(near),
            "per cent": round(100 * sum(near) / markers), "types without any": near.count(0),
            "terms not in the ontology": len(outside),
        })
        unknown |= {m for n in types for m in n.markers if m.upper() not in known}
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    total = table[["types", "markers", "same type", "or related"]].sum()
    print(total.to_string(), f"in no table: {', '.join(sorted(unknown))}", sep="\n")


def public_sets(folder: Path) -> tuple[Sets, Sets]:
    """Return the genes of the public tables by simplified name of the type, and by Cell Ontology id."""
    by_name: Sets = defaultdict(set)
    by_id: Sets = defaultdict(set)
    panglao = pd.read_csv(folder / "PanglaoDB_markers_27_Mar_2020.tsv.gz", sep="\t")
    for name, gene in zip(panglao["cell type"], panglao["official gene symbol"], strict=True):
        by_name[simple(name)].add(str(gene).upper())
    for species in ("Human", "Mouse"):
        table = pd.read_csv(folder / f"CellMarker2_{species}_sets.csv.gz")
        for name, genes in zip(table["CT"], table["Gene"], strict=True):
            by_name[simple(name)] |= {g.strip().upper() for g in str(genes).split(",")}
    accordion = pd.read_csv(folder / "cell_marker_accordion.tsv.gz", sep="\t")
    accordion = accordion[accordion["marker_type"] == "positive"]
    for term, gene in zip(accordion["CL_ID"], accordion["marker"], strict=True):
        by_id[str(term)].add(str(gene).upper())
    return by_name, by_id


def simple(name: object) -> str:
    """Return a name of a type in lower case, without punctuation and the plural of its last word."""
    words = re.sub(r"[^a-z0-9+ ]", " ", str(name).lower()).split()
    return " ".join("cell" if w == "cells" else w for w in words).removesuffix("s")


def support(node: CellType, ontology: Ontology, by_name: Sets, by_id: Sets) -> tuple[int, int]:
    """Return how many markers stand in a table for this type, and for it or a related one."""
    term = node.ontology_id
    names = {node.name, *node.aliases}
    if term:
        names |= {ontology.name(term), *ontology.terms[term].synonyms}
    same = set().union(*(by_name.get(simple(n), set()) for n in names), by_id.get(term, set()))
    near = same.union(*(genes for other, genes in by_id.items() if term and other in ontology
                        and (ontology.is_a(other, term) or ontology.is_a(term, other))))
    markers = [m.upper() for m in node.markers]
    return sum(m in same for m in markers), sum(m in near for m in markers)


if __name__ == "__main__":
    main()
