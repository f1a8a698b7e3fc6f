"""Figures show what tables say, the report is one offline file, names from data stay text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellkey.isoforms.explaining import explain_modules
from cellkey.isoforms.explanation import ExplainParameters
from cellkey.isoforms.figures import genes, modules
from cellkey.isoforms.figures.prepare import (
    gene_usage,
    module_trait_matrix,
    moving_average,
    network_view,
    polarity_matrix,
    sample_groups,
)
from cellkey.isoforms.figures.saving import fit_figures, main_trait, write_fit_figures
from cellkey.isoforms.figures.trees import feature_dendrogram
from cellkey.isoforms.figures.usage import usage_heatmap, usage_violins
from cellkey.isoforms.fit_files import read_fit, write_fit
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.reporting import report_fit
from cellkey.isoforms.synthetic import pure_noise, simulate


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a small fit."""
    return write_fit(fit(simulate("toy_multiplex_v1"), {"evidence": {"n_null": 5}}), tmp_path_factory.mktemp("fit"))


def test_strength_of_each_test() -> None:
    """r stays r, a Welch t becomes r with the sign of the effect, eta squared its root."""
    traits = pd.DataFrame(
        {
            "module_id": ["M000"] * 3,
            "trait": ["a", "b", "c"],
            "test": ["pearson", "welch_t", "anova"],
            "statistic": [0.5, -3.0, 4.0],
            "effect": [0.5, 1.0, 0.25],
            "df": [10.0, 16.0, 2.0],
            "qvalue": [0.1, 0.2, 0.3],
        }
    )
    strength, q = module_trait_matrix(traits)
    np.testing.assert_allclose(strength.loc["M000"], [0.5, 0.6, 0.5])
    assert q.columns.to_list() == ["a", "b", "c"]


def test_groups_of_samples() -> None:
    """Text, booleans and few numbers are groups; many numbers are not."""
    assert [(g, list(at)) for g, at in sample_groups(pd.Series(["b", "a", None, "b"])) or []] == [
        ("a", [1]),
        ("b", [0, 3]),
    ]
    assert sample_groups(pd.Series(range(20))) is None
    assert len(sample_groups(pd.Series([True, False])) or []) == 2


def test_usage_of_a_gene_sums_the_rest() -> None:
    """The most used transcripts come first, and the others are one."""
    usage = pd.DataFrame({"t1": [0.1], "t2": [0.5], "t3": [0.25], "t4": [0.15], "x": [1.0]})
    meta = pd.DataFrame({"feature_id": list(usage.columns), "gene_id": ["g"] * 4 + ["h"]})
    shown = gene_usage(usage, meta, "g", most=3)
    assert shown.columns.to_list() == ["t2", "t3", "other"]
    assert float(shown["other"].iloc[0]) == pytest.approx(0.25)


def test_moving_average_of_a_line_is_the_line() -> None:
    """Inside, the average of a line is the line."""
    x = np.arange(24.0)[::-1]
    xs, smooth = moving_average(x, 2 * x)
    np.testing.assert_allclose(smooth[2:-2], 2 * xs[2:-2])


def test_network_does_not_depend_on_row_order(fitted: Path) -> None:
    """The same tables in another order give the same picture."""
    found = read_fit(fitted)
    tables = [found.table(t) for t in ("edges", "module_membership", "module_gene_roles")]
    view = network_view(*tables, "M000", most_genes=8)
    again = network_view(*(t.sample(frac=1, random_state=1) for t in tables), "M000", most_genes=8)
    pd.testing.assert_frame_equal(view.nodes.drop(columns=["x", "y"]), again.nodes.drop(columns=["x", "y"]))
    np.testing.assert_allclose(view.nodes[["x", "y"]], again.nodes[["x", "y"]], atol=1e-9)
    assert len(view.nodes) == 8


def test_drawn_values(fitted: Path, tmp_path: Path) -> None:
    """Bars and cells carry the numbers of the tables; dollar signs in names stay dollar signs."""
    explained = explain_modules(fitted, output_dir=tmp_path)["M000"]
    ax = genes.driver_ranking(explained.gene_drivers, names={str(explained.gene_drivers["gene_id"][0]): "a$b$c"})
    widths = [p.get_width() for p in ax.patches]
    np.testing.assert_allclose(widths, explained.gene_drivers["r"].abs().head(10))
    assert "a$b$c" in ax.get_yticklabels()[0].get_text()
    first = polarity_matrix(explained.transcript_polarity)[0][1]
    image = genes.transcript_polarity(explained.transcript_polarity).images[0].get_array()
    np.testing.assert_allclose(np.asarray(image)[0, : len(first)], first["r"])
    traits = read_fit(fitted).table("traits")
    shown = modules.module_trait_heatmap(traits).images[0].get_array()
    np.testing.assert_allclose(shown, module_trait_matrix(traits)[0])


def test_all_figures_are_written(fitted: Path, tmp_path: Path) -> None:
    """A fit has figures of the whole and of each module; explaining with plots lists every file."""
    found = read_fit(fitted)
    assert main_trait(found) in ("Dx", "Sex")
    names = {p.stem for p in write_fit_figures(found, tmp_path / "figures")}
    assert {"module_trait_heatmap", "eigengene_heatmap", "role_scatter", "M000_network", "M000_switch_plot"} <= names
    settings = ExplainParameters(plot=True, output_format="pdf")
    explain_modules(fitted, output_dir=tmp_path / "e", module_ids=["M000"], parameters=settings)
    drawn = {p.name for p in (tmp_path / "e/M000").glob("*.pdf")}
    assert drawn == {
        f"{n}.pdf"
        for n in (
            "driver_bar",
            "high_vs_low",
            "transcript_polarity",
            "switch_pair",
            "isoform_gradient",
            "usage_heatmap",
            "usage_violins",
            "summary_panel",
        )
    }
    assert (tmp_path / "e/eigengene_heatmap.pdf").is_file()


def test_usage_figures_follow_the_eigengene() -> None:
    """Columns are sorted by the eigengene; the two most opposed transcripts have a violin per half."""
    profile = np.array([0.3, -0.4, 0.1, -0.2])
    usage = pd.DataFrame({"t1": [0.9, 0.1, 0.7, 0.2], "t2": [0.1, 0.9, 0.3, 0.8], "t3": [np.nan] * 4})
    ax = usage_heatmap({"G": usage}, profile)
    np.testing.assert_allclose(ax.images[0].get_array()[0], [0.1, 0.2, 0.7, 0.9])
    ax = usage_violins({"G": usage}, profile)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["G\nt2", "G\nt1"]
    assert len(ax.collections) == 2 * 2 * 2


def test_dendrogram_has_one_line_per_merge_and_one_bar_per_feature(tmp_path: Path) -> None:
    """The tree of a fit with wgcna is drawn from its tables."""
    found = fit(simulate("toy_v1"), {"backend": "wgcna", "wgcna": {"min_module_size": 5}, "evidence": {"n_null": 0}})
    tables = found.network.tables
    figure = feature_dendrogram(tables["feature_tree"], tables["feature_modules"])
    top, bar = figure.axes
    assert len(tables["feature_tree"]) == 48
    assert len(top.collections[0].get_segments()) == 47
    assert len(bar.patches) == 48
    names = {p.stem for p in write_fit_figures(read_fit(write_fit(found, tmp_path)), tmp_path / "figures")}
    assert "feature_dendrogram" in names


def test_report_is_one_offline_file_with_escaped_names(tmp_path: Path) -> None:
    """No address, no script; a hostile sample column is text."""
    bundle = simulate("toy_multiplex_v1")
    bundle.samples["<script>alert(1)</script>"] = np.where(np.arange(len(bundle.samples)) % 2, "<b>", "&")
    folder = write_fit(fit(bundle, {"evidence": {"n_null": 5}}), tmp_path / "fit")
    path = report_fit(folder)
    text = path.read_text(encoding="utf-8")
    assert path == folder / "report.html"
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert text.count("<img") >= 6
    assert "−" in text or "M000" in text


def test_report_of_no_modules(tmp_path: Path) -> None:
    """Noise has no modules, and the report says so."""
    folder = write_fit(fit(pure_noise(seed=7), {"evidence": {"n_null": 0}}), tmp_path / "fit")
    assert "no module was found" in report_fit(folder).read_text(encoding="utf-8")


def test_thresholds_show_what_was_asked_for(tmp_path: Path) -> None:
    """The line is at the fit of the settings, and the logarithmic axis has more than one number."""
    settings = {"min_module_size": 5, "min_scale_free_r2": 0.7}
    found = fit(simulate("toy_v1"), {"backend": "wgcna", "wgcna": settings, "evidence": {"n_null": 0}})
    left, right = dict(fit_figures(read_fit(write_fit(found, tmp_path))))["soft_threshold"].axes
    assert 0.7 in {float(line.get_ydata()[0]) for line in left.lines}
    low, high = right.get_ylim()
    assert sum(low <= tick <= high for tick in right.get_yticks()) >= 2
