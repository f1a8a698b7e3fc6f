"""What an annotated ``.h5ad`` file holds beyond the user's own data: obs columns and uns entries.

Like the table schemas, these declarations are what the reference pages are made of and what tests compare
written files with. A name may hold one placeholder in angle brackets (``de_wilcoxon_<layer>``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cellkey.records.vocabulary import CallStatus, RefinementAction

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ALL_FILES", "COARSE_CLUSTERS", "REFINED", "FieldSpec", "FileSpec"]

Slot = Literal["obs", "uns"]
FieldKind = Literal[
    "categorical", "float64", "float32", "int", "string", "json", "mapping", "rank_genes_groups", "colours"
]

_PLACEHOLDER = re.compile(r"<[a-zA-Z_]+>")


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of an AnnData file.

    Parameters
    ----------
    slot, name, kind
        Where it is, its key (with at most one placeholder) and its type. ``categorical`` holds strings,
        ``json`` is strict JSON text, ``mapping`` a dictionary of strings, numbers, booleans and arrays of
        strings, ``rank_genes_groups`` the structure that scanpy's function of that name writes, ``colours`` one
        ``#RRGGBB`` per category.
    meaning
        One sentence for the reference page, with unit or scale.
    allowed
        All values a categorical column may take; empty means any.
    condition
        When the field is present; empty means always.
    """

    slot: Slot
    name: str
    kind: FieldKind
    meaning: str
    allowed: tuple[str, ...] = ()
    condition: str = ""

    def matches(self, key: str) -> bool:
        """Return whether ``key`` is this field, the placeholder standing for any text."""
        parts = _PLACEHOLDER.split(self.name)
        return re.fullmatch(".+".join(map(re.escape, parts)), key) is not None


@dataclass(frozen=True, slots=True)
class FileSpec:
    """An AnnData file of a run directory and the fields it gains."""

    name: str
    meaning: str
    fields: tuple[FieldSpec, ...]

    def of(self, slot: Slot) -> tuple[FieldSpec, ...]:
        """Fields of one slot, in declared order."""
        return tuple(f for f in self.fields if f.slot == slot)

    def missing(self, slot: Slot, keys: Iterable[object]) -> list[str]:
        """Names of unconditional fields of ``slot`` that no key of ``keys`` matches."""
        present = [str(k) for k in keys]
        wanted = (f for f in self.of(slot) if not f.condition)
        return [f.name for f in wanted if not any(f.matches(k) for k in present)]


def _companions(prefix: str) -> tuple[FieldSpec, ...]:
    """Columns beside a column of labels."""
    return (
        FieldSpec("obs", f"{prefix}_level_<N>", "categorical", "Label at level N of the hierarchy, 0 the broadest;"
                  " below the deepest one that was reached it is repeated. There are as many columns as the hierarchy"
                  " has levels."),
        FieldSpec("obs", f"{prefix}_status", "categorical", "What the label stands for.", tuple(CallStatus)),
        FieldSpec("obs", f"{prefix}_margin", "float64", "Least margin along the path, in score units."),
        FieldSpec("obs", f"{prefix}_runner_up", "categorical", "Closest sibling at the tightest step; empty if there"
                  " was none."),
        FieldSpec("obs", f"{prefix}_stop_reason", "categorical", "Why the walk stopped, as in cluster_annotations.csv;"
                  " empty for cells without a cluster."),
    )


COARSE_CLUSTERS = FileSpec(
    "coarse_clusters.h5ad",
    "The cells with their clusters and labels after annotation. X, layers, obsm, varm, obsp and uns of the"
    " input are kept; X holds the input values as a CSR matrix, never scaled.",
    (
        FieldSpec("obs", "cluster_lvl0", "categorical", "Identifier of the cell's cluster."),
        FieldSpec("obs", "cell_type_auto", "categorical", "Cell type of the cell's cluster."),
        FieldSpec("obs", "cell_type_auto_root", "categorical", "Top-level cell type; A~B if undecided"
        " between two, Unassigned if none passed."),
        FieldSpec("obs", "cell_type_auto_conf", "float64", "Confidence: the least margin along the path, in"
        " score units."),
        FieldSpec("obs", "cell_type_auto_confidence", "float64", "Probability (0 to 1) that the label is right, from"
                  " resampling and calibration; missing where no type was assigned.",
                  condition="calls were resampled"),
        FieldSpec("obs", "cell_type_auto_path", "categorical", "Labels from the top-level type to the"
        " assigned one, joined by ' / '; empty if unassigned."),
        FieldSpec("obs", "cell_type_auto_score", "float64", "Score of the assigned cell type."),
        FieldSpec("obs", "cell_type_auto_ontology_term_id", "categorical", "Cell Ontology identifier of"
                  " the assigned cell type or of its nearest ancestor that has one; empty if none has."),
        *_companions("cell_type_auto"),
        FieldSpec("obs", "annotation", "categorical", "The final label at this point; here equal to"
        " cell_type_auto."),
        FieldSpec("obs", "<marker>_intensity", "float32", "Values of a technical marker (DAPI, Collagen IV,"
        " Beta-actin, or those named with --technical-markers), which is not used for clustering; every"
        " character that is not a letter, digit or underscore becomes '_'.",
                  condition="the technical marker is measured"),
        FieldSpec("uns", "<column>_colors", "colours", "Colours of a column of labels in the order of its categories,"
                  " derived from the hierarchy: the same for a cell type in every data set."),
        FieldSpec("uns", "de_wilcoxon_<layer>", "rank_genes_groups", "Rank-sum test of every cluster against"
        " all other cells on the layer that was used; 'X' for the main matrix.",
                  condition="there are two clusters or more"),
        FieldSpec("uns", "stage_h_params", "mapping", "All parameters in effect: layer, clustering, scoring,"
        " random seed, numbers of cells and variables, versions."),
        FieldSpec("uns", "stage_h_gating_params", "json", "The gates after merging defaults, marker map and"
        " options."),
        FieldSpec("uns", "stage_h_marker_map", "json", "The hierarchy as it was used: for every cell type"
        " its path, level, resolved and missing markers and anti-markers; and the source map."),
        FieldSpec("uns", "stage_h_timestamp", "string", "Time of the annotation, ISO 8601 with UTC offset."),
    ),
)

REFINED = FileSpec(
    "refined.h5ad",
    "The cells after refinement, with all fields of coarse_clusters.h5ad. Absent when refinement was"
    " skipped.",
    (
        FieldSpec("obs", "cluster_lvl1", "categorical", "Identifier after refinement; parts of cluster 3 are"
        " 3:0, 3:1 and so on."),
        FieldSpec("obs", "cell_type_lvl1", "categorical", "Cell type after refinement."),
        FieldSpec("obs", "cell_type_lvl0", "categorical", "Cell type before refinement."),
        FieldSpec("obs", "refinement_action", "categorical", "Last action that changed the cell.",
                  tuple(RefinementAction)),
        FieldSpec("obs", "refinement_iteration", "int", "Iteration that last changed the cell; 0 if none"
        " did."),
        FieldSpec("obs", "refinement_reason", "categorical", "Why the action was taken; empty if none was."),
        FieldSpec("obs", "cell_type_lvl1_conf", "float64", "Confidence after refinement, in score units."),
        FieldSpec("obs", "cell_type_lvl1_path", "categorical", "Path after refinement, joined by ' / '."),
        FieldSpec("obs", "cell_type_lvl1_stability", "float64", "Share (0 to 1) of resamples of the cells in which"
        " the label of the cluster holds; missing where it was not measured."),
        FieldSpec("obs", "cell_type_lvl1_confidence", "float64", "Probability (0 to 1) that the label is right, as"
                  " cell_type_auto_confidence; missing where no type was assigned.",
                  condition="calls were resampled"),
        FieldSpec("obs", "cell_type_lvl1_ontology_term_id", "categorical", "Cell Ontology id of the label or of its"
        " nearest ancestor that has one."),
        *_companions("cell_type_lvl1"),
        FieldSpec("obs", "annotation", "categorical", "The final label; here equal to cell_type_lvl1."),
        FieldSpec("obs", "cluster_lvl1_prev<N>", "categorical", "Identifier before the N-th later refinement command.",
                  condition="a refined file was refined again"),
        FieldSpec("uns", "stage_refine_iteration_<N>", "mapping", "What iteration N did: timestamp,"
        " clusters_processed, subclustered, relabeled, skipped, parameters, and further keys.",
                  condition="at least one iteration ran"),
        FieldSpec("uns", "stage_i_params", "mapping", "All refinement parameters in effect."),
        FieldSpec("uns", "stage_i_summary", "mapping", "Numbers of iterations, clusters, splits and changed"
        " cells, mean confidence before and after, and why refinement ended."),
    ),
)

ALL_FILES: dict[str, FileSpec] = {file.name: file for file in (COARSE_CLUSTERS, REFINED)}
"""All AnnData files of a run by name."""
