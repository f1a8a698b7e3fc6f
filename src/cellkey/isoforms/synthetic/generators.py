"""Generators of synthetic transcript counts; the order of random draws is part of their definition."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.bundle import TRANSCRIPT_COUNTS, Bundle, FeatureKind, make_bundle
from cellkey.isoforms.synthetic.designs import MultiplexDesign, NonlinearDesign, RealisticDesign, SimpleDesign

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ["Design", "generate"]

Array = NDArray[np.float64]
Design = SimpleDesign | RealisticDesign | NonlinearDesign | MultiplexDesign

ISOFORM_NUMBERS = np.array([2, 3, 4, 5])
ISOFORM_PROBABILITIES = np.array([0.45, 0.30, 0.15, 0.10])
ROLES = ("switch_only", "abundance_only", "coupled", "discordant")


def generate(design: Design, *, name: str, suite: str, seed: int) -> Bundle:
    """Return a synthetic bundle with truth tables."""
    rng = np.random.default_rng(seed)
    if isinstance(design, SimpleDesign):
        draft, label = _simple(design, rng), "simple"
    elif isinstance(design, RealisticDesign):
        draft, label = _realistic(design, rng), "realistic"
    elif isinstance(design, NonlinearDesign):
        draft, label = _nonlinear(design, rng), "nonlinear"
    else:
        draft, label = _multiplex(design, rng), "multiplex"
    provenance = {"generator": label, "seed": str(seed)} | {k: str(v) for k, v in asdict(design).items()}
    return draft.bundle(name, suite, provenance)


@dataclass
class _Draft:
    """A data set under construction: one entry per gene, in row order."""

    samples: pd.DataFrame
    chrom: str
    step: int
    width: int
    gene_ids: list[str] = field(default_factory=list)
    counts: list[Array] = field(default_factory=list)
    psi: list[Array] = field(default_factory=list)
    module: list[int | None] = field(default_factory=list)
    role: list[str] = field(default_factory=list)
    with_roles: bool = False

    def add(self, gene: str, counts: Array, module: int | None, role: str) -> None:
        self.gene_ids.append(gene)
        self.counts.append(counts)
        self.module.append(module)
        self.role.append(role)

    def bundle(self, name: str, suite: str, provenance: dict[str, str]) -> Bundle:
        genes = self.gene_ids
        starts = np.arange(len(genes)) * self.step
        numbers = [len(c) for c in self.counts]
        transcripts = pd.DataFrame(
            {
                "transcript_id": [f"{g}_T{j}" for g, k in zip(genes, numbers, strict=True) for j in range(1, k + 1)],
                "gene_id": np.repeat(genes, numbers),
                "length": [1000 - 50 * j for k in numbers for j in range(k)],
            }
        )
        tables = {
            FeatureKind.GENE: pd.DataFrame(
                {"gene_id": genes, "chrom": self.chrom, "start": starts, "end": starts + self.width}
            ),
            FeatureKind.TRANSCRIPT: transcripts,
            FeatureKind.PSI: pd.DataFrame({"psi_uid": [f"PSI_{g}" for g in genes], "gene_id": genes}),
            **self._truth(),
        }
        return make_bundle(
            dataset_name=name,
            suite_name=suite,
            description=f"synthetic data set {name} with known modules",
            samples=self.samples,
            tables=tables,
            provenance=provenance,
            matrices={TRANSCRIPT_COUNTS: np.vstack(self.counts), "psi": np.vstack(self.psi)},
        )

    def _truth(self) -> dict[FeatureKind, pd.DataFrame]:
        planted = [(g, m) for g, m in zip(self.gene_ids, self.module, strict=True) if m is not None]
        switches = [r in ("switch_only", "coupled", "discordant") for r in self.role]
        abundance = [r in ("abundance_only", "coupled", "discordant") for r in self.role]
        truth = {
            FeatureKind.TRUTH_MODULE: pd.DataFrame(
                {"gene_id": [g for g, _ in planted], "module_id": np.array([m for _, m in planted], dtype=np.int64)}
            ),
            FeatureKind.TRUTH_SWITCH: pd.DataFrame({"gene_id": self.gene_ids, "has_switch": switches}),
        }
        if self.with_roles:
            truth[FeatureKind.TRUTH_ABUNDANCE] = pd.DataFrame({"gene_id": self.gene_ids, "has_abundance": abundance})
            truth[FeatureKind.TRUTH_CHANNEL_ROLE] = pd.DataFrame(
                {
                    "gene_id": self.gene_ids,
                    "module_id": pd.array(self.module, dtype="Int64"),
                    "truth_role": self.role,
                    "has_switch": switches,
                    "has_abundance": abundance,
                }
            )
        return truth


def _samples(age: Array, sex: NDArray[np.str_]) -> pd.DataFrame:
    n = len(age)
    return pd.DataFrame(
        {
            "sample_id": [f"S{i:03d}" for i in range(n)],
            "Dx": ["Control"] * (n // 2) + ["SCZD"] * (n - n // 2),
            "Age": age,
            "Sex": sex.astype(object),
        }
    )


def _case(n: int) -> Array:
    return (np.arange(n) >= n // 2).astype(np.float64)


def _standardised(values: Array) -> Array:
    return np.asarray((values - values.mean()) / values.std())


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _people(rng: Generator, n: int) -> tuple[Array, NDArray[np.str_]]:
    age = np.clip(rng.normal(50, 12, n), 25, 85)
    return age, rng.choice(np.array(["F", "M"]), n)


def _numbers(rng: Generator, size: int | None = None) -> NDArray[np.int64]:
    return np.asarray(rng.choice(ISOFORM_NUMBERS, size, p=ISOFORM_PROBABILITIES))


def _dirichlet_columns(rng: Generator, shapes: Array) -> Array:
    draws = rng.gamma(np.maximum(shapes, 1e-6))
    return np.asarray(draws / draws.sum(axis=0, keepdims=True))


def _split(total: Array, share: Array) -> Array:
    """Whole reads per isoform; the last isoform takes the rest."""
    counts = np.floor(total * share)
    counts[-1] = total - counts[:-1].sum(axis=0)
    return counts


def _noisy_psi(rng: Generator, share: Array, sd: float) -> Array:
    return np.clip(share + rng.normal(0, sd, share.shape), 1e-4, 1 - 1e-4)


def _switching_shares(rng: Generator, latent: Array, k: int, concentration: float) -> Array:
    first = _sigmoid(latent)
    mean = np.vstack([first, np.tile((1 - first) / (k - 1), (k - 1, 1))])
    return _dirichlet_columns(rng, concentration * mean)


def _stable_shares(rng: Generator, n: int, k: int, concentration: float) -> Array:
    base = rng.dirichlet(np.full(k, 3.0))
    return _dirichlet_columns(rng, np.tile(concentration * base[:, None], (1, n)))


def _simple(design: SimpleDesign, rng: Generator) -> _Draft:
    genes, n, m = design.n_genes, design.n_samples, design.n_modules
    age = np.linspace(30, 70, n) + rng.normal(0, 2, n)
    sex = np.where(np.arange(n) % 2 == 0, "F", "M")
    latent = rng.normal(0, 1, (m, n))
    latent = (
        latent + _case(n) * np.linspace(0.8, 1.2, m)[:, None] + _standardised(age) * np.linspace(0.4, 0.7, m)[:, None]
    )
    totals = np.maximum(rng.gamma(10, 30, (genes, n)), 1)
    block = math.ceil(genes / m)
    module = np.arange(genes) // block
    share = _sigmoid(latent[module])
    draft = _Draft(_samples(age, sex), "chrSynthetic", 1, 100)
    for g in range(genes):
        first = np.floor(totals[g] * share[g])
        draft.add(f"G{g:04d}", np.vstack([first, totals[g] - first]), int(module[g]), "switch_only")
    draft.psi = [_noisy_psi(rng, share, 0.03)]
    return draft


def _modules_in_order(sizes: tuple[int, ...], n_genes: int) -> list[int | None]:
    planted: list[int | None] = [m for m, size in enumerate(sizes) for _ in range(size)]
    return planted + [None] * (n_genes - len(planted))


def _realistic_genes(
    draft: _Draft, rng: Generator, design: RealisticDesign | NonlinearDesign, latent: Array, numbers: NDArray[np.int64]
) -> None:
    n = design.n_samples
    first_shares = []
    for g, module in enumerate(_modules_in_order(design.module_sizes, design.n_genes)):
        k = int(numbers[g])
        mean = rng.gamma(design.shape, design.mean_total / design.shape, n)
        total = np.maximum(rng.poisson(mean), k).astype(np.float64)
        if module is None:
            shares = _stable_shares(rng, n, k, design.background_concentration)
        else:
            shares = _switching_shares(rng, latent[module], k, design.switch_concentration)
        counts = _split(total, shares)
        draft.add(f"G{g:04d}", counts, module, "background" if module is None else "switch_only")
        first_shares.append(counts[0] / np.maximum(total, 1))
    draft.psi = [_noisy_psi(rng, share, 0.02) for share in first_shares]


def _latent(rng: Generator, design: RealisticDesign | MultiplexDesign, m: int, age: Array) -> Array:
    """Values of ``m`` modules: noise, the diagnosis, age, and one confounder that all share."""
    n = len(age)
    latent = rng.normal(0, 1, (m, n))
    dx = rng.uniform(*design.dx_range, m)
    by_age = rng.uniform(*design.age_range, m)
    confounder = rng.normal(0, 1, n)
    latent = latent + dx[:, None] * _case(n) + by_age[:, None] * _standardised(age)
    return np.asarray(latent + design.confounder_weight * confounder)


def _realistic(design: RealisticDesign, rng: Generator) -> _Draft:
    age, sex = _people(rng, design.n_samples)
    numbers = _numbers(rng, design.n_genes)
    latent = _latent(rng, design, len(design.module_sizes), age)
    draft = _Draft(_samples(age, sex), "chrRealistic", 1000, 500)
    _realistic_genes(draft, rng, design, latent, numbers)
    return draft


def _nonlinear(design: NonlinearDesign, rng: Generator) -> _Draft:
    n, m = design.n_samples, len(design.module_sizes)
    age, sex = _people(rng, n)
    f1 = rng.normal(0, 0.8, n) + 1.5 * _case(n)
    f2 = rng.normal(0, 0.8, n) + 1.2 * _standardised(age)
    confounder = rng.normal(0, 1, n)
    radius, product = f1**2 + f2**2, f1 * f2
    threshold = np.percentile(np.abs(product), 65)
    masks = (
        radius < np.percentile(radius, 35),
        radius > np.percentile(radius, 65),
        product > threshold,
        product < -threshold,
    )
    latent = np.empty((m, n))
    for j in range(m):
        if j < design.n_nonlinear_modules:
            latent[j] = 2.5 * masks[j % 4] + rng.normal(0, 0.15, n) + design.confounder_weight * confounder
        else:
            latent[j] = rng.uniform(0.5, 1.0) * f1 + rng.uniform(0.5, 1.0) * f2 + rng.normal(0, 0.15, n)
    numbers = _numbers(rng, design.n_genes)
    draft = _Draft(_samples(age, sex), "chrNonlinear", 1000, 500)
    _realistic_genes(draft, rng, design, latent, numbers)
    return draft


def _multiplex_plan(design: MultiplexDesign) -> list[tuple[str, int | None, str]]:
    plan: list[tuple[int | None, str]] = [
        (module, role)
        for module in range(design.n_modules)
        for role, number in zip(ROLES, design.roles, strict=True)
        for _ in range(number)
    ]
    plan += [(None, "background")] * (design.n_genes - len(plan))
    return [(f"G{i:04d}", module, role) for i, (module, role) in enumerate(plan)]


def _multiplex(design: MultiplexDesign, rng: Generator) -> _Draft:
    n = design.n_samples
    age, sex = _people(rng, n)
    latent = _latent(rng, design, design.n_modules, age)
    latent = (latent - latent.mean(axis=1, keepdims=True)) / latent.std(axis=1, keepdims=True)
    plan = _multiplex_plan(design)
    rng.shuffle(plan)
    draft = _Draft(_samples(age, sex), "chrMultiplex", 1000, 500, with_roles=True)
    for gene, module, role in plan:
        counts = _multiplex_gene(design, rng, None if module is None else latent[module], role, n)
        draft.add(gene, counts, module, role)
        draft.psi.append(np.clip(counts[0] / np.maximum(counts.sum(axis=0), 1), 1e-4, 1 - 1e-4))
    return draft


def _multiplex_gene(design: MultiplexDesign, rng: Generator, latent: Array | None, role: str, n: int) -> Array:
    single = {"abundance_only": design.single_abundance, "background": design.single_background}.get(role)
    k = 1 if single is not None and rng.random() < single else int(_numbers(rng))
    mean = np.full(n, rng.lognormal(math.log(design.mean_total) - 0.5 * 0.35**2, 0.35))
    if latent is not None and role in ("abundance_only", "coupled"):
        mean = mean * np.exp(design.abundance_effect * latent)
    elif latent is not None and role == "discordant":
        mean = mean * np.exp(-design.abundance_effect * latent)
    total = np.maximum(rng.poisson(rng.gamma(design.shape, mean / design.shape)), k).astype(np.float64)
    if latent is not None and role != "abundance_only":
        shares = _switching_shares(rng, design.switch_effect * latent, k, design.switch_concentration)
    elif k == 1:
        shares = np.ones((1, n))
    else:
        shares = _stable_shares(rng, n, k, design.stable_concentration)
    return _split(total, shares)
