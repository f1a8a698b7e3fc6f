"""The page of a comparison: verdicts, scores of all models round by round, and their reasons; no scripts."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from cellkey.records.atomic import write_text
from cellkey.report.markup import Markup, element, number, table

if TYPE_CHECKING:
    from pathlib import Path

    from cellkey.llm.comparison import Comparison, Opinion, ScoredCandidate
    from cellkey.llm.comparison_run import ComparisonRun

__all__ = ["comparison_html", "write_comparison_page"]

_STYLE = """
main { max-width: 70rem; } section { background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: .9rem 1.2rem; margin: 0 0 1rem; } section h3:first-of-type { border: 0; margin-top: .4rem; padding: 0; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top;
  border-bottom: 1px solid var(--line); } th { color: var(--quiet); font-weight: 600; font-size: .85rem; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } .verdict { font-size: 1.1rem; font-weight: 600; }
.score { display: inline-block; min-width: 2.2rem; text-align: right; font-variant-numeric: tabular-nums;
  margin-right: .6rem; } .score + svg { display: inline-block; vertical-align: middle; }
.first { font-weight: 700; }
.genes { font-family: ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
"""
_STATUS = {
    "consensus": "The models agree",
    "no_consensus": "The models do not agree",
    "unanswered": "No model gave scores",
}


def write_comparison_page(run: ComparisonRun) -> Path:
    """Write the page of a comparison beside its tables; return its path.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    path = run.directory / f"{run.name}_comparison.html"
    write_text(path, comparison_html(run))
    return path


def comparison_html(run: ComparisonRun) -> str:
    """Return the page of a comparison as text: one file, no other file, no network, no script."""
    style = resources.files("cellkey.report").joinpath("data", "report.css").read_text(encoding="utf-8") + _STYLE
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    costs = dict(zip(run.verdicts["cluster"], run.verdicts["cost_usd"], strict=True))
    calls = dict(zip(run.verdicts["cluster"], run.verdicts["calls"], strict=True))
    sections = [_section(c, int(calls[c.cluster]), float(costs[c.cluster])) for c in run.comparisons]
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("title", f"cellkey: comparison of {run.name}"),
        Markup(f"<style>{style}</style>"),
    )
    top = element(
        "header",
        element("div", element("p", "cellkey comparison", class_="kicker"), element("h1", run.name), class_="who"),
        class_="top",
    )
    body = element("body", top, element("main", *sections))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _section(comparison: Comparison, calls: int, cost: float) -> Markup:
    study, shown = comparison.evidence.study, comparison.evidence.selection.names
    facts = [
        f"{len(comparison.last)} models, {len(comparison.rounds)} rounds, {calls} calls, ${cost:.4f}",
        f"tissue {study.tissue or 'withheld'}, species {study.species}",
    ]
    return element(
        "section",
        element("h2", f"Cluster {comparison.cluster}"),
        element("p", comparison.verdict or "No verdict", class_="verdict"),
        element("p", f"{_STATUS[comparison.status]}: {comparison.reasons()}"),
        element("p", "; ".join(facts), class_="quiet small"),
        *(part for said in comparison.rounds for part in _round(comparison, said)),
        element("h3", "Genes that were shown"),
        element("p", ", ".join(shown), class_="genes"),
        id=f"cluster-{comparison.cluster}",
    )


def _round(comparison: Comparison, said: tuple[Opinion, ...]) -> list[Markup]:
    head = ("model", *comparison.candidates)
    rows = [[f"{o.model} ({o.provider})", *_scores(comparison, o)] for o in said]
    last = [element("h3", f"Round {said[0].round}"), table(head, rows)]
    reasons = [[o.model, s.cell_type, _because(s)] for o in said for s in o.scores]
    if reasons:
        summary = element("summary", "Reasons and genes")
        last.append(element("details", summary, table(("model", "candidate", "reason"), reasons)))
    return last


def _scores(comparison: Comparison, opinion: Opinion) -> list[Markup | str]:
    if opinion.status != "ok":
        note = "abstained" if opinion.status == "abstained" else f"failed: {opinion.error}"
        return [note, *[""] * (len(comparison.candidates) - 1)]
    return [_bar(s.score, first=s.cell_type == opinion.choice) for s in opinion.scores]


def _bar(score: int, *, first: bool) -> Markup:
    value = element("span", number(score), class_="score first" if first else "score")
    drawing = Markup(
        f'<svg width="96" height="10" role="img" aria-label="{score} of 100"><rect width="96" height="10" rx="3" '
        f'fill="currentColor" opacity=".12"/><rect width="{0.96 * score:g}" height="10" rx="3" fill="#0b8a7f"/></svg>'
    )
    return element("div", value, drawing)


def _because(scored: ScoredCandidate) -> Markup:
    genes = (("for", scored.supporting_genes), ("against", scored.contradicting_genes))
    lists = [element("div", f"{side}: {', '.join(names)}", class_="genes") for side, names in genes if names]
    return Markup("".join([element("div", scored.reason), *lists]))
