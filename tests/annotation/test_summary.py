"""What a notebook shows of a result, and bars that appear where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from anndata import AnnData

from cellkey import annotate
from cellkey.annotation.result import AnnotationResult
from cellkey.progress import in_notebook, shown_progress

pytestmark = pytest.mark.filterwarnings("ignore:X holds:cellkey.errors.CellkeyWarning")
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def result(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> AnnotationResult:
    small_map["Immune Cells"]["children"][HOSTILE] = small_map["Immune Cells"]["children"].pop("T Cells")
    adata = small_cells(15, 20)
    adata.obs["clusters"] = adata.obs["truth"].astype(str) + " & <b>"
    return annotate(adata, small_map, groupby="clusters")


def test_the_summary_says_what_was_found(result: AnnotationResult) -> None:
    """A headline, a row per cluster with path, rival and reason, the walk to unfold, and the messages."""
    page = result._repr_html_()
    assert "4 clusters, 60 cells, 4 cell types, 100.0 % of cells assigned" in page
    for text in ("B Cells", "Immune Cells", "leaf reached", "which top-level type?", "closest rival", "1 message<"):
        assert text in page
    assert page.count("<tr>") == 5
    table, below = page.split("</table>")
    assert "<details" not in table  # unfolded inside, a walk would push columns out of view
    assert below.count("which top-level type?") == 4
    assert len(page) < 60_000


def test_names_from_data_are_escaped(result: AnnotationResult) -> None:
    """Hostile labels and cluster ids are text, and every element is closed."""
    page = result._repr_html_()
    opened: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Check(convert_charrefs=True).feed(page)
    assert opened == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_text_form_is_one_line_per_cluster(result: AnnotationResult) -> None:
    """The repr is short."""
    assert len(repr(result).splitlines()) == 5


def test_long_names_keep_the_columns(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    adata = small_cells(15, 20)
    adata.obs["clusters"] = adata.obs["truth"].astype(str) + " of the first donor"
    head, *rows = repr(annotate(adata, small_map, groupby="clusters")).splitlines()
    assert {row.index("  ", row.index(" 15 ")) for row in rows} == {head.index("  label")}


def test_bars_are_for_those_who_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks pass through; without a terminal or notebook nothing is shown; one switch silences all."""
    def tell(_step: str, _share: float | None) -> None:
        raise AssertionError

    with shown_progress(tell) as given:
        assert given is tell
    for wanted in (None, False, True):
        with shown_progress(wanted) as given:
            assert given is None
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert in_notebook()
    monkeypatch.setenv("CELLKEY_PROGRESS", "0")
    with shown_progress() as given:
        assert given is None


def test_a_notebook_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    small_cells: Callable[..., AnnData], small_map: dict[str, Any],
) -> None:
    """The steps of the work go by, and the bar is gone at the end."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr("cellkey.progress.in_notebook", lambda: True)
    annotate(small_cells(15, 20), small_map, groupby="truth")
    shown = capsys.readouterr().err
    assert "profiles" in shown
    assert "scoring" in shown


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal names of steps are shown as they are, brackets too."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shown_progress(True) as tell:
        assert tell is not None
        tell("reading [x]", None)
        tell("profiles", 0.5)
