"""Built-in hierarchies, matching and panels as published: counts, one tree line by line, one panel node by node."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellkey.compat.hierannot import (
    compile_builtin_hierarchy_for_panel,
    compose_hierarchy,
    describe_builtin_hierarchy,
    format_hierarchy_tree,
    get_builtin_hierarchy,
    get_builtin_programs,
    list_builtin_hierarchies,
    list_builtin_programs,
    match_builtin_hierarchy,
    suggest_builtin_hierarchies,
)
from cellkey.compat.hierannot.panel import REPORT_COLUMNS
from cellkey.errors import HierarchyError
from published_trees import COLON, PUBLISHED

pytestmark = pytest.mark.usefixtures("builtins")

PANEL = (
    "PTPRC TYROBP HLA-DRA CD3D CD3E TRAC IL7R LTB NKG7 CCL5 FOXP3 CTLA4 MS4A1 CD79A MZB1 JCHAIN LYZ C1QA S100A8 S100A9 "
    "KIT COL1A1 DCN PECAM1 VWF RGS5 ACTA2 KRT20 MUC2 TFF3 EPCAM CEACAM1 AGR2"
)
_FULL, _BACK, _OFF = "full", "fallback_to_parent", "disabled"
REPORT = (
    ("Absorptive-like", 2, 5, _BACK), ("Goblet-like", 3, 5, _FULL), ("Stem/TA-like", 0, 5, _OFF),
    ("Intestinal epithelial", 4, 6, _FULL), ("Fibroblast", 2, 5, _BACK), ("Capillary endothelial", 1, 5, _OFF),
    ("Endothelial", 2, 5, _BACK), ("Pericyte", 1, 5, _OFF), ("Mural", 2, 5, _BACK), ("CD4 T cell", 4, 5, _FULL),
    ("CD8 T cell", 3, 5, _FULL), ("Treg", 3, 5, _BACK), ("T cell", 4, 5, _FULL), ("Plasma cell", 2, 5, _FULL),
    ("B cell", 3, 5, _FULL), ("NK cell", 1, 5, _OFF), ("Macrophage", 2, 5, _FULL), ("Monocyte", 3, 5, _FULL),
    ("Dendritic cell", 1, 5, _OFF), ("Myeloid", 1, 5, _BACK), ("Mast cell", 1, 5, _OFF), ("Neutrophil", 2, 5, _FULL),
    ("Immune", 3, 5, _FULL),
)


def test_the_list_of_hierarchies() -> None:
    """Twelve rows, sorted by category and name, with the published counts."""
    table = list_builtin_hierarchies()
    assert table["name"].tolist() == list(PUBLISHED)
    for row in table.itertuples():
        found = (row.category, row.tissue_scope, row.n_root_programs, row.n_total_programs)
        assert found == PUBLISHED[row.name], row.name
        assert row.description


def test_one_tree_line_by_line() -> None:
    assert format_hierarchy_tree(get_builtin_hierarchy("colon_tme")) == COLON.rstrip()


def test_an_unknown_name_suggests_the_right_one() -> None:
    with pytest.raises(HierarchyError, match="did you mean 'colon_tme'"):
        get_builtin_hierarchy("colon_tm")


def test_programs_of_all_hierarchies() -> None:
    """Flat lists, by name, by category, and several hierarchies as one."""
    assert len(get_builtin_programs("kidney_tme")) == 25
    assert [p.name for p in get_builtin_programs("colon_tme", ["Treg", "Mural"])] == ["Treg", "Mural"]
    with pytest.raises(HierarchyError, match="did you mean 'Mural'"):
        get_builtin_programs("colon_tme", ["Murals"])
    assert len(describe_builtin_hierarchy("brain_core")) == 8
    assert len(list_builtin_programs()) == sum(c[3] for c in PUBLISHED.values())
    assert set(list_builtin_programs(tissue_scope="colon")["pack"]) == {"colon_tme"}
    assert len(compose_hierarchy("tme_core", "colon_tme")) == 6
    assert len(compose_hierarchy("tme_core", "colon_tme", deduplicate_roots=False)) == 10


def test_a_tissue_described_in_words() -> None:
    """The published answers."""
    assert match_builtin_hierarchy("colon cancer") == "colon_tme"
    assert match_builtin_hierarchy("breast tumor") == "breast_tme"
    assert match_builtin_hierarchy("PBMC") == "immune_core"
    table = suggest_builtin_hierarchies("colon cancer", top_k=5)
    assert table["name"].tolist() == ["colon_tme", "immune_core", "solid_tissue_core", "brain_core", "tme_core"]
    assert table["score"].tolist() == [3, 0, 0, 0, 0]
    assert table["tissue_scope"].tolist() == ["colon", "pan-tissue", "pan-solid-tissue", "brain", "pan-solid-tissue"]


def test_pure_clusters_are_neither_mixed_nor_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default rules on clusters of one type each, with the bleed-through of spatial data."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import enrichment as benchmark
    from cellkey.hierarchy import get_builtin

    tree = get_builtin("colon_tme")
    total = sum(
        benchmark.outcome(benchmark.pure_clusters(tree, n_genes=3000, seed=1, **design), tree)
        for design in benchmark.DESIGNS.values()
    )
    exact, mixed, wrong, n = total
    assert (mixed, wrong) == (0, 0)
    assert exact / n > 0.9


@pytest.mark.parametrize("preserve", [True, False])
def test_a_small_panel_node_by_node(preserve: bool) -> None:
    """The report in its order; without preservation three immune types fall back to their parents."""
    roots, report = compile_builtin_hierarchy_for_panel([*PANEL.lower().split(), None, ""], "colon_tme", "p", preserve)
    assert list(report.columns) == list(REPORT_COLUMNS)
    changed = {} if preserve else dict.fromkeys(("Plasma cell", "Macrophage", "Neutrophil"), _BACK)
    expected = [(n, p, t, changed.get(n, s)) for n, p, t, s in REPORT]
    columns = ["name", "positive_markers_present", "positive_markers_total", "status"]
    assert list(report[columns].itertuples(index=False, name=None)) == expected
    assert set(report["panel_tier"]) == {"small"}
    assert set(report["panel_gene_count"]) == {33}
    names = {row["name"] for root in roots for row in root.iter_nodes()}
    assert names == {n for n, _, _, s in expected if s != _OFF}
