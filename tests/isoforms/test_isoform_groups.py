"""One network per group of samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellkey.errors import BundleError, NothingToDoError
from cellkey.isoforms.bundle import Bundle
from cellkey.isoforms.fitting import fit_parameters
from cellkey.isoforms.gene_sets import enrich_fit
from cellkey.isoforms.grouped import fit_directories, fit_groups
from cellkey.isoforms.synthetic import simulate


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Two tissues with the same modules, a third with two samples, a sample without one."""
    bundle = simulate("realistic_v1")
    tissue = np.array(["liver", "lung/left"] * 80, dtype=object)
    tissue[:2], tissue[2] = "eye", None
    return replace(bundle, samples=bundle.samples.assign(tissue=tissue))


@pytest.fixture(scope="module")
def groups(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of the tissues."""
    root = tmp_path_factory.mktemp("groups")
    fit_groups(bundle, fit_parameters({"evidence": {"n_null": 0}}), "tissue", root)
    return root


def test_every_group_is_fitted_or_skipped_with_a_reason(groups: Path) -> None:
    """Names of groups become folders that stay inside the directory."""
    table = pd.read_parquet(groups / "groups.parquet").set_index("group")
    assert list(table.index) == ["eye", "liver", "lung/left"]
    assert table.loc["eye", "skipped"] == "fewer than 10 samples"
    assert list(table["n_samples"]) == [2, 78, 79]
    assert [d.name for d in fit_directories(groups)] == ["liver", "lung_left"]
    assert (groups / "lung_left" / "fit_config.json").is_file()
    assert list(table["n_modules"]) == [0, 5, 5]


def test_modules_of_two_groups_are_matched(groups: Path) -> None:
    """The five planted modules of one tissue meet those of the other."""
    overlap = pd.read_parquet(groups / "module_overlap.parquet")
    strong = overlap[overlap["jaccard"] > 0.9]
    assert len(strong) == 5
    assert strong["module_id"].is_unique
    assert strong["other_module_id"].is_unique
    assert (strong["qvalue"] < 1e-10).all()


def test_enrichment_of_every_group(groups: Path) -> None:
    """Gene sets are tested in each network."""
    genes = pd.read_parquet(groups / "liver" / "modules.parquet")
    own = frozenset(genes["gene_id"][genes["module_id"] == "M000"])
    table = enrich_fit(groups, {"planted": own})
    best = table.sort_values("pvalue").groupby("group").first()
    assert list(best.index) == ["liver", "lung_left"]
    assert (best["qvalue"] < 1e-10).all()


def test_unknown_columns_and_small_groups(bundle: Bundle, tmp_path: Path) -> None:
    """The message names columns, or the sizes of the groups; nothing is written."""
    settings = fit_parameters()
    with pytest.raises(BundleError, match="did you mean 'tissue'"):
        fit_groups(bundle, settings, "tisue", tmp_path / "x")
    with pytest.raises(NothingToDoError, match="liver 78"):
        fit_groups(bundle, settings, "tissue", tmp_path / "x", min_samples=100)
    assert not (tmp_path / "x").exists()
