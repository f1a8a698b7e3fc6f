"""Parameters of the synthetic generators, one frozen value per kind of data set."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MultiplexDesign", "NonlinearDesign", "RealisticDesign", "SimpleDesign"]

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SimpleDesign:
    """Two transcripts per gene, every gene switches, contiguous modules of equal size."""

    n_genes: int
    n_samples: int
    n_modules: int


@dataclass(frozen=True, slots=True)
class RealisticDesign:
    """Two to five transcripts per gene, over-dispersed totals, a background of genes that do not switch.

    Parameters
    ----------
    module_sizes
        Switching genes per module; they come first in gene order.
    shape
        Shape of the gamma distribution of gene totals; larger is less noisy.
    confounder_weight
        Weight of one latent factor common to all modules.
    switch_concentration, background_concentration
        Dirichlet concentration of usage in switching and other genes; smaller is noisier.
    """

    n_genes: int
    n_samples: int
    module_sizes: tuple[int, ...]
    shape: float
    confounder_weight: float
    dx_range: Range
    age_range: Range
    switch_concentration: float
    background_concentration: float
    mean_total: float = 300.0


@dataclass(frozen=True, slots=True)
class NonlinearDesign:
    """Modules driven by products and radii of two factors, which no single factor explains."""

    n_genes: int
    n_samples: int
    module_sizes: tuple[int, ...]
    shape: float = 5.0
    confounder_weight: float = 0.2
    n_nonlinear_modules: int = 4
    switch_concentration: float = 20.0
    background_concentration: float = 100.0
    mean_total: float = 300.0


@dataclass(frozen=True, slots=True)
class MultiplexDesign:
    """Modules that hold genes of four roles, in usage only, expression only, or both.

    Parameters
    ----------
    roles
        Genes per module that are switch_only, abundance_only, coupled, discordant.
    single_abundance, single_background
        Probability that an abundance_only or background gene has exactly one transcript.
    """

    n_genes: int
    n_samples: int
    n_modules: int
    roles: tuple[int, int, int, int]
    switch_effect: float
    abundance_effect: float
    shape: float
    confounder_weight: float
    switch_concentration: float
    stable_concentration: float
    dx_range: Range = (0.35, 0.95)
    age_range: Range = (0.15, 0.45)
    single_abundance: float = 0.30
    single_background: float = 0.20
    mean_total: float = 300.0
