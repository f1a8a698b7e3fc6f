"""All parameters of an isoform analysis, one frozen model per block; those of backends are in ``backend_settings``.

A block is addressed on the command line as ``block.key=value`` and in files as a nested mapping.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from cellkey.isoforms.backend_settings import (
    BaselineParameters,
    CorrelationParameters,
    GraphParameters,
    LatentParameters,
    MultiplexParameters,
    SpectralParameters,
    VaeParameters,
    WgcnaParameters,
)
from cellkey.parameters import Parameters

__all__ = [
    "Channels", "EvidenceParameters", "FeatureParameters", "FitParameters", "ModuleParameters", "PrepareParameters",
    "TraitParameters",
]

Channels = Literal["both", "switch", "abundance", "psi", "all"]


class FeatureParameters(Parameters):
    """How counts become features.

    Parameters
    ----------
    pseudocount
        Reads added to every transcript before usage is taken.
    abundance_normalisation
        ``median_of_ratios`` is not pulled by a few strong genes; ``cpm`` is; ``tmm`` trims.
    scale_switch
        Divide every switch coordinate by its standard deviation, so that both channels weigh alike.
    orientation
        Sign of a switch coordinate: by the reference isoform, or by the first of the largest loadings.
    covariates
        Sample columns to regress out; None takes RIN, PMI, mito_mapping_rate and percent_assigned where present.
    residualise_composition
        Regress the covariates out of the log-ratios as well, before coordinates are taken.
    reliability
        Weight of switch features in gene graphs: ``none``, ``estimability`` (minor usage) or ``degradation``.
    """

    pseudocount: float = Field(default=0.5, gt=0)
    abundance_normalisation: Literal["median_of_ratios", "cpm", "tmm"] = "median_of_ratios"
    scale_switch: bool = True
    orientation: Literal["reference", "pivot"] = "reference"
    covariates: tuple[str, ...] | None = None
    residualise_composition: bool = False
    reliability: Literal["none", "estimability", "degradation"] = "none"
    degradation_covariate: str | None = None
    reliability_floor: float = Field(default=0.0, ge=0, le=1)
    reliability_power: float = Field(default=1.0, gt=0)
    min_minor_usage: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _needs_covariate(self) -> Self:
        if self.reliability == "degradation" and self.degradation_covariate is None:
            msg = "reliability 'degradation' needs degradation_covariate, the name of a numeric sample column"
            raise ValueError(msg)
        return self


class ModuleParameters(Parameters):
    """What is told about modules.

    Parameters
    ----------
    eigengene
        ``component``: first right singular vector of z-scored rows, unit norm, mean membership positive.
        ``mean``: plain mean of the rows, kept for comparison.
    hub_kme, hub_top
        A gene is a hub among the ``hub_top`` strongest of its module or at an absolute membership of ``hub_kme``.
    role_threshold, role_fdr
        A channel of a gene is active at this absolute correlation with the eigengene; ``significant_role`` also asks
        for that FDR.
    hidden_factor_share, hidden_factor_covariates
        A component that more features than this share load on, or that follows one of these sample columns, library
        size or RIN, is reported; ``remove_hidden_factors`` regresses such components out.
    """

    eigengene: Literal["component", "mean"] = "component"
    hub_kme: float = Field(default=0.8, ge=0, le=1)
    hub_top: int = Field(default=5, ge=0)
    role_threshold: float = Field(default=0.2, ge=0, le=1)
    role_fdr: float | None = Field(default=0.01, gt=0, le=1)
    hidden_factor_share: float = Field(default=0.5, gt=0, le=1)
    hidden_factor_covariates: tuple[str, ...] = ()
    remove_hidden_factors: bool = False


class TraitParameters(Parameters):
    """Tests of modules against sample columns.

    Parameters
    ----------
    columns
        Traits; None takes all sample columns that are not ids or removed covariates.
    covariates
        Sample columns that enter the linear models beside the trait.
    min_samples
        Least number of complete samples.
    max_levels
        A text column with more levels than this is taken for an identifier and skipped.
    method
        Correlation of numeric traits.
    """

    columns: tuple[str, ...] | None = None
    covariates: tuple[str, ...] = ()
    min_samples: int = Field(default=6, ge=4)
    max_levels: int = Field(default=20, ge=2)
    method: Literal["pearson", "spearman"] = "pearson"
    confidence: float = Field(default=0.95, gt=0, lt=1)


class EvidenceParameters(Parameters):
    """How much of a module is more than chance.

    Parameters
    ----------
    n_null
        Random gene sets of the same size per module for the coherence null; 0 skips it.
    n_resamples
        Fits on resampled samples for the stability of modules; 0 skips them.
    resample
        ``subsample`` draws ``fraction`` of the samples without replacement, ``split`` takes random halves.
    """

    n_null: int = Field(default=200, ge=0)
    n_resamples: int = Field(default=0, ge=0)
    resample: Literal["subsample", "split"] = "subsample"
    fraction: float = Field(default=0.8, gt=0.3, lt=1)


class FitParameters(Parameters):
    """All parameters of a fit; one seed drives everything.

    Parameters
    ----------
    backend
        Name of a registered backend; its own parameters are the block of that name.
    channels
        Which features are built: ``both`` (switch and abundance), ``switch``, ``abundance``, ``psi`` (splicing events
        of the bundle), or ``all`` three.
    trait_columns
        Short form of ``traits.columns``.
    """

    backend: str = "spectral"
    channels: Channels = "both"
    seed: int = Field(default=7, ge=0)
    trait_columns: tuple[str, ...] | None = None
    features: FeatureParameters = FeatureParameters()
    spectral: SpectralParameters = SpectralParameters()
    correlation: CorrelationParameters = CorrelationParameters()
    baseline: BaselineParameters = BaselineParameters()
    latent: LatentParameters = LatentParameters()
    graph: GraphParameters = GraphParameters()
    multiplex: MultiplexParameters = MultiplexParameters()
    vae: VaeParameters = VaeParameters()
    wgcna: WgcnaParameters = WgcnaParameters()
    modules: ModuleParameters = ModuleParameters()
    traits: TraitParameters = TraitParameters()
    evidence: EvidenceParameters = EvidenceParameters()

    @model_validator(mode="before")
    @classmethod
    def _model_is_baseline(cls, values: Any) -> Any:
        """Accept ``model`` as the block of the baseline backend, its original name."""
        if isinstance(values, dict) and "model" in values:
            values = {**values, "baseline": values.get("baseline", values["model"])}
            values.pop("model")
        return values

    def backend_parameters(self) -> Parameters:
        """Return the block of the chosen backend."""
        block: Parameters = getattr(self, self.backend)
        return block

    @property
    def traits_asked(self) -> tuple[str, ...] | None:
        """Trait columns named by the user, or None for all usable ones."""
        return self.traits.columns if self.traits.columns is not None else self.trait_columns


class PrepareParameters(Parameters):
    """How transcript counts become a bundle.

    Parameters
    ----------
    min_count
        A transcript needs this many reads in at least ``min_samples`` samples.
    min_usage
        And this share of its gene's reads in at least ``min_samples`` samples.
    min_samples
        None takes the size of the smallest group of ``group``, else a quarter of the samples (three at least).
    group
        Sample column whose smallest level sets ``min_samples``.
    strip_versions
        Cut ``.<number>`` from transcript and gene ids on all sides.
    read_length
        Reads per coverage unit of StringTie tables (average read length).
    matrix_format
        How matrices are stored: ``dense_npz``, ``sparse_npz`` (counts of cells, mostly zero) or ``parquet`` (named rows
        and columns, for other programs).
    """

    min_count: float = Field(default=10.0, ge=0)
    min_usage: float = Field(default=0.05, ge=0, lt=1)
    min_samples: int | None = Field(default=None, ge=1)
    group: str | None = None
    strip_versions: bool = False
    keep_all: bool = False
    read_length: float = Field(default=75.0, gt=0)
    matrix_format: Literal["dense_npz", "sparse_npz", "parquet"] = "dense_npz"
