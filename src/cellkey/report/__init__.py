"""One offline HTML file about a run: every cluster with its evidence, and what a model said and cost."""

from __future__ import annotations

from cellkey.report.build import report_html, write_report

__all__ = ["report_html", "write_report"]
