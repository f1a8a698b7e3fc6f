"""Draw the pictures of the README from the run of ``cellkey demo``: ``python docs/make_pictures.py demo_run 3``."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from cellkey.annotation.run import load_tables
from cellkey.plots import decision_path, marker_dots

STATIC = Path(__file__).parent / "_static"


def main(run: str, cluster: str) -> None:
    """Draw the walk of one cluster and the marker dots of all."""
    tables = load_tables(run)
    annotations = tables["cluster_annotations"]
    lineages = sorted(set(tables["decision_steps"].query("step_idx == 0")["child_label"]))
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    decision_path(tables["decision_steps"], annotations, cluster, lineages=lineages, ax=figure.subplots())
    figure.savefig(STATIC / "decision_path.png", dpi=110)
    dots = marker_dots(tables["marker_evidence"], annotations, n_markers=3, lineages=lineages)
    dots.figure.savefig(STATIC / "marker_dots.png", dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
