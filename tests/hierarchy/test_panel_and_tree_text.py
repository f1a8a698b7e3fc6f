"""What a panel leaves of a hierarchy, and the text tree."""

from __future__ import annotations

from cellkey.hierarchy import CellType, Hierarchy, panel_report, resolve_names, tree_text

H = Hierarchy(
    (
        CellType(("T",), ("CD3D", "CD3E"), ontology_id="CL:0000084"),
        CellType(("T", "CD4"), ("CD4", "IL7R"), ("CD8A",)),
        CellType(("T", "CD8"), ("CD4", "CD8B"), ("CD8A",)),
        CellType(("B",), ("MS4A1",)),
        CellType(("Rest",)),
        CellType(("Rest", "X"), ("ZZZ",)),
    )
)


def test_report_counts_variables_once_and_finds_siblings_alike() -> None:
    r = resolve_names(H.all_markers(), ["CD3", "CD4", "CD20"])
    table = panel_report(H, r).set_index("path")
    assert table.loc["T", ["n_markers", "n_measured", "coverage"]].tolist() == [1, 1, 1.0]
    assert table.loc["T / CD4", "missing"] == "IL7R"
    assert table.loc["T / CD4", "alike"] == "CD8"
    assert table.loc["T / CD8", "alike"] == "CD4"
    assert table.loc["B", "measured"] == "CD20"
    assert table.loc["Rest", "coverage"] == 1.0
    assert table.loc["Rest / X", "n_measured"] == 0


def test_tree_text() -> None:
    assert tree_text(H) == (
        "T [CL:0000084]: CD3D CD3E\n├─ CD4: CD4 IL7R -CD8A\n└─ CD8: CD4 CD8B -CD8A\nB: MS4A1\nRest (group)\n└─ X: ZZZ\n"
    )
    assert tree_text(H, markers=False).splitlines()[0] == "T (+2, -0) [CL:0000084]"
