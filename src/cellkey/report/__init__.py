"""One offline HTML file about a run, on which its labels are reviewed and the decisions saved as a plan."""

from __future__ import annotations

from cellkey.report.build import report_html, write_report

__all__ = ["report_html", "write_report"]
