"""Draw the pictures of the README and of the guides.

``python docs/make_pictures.py demo_run 3`` draws those of the run of ``cellkey demo``;
``python docs/make_pictures.py page RUN CLUSTER`` takes a picture of the review page of a run, with a cluster opened.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

from cellkey.plots import decision_path, marker_dots
from cellkey.records.run_tables import run_tables
from cellkey.report import write_report
from cellkey.testing import Chromium

STATIC = Path(__file__).parent / "_static"


def main(run: str, cluster: str) -> None:
    """Draw the walk of one cluster and the marker dots of all."""
    tables = run_tables(run, ("cluster_annotations", "decision_steps", "marker_evidence"))
    annotations = tables["cluster_annotations"]
    lineages = sorted(set(tables["decision_steps"].query("step_idx == 0")["child_label"]))
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    decision_path(tables["decision_steps"], annotations, cluster, lineages=lineages, ax=figure.subplots())
    figure.savefig(STATIC / "decision_path.png", dpi=110)
    dots = marker_dots(tables["marker_evidence"], annotations, n_markers=3, lineages=lineages)
    dots.figure.savefig(STATIC / "marker_dots.png", dpi=110)


def page(run: str, cluster: str) -> None:
    """Open the review page in a headless Chromium, change a label there, and take a picture."""
    with Chromium(width=1400, height=1180) as browser:
        browser.prefer(dark=False)
        browser.open(write_report(run, Path(run) / "report.html"))
        browser.wait("document.documentElement.dataset.ready")
        browser.run(f"document.querySelector('#clusters tr[data-key=\"0/{cluster}\"]').focus()")
        browser.press("Enter", "k", "c")
        browser.type("Fits the tissue.")
        browser.press("Escape")
        browser.run("window.scrollTo(0, 0)")
        time.sleep(1)
        browser.picture(STATIC / "review_page.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["page"]:
        page(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
