"""Known biology shows in real data, and permuted traits show nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from cellkey.isoforms.fitting import Fit, fit
from cellkey.isoforms.prepare import prepare_bundle
from cellkey.isoforms.quantification import read_transcript_counts
from cellkey.isoforms.settings import PrepareParameters
from cellkey.isoforms.traits import associate_traits

if TYPE_CHECKING:
    from pathlib import Path

    from cellkey.isoforms.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.real_data]


def _bundle(folder: Path, name: str, group: str) -> Bundle:
    counts = read_transcript_counts(folder / f"isoform_{name}.h5ad")
    return prepare_bundle(counts, parameters=PrepareParameters(group=group), name=name).bundle


@pytest.fixture(scope="module")
def macrophage(labelled_data: Path) -> Fit:
    """Fit of 24 macrophage samples: 6 donors, with and without interferon gamma and Salmonella."""
    return fit(_bundle(labelled_data, "macrophage", "condition"), {"evidence": {"n_null": 20}})


def _effects(found: Fit, symbol: str, trait: str) -> tuple[float, float]:
    """r of the trait with the gene's expression as its module tells it, and the q value of the module."""
    genes = found.bundle.tables["gene"]
    gene = genes.loc[genes["gene_name"] == symbol, "gene_id"].iloc[0]
    module = found.modules.module_of[gene]
    roles = found.roles.set_index("gene_id").loc[gene]
    test = found.traits.tests.set_index(["module_id", "trait"]).loc[(module, trait)]
    return float(test["effect"] * np.sign(roles["abundance_r"])), float(test["qvalue"])


@pytest.mark.parametrize("symbol", ["CXCL9", "GBP1", "GBP5", "STAT1", "HLA-DRA"])
def test_interferon_genes_rise_with_interferon(macrophage: Fit, symbol: str) -> None:
    """The module of a gene that only interferon gamma induces follows it, in the right direction."""
    effect, q = _effects(macrophage, symbol, "IFNg")
    assert effect > 0.7
    assert q <= 1e-4


@pytest.mark.parametrize("symbol", ["IDO1", "CXCL10", "TAP1"])
def test_genes_that_both_stimuli_induce_rise_with_the_condition(macrophage: Fit, symbol: str) -> None:
    """Infection induces these genes too, so either module may hold them; both follow the condition."""
    effect, _ = _effects(macrophage, symbol, "IFNg")
    assert effect > 0.5
    genes = macrophage.bundle.tables["gene"].set_index("gene_name")["gene_id"]
    module = macrophage.modules.module_of[genes[symbol]]
    tests = macrophage.traits.tests.set_index(["module_id", "trait"])
    assert tests.loc[(module, "condition"), "qvalue"] <= 1e-4


@pytest.mark.parametrize("symbol", ["IL1B", "IL6"])
def test_inflammatory_genes_rise_with_salmonella(macrophage: Fit, symbol: str) -> None:
    """The module of the gene follows the infection, in the right direction."""
    effect, q = _effects(macrophage, symbol, "salmonella")
    assert effect > 0.5
    assert q <= 1e-3


def test_permuted_traits_show_nothing(macrophage: Fit) -> None:
    """With permuted conditions at most 5 % of the modules pass q <= 0.05 on average."""
    profiles = {m: e.values for m, e in macrophage.eigengenes.items()}
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        order = rng.permutation(len(macrophage.bundle.samples))
        shuffled = macrophage.bundle.samples.iloc[order].reset_index(drop=True)
        tests = associate_traits(profiles, shuffled, columns=["IFNg", "salmonella"]).tests
        shares.append(tests.groupby("module_id")["qvalue"].min().le(0.05).mean())
    assert np.mean(shares) <= 0.05


def test_neuron_clusters_have_modules(labelled_data: Path) -> None:
    """Modules of single neurons tell their clusters apart."""
    found = fit(_bundle(labelled_data, "tasic", "cluster"), {"evidence": {"n_null": 0}})
    tests = found.traits.tests
    clusters = tests[(tests["trait"] == "cluster") & (tests["test"] == "anova")]
    assert (clusters["qvalue"] <= 0.01).any()


def test_seven_samples_are_answered_honestly(labelled_data: Path) -> None:
    """Seven samples do not carry modules, and the fit says so instead of inventing them."""
    found = fit(_bundle(labelled_data, "pasilla", "condition"), {"evidence": {"n_null": 0}})
    assert len(found.modules) == 0
    assert any("no module was found" in note for note in found.notes)
