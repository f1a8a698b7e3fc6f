"""The pipeline: settings and programs once, then any number of cluster means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellkey.annotation.registry import METHODS
from cellkey.calls.route_table import route_table
from cellkey.compat.hierannot.fit import diagnostics_table
from cellkey.compat.hierannot.programs import MarkerProgram, as_hierarchy, as_programs, compile_programs
from cellkey.compat.hierannot.result import (
    HierAnnotResult,
    all_scores_table,
    compilation_report,
    control_genes,
    level_scores_table,
)
from cellkey.errors import ParameterError, did_you_mean
from cellkey.hierarchy.resolution import Resolution
from cellkey.profiles.means import ClusterMeans, means_from_table
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import route_branches
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.enrichment_settings import RELEASED, EnrichmentScoring
from cellkey.scoring.key import MeasuredKey, measure_key
from cellkey.scoring.marker_sets import effective_markers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.scoring.evidence import Evidence

__all__ = ["HierAnnotPipeline", "exact_key"]

_POLICIES = {"all_pipeline_markers": "all_markers", "current_program_only": "own_markers", "current_branch": "branch"}


class HierAnnotPipeline:
    """Score cluster means against marker programs and route every cluster.

    Numbers are those of the published 0.7 release unless ``method="enrichment"`` asks for cellkey's own rules.
    Control genes that the release draws at random come from streams of their own, so that a fit repeats and
    does not depend on the order of genes, clusters or programs.

    Parameters
    ----------
    root_programs
        Marker programs without a parent.
    input_type
        ``raw_cluster_means`` or ``normalized``.
    scale_factor
        Sum of a cluster after scaling.
    preset
        ``auto``, ``small_panel``, ``medium_panel`` or ``large_panel``; the settings that are None follow it.
    n_bins, control_size_fallbacks, min_bulk_expr_for_control, control_gene_exclusion_policy
        How control genes are chosen.
    ctrl_size
        Stored for the record; the preset's sizes decide.
    min_markers_present, min_marker_fraction
        Measured markers that a program needs.
    score_threshold, margin_threshold, min_branch_supported_raw_score, min_leaf_raw_score
        Gates of the walk.
    branch_child_rescue_weight, level1_branch_child_rescue_weight
        Share of the best child in the support of its parent.
    negative_weight
        Weight of negative markers.
    uppercase_genes
        Turn gene names, and names of markers, into upper case.
    exclude_all_marker_genes_from_controls
        True and False stand for two of the exclusion policies and go before them.
    random_state
        Seed of drawn controls.
    child_marker_strategy, root_marker_strategy, fallback_to_canonical_if_sparse
        Which markers are scored.
    collapse_low_expr_tail, low_expr_threshold, detection_floor, delta_clip_quantile
        Replace those of the preset; a clip quantile outside (0, 1) switches clipping off.
    branch_routing_raw_weight, weak_raw_score_threshold
        Raw enrichment against sibling specificity.
    method
        ``hierannot-0.7`` or ``enrichment``.
    """

    def __init__(
        self,
        root_programs: Sequence[MarkerProgram],
        input_type: str = "raw_cluster_means",
        scale_factor: float = 1e4,
        preset: str = "auto",
        n_bins: int | None = None,
        ctrl_size: int = 25,
        control_size_fallbacks: Sequence[int] | None = None,
        min_bulk_expr_for_control: float | None = None,
        control_gene_exclusion_policy: str | None = None,
        min_markers_present: int = 2,
        min_marker_fraction: float = 0.3,
        score_threshold: float = 0.05,
        margin_threshold: float = 0.02,
        branch_child_rescue_weight: float = 0.35,
        level1_branch_child_rescue_weight: float = 0.40,
        negative_weight: float = 0.5,
        uppercase_genes: bool = True,
        exclude_all_marker_genes_from_controls: bool | None = None,
        random_state: int | None = 0,
        child_marker_strategy: str = "subtract_direct_parent",
        root_marker_strategy: str = "none",
        fallback_to_canonical_if_sparse: bool = True,
        collapse_low_expr_tail: bool | None = None,
        low_expr_threshold: float | None = None,
        detection_floor: float | None = None,
        delta_clip_quantile: float | None = None,
        branch_routing_raw_weight: float = 0.60,
        weak_raw_score_threshold: float = 0.10,
        min_branch_supported_raw_score: float = 0.0,
        min_leaf_raw_score: float = -0.2,
        *,
        method: Literal["hierannot-0.7", "enrichment"] = "hierannot-0.7",
    ) -> None:
        self.input_type = input_type
        self.scale_factor = float(scale_factor)
        self.uppercase_genes = bool(uppercase_genes)
        self.ctrl_size = int(ctrl_size)
        self.preset = preset
        self.method = method
        if isinstance(root_programs, MarkerProgram):
            msg = "root_programs is a single MarkerProgram; give a list of roots"
            raise TypeError(msg)
        self.hierarchy: Hierarchy = as_hierarchy(root_programs, uppercase=uppercase_genes)
        policy = control_gene_exclusion_policy
        if exclude_all_marker_genes_from_controls is not None:
            policy = "all_pipeline_markers" if exclude_all_marker_genes_from_controls else "current_program_only"
        given: dict[str, Any] = {
            "preset": _preset(preset), "n_bins": n_bins,
            "control_sizes": None if control_size_fallbacks is None else tuple(int(k) for k in control_size_fallbacks),
            "control_exclusion": _policy(policy), "min_control_mean": min_bulk_expr_for_control,
            "min_markers_present": min_markers_present, "min_marker_fraction": min_marker_fraction,
            "child_rescue": branch_child_rescue_weight, "root_child_rescue": level1_branch_child_rescue_weight,
            "negative_weight": negative_weight, "seed": random_state,
            "child_marker_strategy": child_marker_strategy, "root_marker_strategy": root_marker_strategy,
            "fall_back_to_listed": fallback_to_canonical_if_sparse, "collapse_low_tail": collapse_low_expr_tail,
            "low_expression_limit": low_expr_threshold, "detection_floor": detection_floor,
            "clip_quantile": _clip(delta_clip_quantile), "raw_weight": branch_routing_raw_weight,
            "weak_raw_score": weak_raw_score_threshold,
        }
        chosen = METHODS[method]
        if control_size_fallbacks is not None:
            given["controls"] = "drawn"
        self.scoring: EnrichmentScoring = chosen.parameters({**chosen.defaults.model_dump(), **given})
        self.routing = BranchGating.parse({
            **chosen.routing, "score_threshold": score_threshold, "margin_threshold": margin_threshold,
            "min_branch_supported_raw_score": min_branch_supported_raw_score,
            "min_leaf_raw_score": min_leaf_raw_score,
        })
        effective = effective_markers(
            self.hierarchy, roots=self.scoring.root_marker_strategy, children=self.scoring.child_marker_strategy
        )
        self.compiled_programs = compile_programs(
            self.hierarchy, effective, root_marker_strategy, child_marker_strategy
        )
        self.compilation_report: pd.DataFrame | None = None

    def fit_score(self, expr: pd.DataFrame) -> HierAnnotResult:
        """Score and route the clusters of a genes x clusters table.

        Raises
        ------
        TypeError
            If ``expr`` is no table or holds values that are not numbers.
        InputError
            If it is empty or cannot be used.
        """
        import pandas as pd

        released = self.method == RELEASED
        means = means_from_table(
            expr, input_type=self.input_type, scale_factor=self.scale_factor, uppercase=self.uppercase_genes,
            duplicates="mean" if released else "sum", keep_negative=not released,
        )
        evidence = self._score(means, released)
        routes = route_branches(evidence, self.routing)
        annotations = route_table(routes, candidate_by="decision" if released else "branch")
        scores = all_scores_table(evidence)
        config = self._resolved_config(evidence)
        self.compilation_report = compilation_report(evidence)
        return HierAnnotResult(
            cluster_annotations=annotations,
            level_scores=level_scores_table(scores),
            all_scores=scores,
            normalized_matrix=pd.DataFrame(means.values.T, index=means.genes, columns=list(means.groups)),
            control_gene_map=control_genes(evidence),
            compiled_programs=self.compiled_programs,
            compilation_report=self.compilation_report,
            diagnostics_summary=diagnostics_table(annotations, scores, config, count_unresolved=not released),
            resolved_config=config,
            hierarchy=as_programs(self.hierarchy),
        )

    def _score(self, means: ClusterMeans, released: bool) -> Evidence:
        key = exact_key(self.hierarchy, means) if released else measure_key(self.hierarchy, means.genes)
        return score_enrichment(means, key, self.scoring)

    def _resolved_config(self, evidence: Evidence) -> dict[str, Any]:
        panel, p, g = evidence.details.panel, self.scoring, self.routing
        policies = {v: k for k, v in _POLICIES.items()}
        return {
            "requested_preset": self.preset, "resolved_preset": f"{panel.preset}_panel",
            "panel_gene_count": panel.n_genes, "low_expr_fraction": panel.low_share,
            "low_expr_threshold": panel.low_limit, "n_bins": panel.n_bins,
            "control_size_fallbacks": list(panel.control_sizes),
            "control_gene_exclusion_policy": policies[panel.control_exclusion],
            "min_bulk_expr_for_control": p.min_control_mean, "collapse_low_expr_tail": panel.collapse_low_tail,
            "detection_floor_quantile": panel.detection_quantile, "detection_floor": panel.detection_floor,
            "delta_clip_quantile": panel.clip_quantile, "ctrl_size": self.ctrl_size,
            "negative_weight": p.negative_weight, "child_marker_strategy": p.child_marker_strategy,
            "root_marker_strategy": p.root_marker_strategy,
            "fallback_to_canonical_if_sparse": p.fall_back_to_listed, "score_threshold": g.score_threshold,
            "margin_threshold": g.margin_threshold, "branch_child_rescue_weight": p.child_rescue,
            "level1_branch_child_rescue_weight": p.root_child_rescue, "branch_routing_raw_weight": p.raw_weight,
            "weak_raw_score_threshold": p.weak_raw_score,
            "min_branch_supported_raw_score": g.min_branch_supported_raw_score,
            "min_leaf_raw_score": g.min_leaf_raw_score,
            "method": self.method, "input_type": self.input_type, "scale_factor": self.scale_factor,
            "random_state": p.seed, "min_markers_present": p.min_markers_present,
            "min_marker_fraction": p.min_marker_fraction, "uppercase_genes": self.uppercase_genes,
        }


# Whoever asks for the help of the constructor, as the article says, finds the settings there as well.
HierAnnotPipeline.__init__.__doc__ = HierAnnotPipeline.__doc__


def exact_key(hierarchy: Hierarchy, means: ClusterMeans | None = None) -> MeasuredKey:
    """Return the hierarchy measured by exact names only, as published; without means nothing is measured."""
    genes = np.array([], dtype=object) if means is None else means.genes
    measured = set(genes.astype(str))
    listed = hierarchy.all_markers()
    found = {m: m for m in listed if m in measured}
    missing = tuple(m for m in listed if m not in measured)
    resolution = Resolution(listed, found, dict.fromkeys(found, "exact"), missing, len(genes))
    return measure_key(hierarchy, genes, resolution=resolution)


def _preset(name: str) -> str:
    known = ("auto", "small_panel", "medium_panel", "large_panel")
    short = str(name).removesuffix("_panel")
    if f"{short}_panel" not in known and name != "auto":
        msg = f"preset {name!r} is unknown{did_you_mean(str(name), known)}; it is one of {', '.join(known)}"
        raise ParameterError(msg)
    return short


def _policy(name: str | None) -> str | None:
    if name is None:
        return None
    if name not in _POLICIES:
        msg = f"control_gene_exclusion_policy {name!r} is unknown{did_you_mean(name, _POLICIES)}"
        raise ParameterError(msg)
    return _POLICIES[name]


def _clip(quantile: float | None) -> float | None:
    if quantile is None:
        return None
    return quantile if 0 < quantile < 1 else 1.0
