"""The autoencoder finds modules, its weights survive the file, and attributions add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellkey.errors import InputError, MissingDependencyError, ParameterError, RunError
from cellkey.isoforms.attribution import (
    VaeWeights,
    decoder_response,
    integrated_gradients,
    latent_dimension,
    read_checkpoint,
    write_checkpoint,
)
from cellkey.isoforms.explaining import explain_modules
from cellkey.isoforms.explanation import ExplainParameters
from cellkey.isoforms.fit_files import read_fit, write_fit
from cellkey.isoforms.fitting import fit
from cellkey.isoforms.metrics import module_recovery, true_modules
from cellkey.isoforms.presets import fixture_settings
from cellkey.isoforms.synthetic import simulate


def _weights(p: int = 6, seed: int = 0) -> VaeWeights:
    rng = np.random.default_rng(seed)

    def layer(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(b, a)) / np.sqrt(a), rng.normal(size=b)

    return VaeWeights((layer(p, 5), layer(5, 4)), layer(4, 3), (layer(3, 4), layer(4, 5), layer(5, p)))


def _meta(p: int = 6) -> pd.DataFrame:
    ids = [f"g{i}::switch" for i in range(p)]
    return pd.DataFrame({"feature_id": ids, "gene_id": [f"g{i}" for i in range(p)], "feature_type": "switch"})


def test_gradient_equals_differences() -> None:
    """The written-out gradient is the numerical one."""
    weights, x = _weights(), np.random.default_rng(1).normal(size=(4, 6))
    numeric = np.empty_like(x)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-6
        numeric[:, i] = (weights.encode(x + step)[:, 1] - weights.encode(x - step)[:, 1]) / 2e-6
    np.testing.assert_allclose(weights.gradient(x, 1), numeric, atol=1e-7)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_integrated_gradients_are_complete(baseline: str) -> None:
    """Mean attributions sum to the mean difference of the dimension between both ends."""
    weights, scores = _weights(), np.random.default_rng(2).normal(size=(6, 9))
    profile = weights.encode(scores.T)[:, 2]
    table = integrated_gradients(weights, scores, _meta(), profile, {"g1"}, baseline=baseline)
    start = np.zeros((1, 6)) if baseline == "zero" else scores.T.mean(axis=0, keepdims=True)
    j = int(table["latent_dim"].iloc[0])
    expected = (weights.encode(scores.T)[:, j] - weights.encode(start)[0, j]).mean()
    assert table["mean_ig"].sum() == pytest.approx(expected, abs=1e-3)
    assert table["in_module"].sum() == 1
    assert table["mean_abs_ig"].is_monotonic_decreasing


def test_latent_dimension_and_response() -> None:
    """The dimension that follows the profile is found, with its sign; a linear decoder answers with its weights."""
    z = np.random.default_rng(3).normal(size=(20, 3))
    assert latent_dimension(z, -2 * z[:, 1]) == (1, pytest.approx(-1))
    linear = VaeWeights(_weights().encoder, _weights().mean, (_weights().decoder[0][:0] or (np.eye(6, 3), np.ones(6)),))
    np.testing.assert_allclose(decoder_response(linear, z, 1), [0, 1, 0, 0, 0, 0], atol=1e-12)
    with pytest.raises(InputError, match="does not match"):
        latent_dimension(z, np.ones(4))


def test_rescaled_weights_take_raw_features() -> None:
    """Standardising inside the network equals standardising before it."""
    weights, x = _weights(), np.random.default_rng(4).normal(size=(5, 6))
    offset, scale = np.arange(6.0), np.arange(1.0, 7)
    raw = weights.rescaled(offset, scale)
    np.testing.assert_allclose(raw.encode(x * scale + offset), weights.encode(x), atol=1e-10)
    z = weights.encode(x)
    np.testing.assert_allclose(raw.decode(z), weights.decode(z) * scale + offset, atol=1e-10)


def test_checkpoint_is_matched_by_feature(tmp_path: Path) -> None:
    """Weights come back in the order that is asked for; other features are refused, absence is explained."""
    weights, meta = _weights(), _meta()
    write_checkpoint(weights, meta, tmp_path / "vae_checkpoint.npz")
    order = [3, 1, 0, 2, 5, 4]
    again = read_checkpoint(tmp_path, [meta["feature_id"][i] for i in order])
    x = np.random.default_rng(5).normal(size=(3, 6))
    np.testing.assert_allclose(again.encode(x[:, order]), weights.encode(x), atol=1e-12)
    with pytest.raises(InputError, match="made for 6 features"):
        read_checkpoint(tmp_path, ["other"])
    with pytest.raises(RunError, match="--backend vae"):
        read_checkpoint(tmp_path / "nowhere", ["other"])


def test_missing_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the message says how to get it."""
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"cellkey\[vae\]"):
        fit(simulate("toy_v1"), {"backend": "vae"})


@pytest.mark.parametrize("name", ["toy_v1", "realistic_v1"])
def test_recovery_and_determinism(name: str) -> None:
    """The published settings recover the planted modules; the same seed gives the same edges."""
    pytest.importorskip("torch", reason="torch is not installed: the vae backend is not tested (cellkey[vae])")
    bundle = simulate(name)
    settings = {"backend": "vae", "evidence": {"n_null": 0}, **fixture_settings("vae", name)}
    found = fit(bundle, settings)
    sets = [frozenset(g) for g in found.modules.members.values()]
    assert module_recovery(true_modules(bundle) or [], sets) >= 0.95
    if name == "toy_v1":
        pd.testing.assert_frame_equal(fit(bundle, settings).network.edges, found.network.edges)


def _on_cuda(name: str) -> dict[str, Any]:
    settings = fixture_settings("vae", name)
    block = {**settings.get("vae", {}), "device": "cuda"}
    return {"backend": "vae", "evidence": {"n_null": 0}, **settings, "vae": block}


def test_cuda_is_refused_where_there_is_none() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: the vae backend is not tested (cellkey[vae])")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ParameterError, match="torch sees no CUDA device"):
        fit(simulate("toy_v1"), _on_cuda("toy_v1"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["toy_v1", "realistic_v1"])
def test_recovery_on_a_card(name: str) -> None:
    """The same modules as on the CPU; the record says which card."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    bundle = simulate(name)
    found = fit(bundle, _on_cuda(name))
    sets = [frozenset(g) for g in found.modules.members.values()]
    assert module_recovery(true_modules(bundle) or [], sets) >= 0.95
    assert found.network.calibration["vae_device"] == torch.cuda.get_device_name()


def test_explanation_of_a_fit(tmp_path: Path) -> None:
    """A fit writes its checkpoint; both attributions are written, indexed and point at module genes."""
    pytest.importorskip("torch", reason="torch is not installed: the vae backend is not tested (cellkey[vae])")
    settings = {"backend": "vae", "evidence": {"n_null": 0}, **fixture_settings("vae", "realistic_v1")}
    folder = write_fit(fit(simulate("realistic_v1"), settings), tmp_path / "fit")
    asked = ExplainParameters(vae_attribution=True, integrated_gradients=True)
    found = explain_modules(folder, output_dir=tmp_path / "e", parameters=asked)["M000"]
    drivers, attributions = found.vae_drivers, found.ig_attributions
    assert drivers is not None
    assert attributions is not None
    assert set(drivers["gene_id"]) == set(read_fit(folder).modules.members["M000"])
    assert drivers["sign_agreement"].mean() > 0.9
    assert attributions["in_module"].head(10).mean() >= 0.5
    manifest = json.loads((tmp_path / "e/M000/module_explanation_manifest.json").read_text())
    assert {"vae_drivers", "ig_attributions"} <= {f["name"] for f in manifest["files"]}
    plain = write_fit(fit(simulate("toy_v1"), {"evidence": {"n_null": 0}}), tmp_path / "plain")
    with pytest.raises(RunError, match=r"vae_checkpoint.npz is missing"):
        explain_modules(plain, output_dir=tmp_path / "x", parameters=asked)
