"""Parameters of the backends, one frozen model each."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cellkey.parameters import Parameters

__all__ = [
    "BaselineParameters",
    "CorrelationParameters",
    "GeneGraphParameters",
    "GraphParameters",
    "LatentParameters",
    "MultiplexParameters",
    "SpectralParameters",
    "VaeParameters",
    "WgcnaParameters",
]


class SpectralParameters(Parameters):
    """Modules from cross-validated subspaces; one setting serves all data sets.

    Parameters
    ----------
    n_permutations
        Row-permuted copies that a component must beat.
    max_rank
        Components per channel at most.
    n_folds, n_fold_repeats, row_fdr
        Rows are kept when their communality with a subspace fitted on other rows, averaged over this many random
        partitions into folds, passes this FDR. In pure noise this gate is what protects. None takes 25 partitions,
        down to 5 for channels of more than 4,000 rows, where they agree and cost more.
    max_extra_components
        Components added in the second pass, which separates small modules.
    min_cosine
        Least cosine of two projected rows that makes an edge.
    resolution, min_module_size
        Leiden resolution (modularity) and least number of genes of a module.
    attach_fdr, attach_lead, attach_rounds
        Unassigned genes join a module at this FDR when they lead over the second module by this much.
    merge_correlation
        Merge modules whose eigengenes correlate above this; None never merges.
    max_edges
        Where more pairs pass the threshold, every feature keeps its strongest partners, as many as fit.
    """

    n_permutations: int = Field(default=20, ge=1)
    max_rank: int = Field(default=60, ge=1)
    n_folds: int = Field(default=5, ge=2)
    n_fold_repeats: int | None = Field(default=None, ge=1)
    row_fdr: float = Field(default=0.01, gt=0, lt=1)
    max_extra_components: int = Field(default=5, ge=0)
    min_cosine: float = Field(default=0.85, gt=0, le=1)
    resolution: float = Field(default=1.0, gt=0)
    min_module_size: int = Field(default=5, ge=2)
    attach_fdr: float = Field(default=0.01, gt=0, lt=1)
    attach_lead: float = Field(default=0.1, ge=0)
    attach_rounds: int = Field(default=3, ge=0)
    merge_correlation: float | None = Field(default=None, gt=0, le=1)
    max_edges: int = Field(default=1_000_000, ge=1000)


class CorrelationParameters(Parameters):
    """Plain correlation network: edges where one false pair is expected by chance, then Leiden."""

    expected_false_pairs: float = Field(default=1.0, gt=0)
    resolution: float = Field(default=1.0, gt=0)
    min_module_size: int = Field(default=5, ge=2)
    merge_correlation: float | None = Field(default=None, gt=0, le=1)
    max_edges: int = Field(default=1_000_000, ge=1000)


class GeneGraphParameters(Parameters):
    """Rules that turn a similarity of features into a graph of genes.

    Parameters
    ----------
    alpha
        Least absolute similarity of an edge; ``alpha_switch`` and ``alpha_abundance`` replace it within a channel.
    allow_abundance_abundance
        Whether two abundance features may join genes. None means yes exactly when ``alpha_abundance`` or
        ``alpha_abundance_grid`` is given.
    alpha_switch_grid
        Candidates, of which the smallest is taken at which the switch graph has no component of 30 % or more of its
        genes; the sweep is in ``calibration.json``.
    alpha_abundance_grid
        Candidates, of which the smallest is taken that fuses no modules of the graph without abundance edges.
    leiden_resolution
        Leiden communities (RB configuration) at this resolution; None takes connected components.
    """

    alpha: float = Field(default=0.12, ge=0)
    alpha_switch: float | None = Field(default=None, ge=0)
    alpha_abundance: float | None = Field(default=None, ge=0)
    alpha_switch_grid: tuple[float, ...] | None = None
    alpha_abundance_grid: tuple[float, ...] | None = None
    allow_abundance_abundance: bool | None = None
    min_module_size: int = Field(default=3, ge=1)
    leiden_resolution: float | None = Field(default=None, gt=0)
    grey_min_intra_degree: int | None = Field(default=None, ge=1)

    @property
    def joins_abundance(self) -> bool:
        """Whether edges between abundance features are made."""
        if self.allow_abundance_abundance is not None:
            return self.allow_abundance_abundance
        return self.alpha_abundance is not None or self.alpha_abundance_grid is not None

    @model_validator(mode="after")
    def _grid_implies_edges(self) -> Self:
        if self.allow_abundance_abundance is False and self.alpha_abundance_grid is not None:
            msg = "alpha_abundance_grid asks for abundance edges, allow_abundance_abundance=false forbids them"
            raise ValueError(msg)
        return self


class BaselineParameters(GeneGraphParameters):
    """Partial correlations of a Ledoit-Wolf covariance."""


class LatentParameters(GeneGraphParameters):
    """Partial correlations of what a factor analysis per channel explains.

    Parameters
    ----------
    n_components_grid
        Candidate numbers of factors, chosen by held-out log-likelihood; None takes ``n_components``.
    max_iter, tol
        Iterations and tolerance of the factor analysis.
    """

    alpha: float = Field(default=0.10, ge=0)
    min_module_size: int = Field(default=2, ge=1)
    n_components: int = Field(default=10, ge=1)
    n_components_grid: tuple[int, ...] | None = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)
    max_iter: int = Field(default=1000, ge=1)
    tol: float = Field(default=1e-4, gt=0)


class GraphParameters(LatentParameters):
    """The latent backend on features smoothed over a graph of features.

    Parameters
    ----------
    gamma
        Strength of smoothing; 0 gives the latent backend.
    corr_threshold
        Least absolute correlation of an edge.
    edge_types
        ``corr`` for correlations, ``same_gene`` for the two channels of one gene.
    normalized_laplacian
        Scale edges by the degrees of their ends.
    """

    gamma: float = Field(default=0.5, ge=0)
    corr_threshold: float = Field(default=0.3, ge=0, le=1)
    edge_types: tuple[Literal["corr", "same_gene"], ...] = ("corr",)
    normalized_laplacian: bool = True


class MultiplexParameters(GraphParameters):
    """The graph backend with edges inside both channels; the abundance threshold is chosen from a grid."""

    alpha: float = Field(default=0.02, ge=0)
    alpha_switch: float | None = Field(default=0.02, ge=0)
    alpha_abundance_grid: tuple[float, ...] | None = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
    gamma: float = Field(default=0.3, ge=0)


class WgcnaParameters(Parameters):
    """Weighted co-expression network, topological overlap, dynamic hybrid tree cut.

    Parameters
    ----------
    engine
        ``native``, or ``r`` for R's package of the same name as a cross-check (needs Rscript with WGCNA).
    network_type
        ``signed``: anti-correlated features are far apart; ``unsigned``; ``signed_hybrid``.
    power
        Soft-thresholding power; None takes the first of ``powers`` whose connectivity is scale-free to
        ``min_scale_free_r2`` with a falling slope. Where none does: ``power_fallback``, either ``best_fit``, the power
        that comes closest, or ``samples``, the authors' advice by number of samples (signed 18, 16, 14, 12 and others
        half of it, below 20, 30, 40 samples and from there on).
    max_block_size
        Features per block. 5,000 features take about 0.3 GB, 20,000 about 2 GB.
    min_module_size, deep_split, cut_height
        Least number of features of a module, sensitivity 0 to 4, and the height above which no merge counts.
    pam_stage, pam_respects_tree
        Give left-over features to the nearest module, among those of their own branch.
    merge_cut_height
        Modules whose eigengenes are closer than this (one minus correlation) are merged.
    min_adjacency
        Least adjacency of a listed edge.
    timeout
        Seconds that R may take.
    """

    engine: Literal["native", "r"] = "native"
    network_type: Literal["signed", "unsigned", "signed_hybrid"] = "signed"
    power: int | None = Field(default=None, ge=1, le=50)
    powers: tuple[int, ...] = tuple(range(1, 21))
    min_scale_free_r2: float = Field(default=0.85, ge=0, le=1)
    power_fallback: Literal["best_fit", "samples"] = "best_fit"
    max_block_size: int = Field(default=5000, ge=50)
    min_module_size: int = Field(default=20, ge=2)
    deep_split: int = Field(default=2, ge=0, le=4)
    cut_height: float | None = Field(default=0.995, gt=0, le=1)
    pam_stage: bool = True
    pam_respects_tree: bool = True
    merge_cut_height: float = Field(default=0.25, ge=0, le=2)
    min_adjacency: float = Field(default=0.1, gt=0, le=1)
    max_edges: int = Field(default=1_000_000, ge=1000)
    timeout: float = Field(default=600.0, gt=0)


class VaeParameters(GeneGraphParameters):
    """Correlations of what a variational autoencoder reconstructs (needs torch).

    Parameters
    ----------
    latent_dim, latent_dim_grid
        Latent dimensions; from a grid the first is taken beyond which the reconstruction improves by less than 0.01.
    hidden_dim, n_hidden_layers
        Width of the first layer, halved in every further one.
    beta, warmup
        Weight of the divergence term (its mean over dimensions) and epochs until it is reached; None takes a quarter.
    n_epochs, patience, learning_rate, weight_decay, grad_clip_norm
        Training; it stops when the loss of the validation samples has not improved for ``patience`` epochs.
    batch_size
        None takes all samples at once, or up to 64 when there are more than 2,000 features.
    scale_inputs
        Z-score features before training.
    center_across_features
        Centre reconstructions across features as well, as one published release did; it fuses modules.
    device
        ``cpu`` or ``cuda`` (a torch with CUDA). Weights are drawn from the seed of each device, so modules agree, but
        not numbers; explanations need neither torch nor a GPU.
    """

    alpha: float = Field(default=0.70, ge=0)
    min_module_size: int = Field(default=2, ge=1)
    latent_dim: int = Field(default=8, ge=1)
    latent_dim_grid: tuple[int, ...] | None = None
    hidden_dim: int = Field(default=128, ge=2)
    n_hidden_layers: int = Field(default=2, ge=1)
    beta: float = Field(default=0.5, ge=0)
    warmup: int | None = Field(default=None, ge=1)
    n_epochs: int = Field(default=500, ge=1)
    patience: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-5, ge=0)
    grad_clip_norm: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    scale_inputs: bool = False
    center_across_features: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
