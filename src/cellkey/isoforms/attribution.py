"""What an autoencoder says drives a module: response of the decoder, integrated gradients of the encoder.

The network is small, so forward pass and gradients are written out; neither torch nor another package is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cellkey.errors import InputError, RunError
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = [
    "VaeWeights", "decoder_response", "integrated_gradients", "latent_dimension", "read_checkpoint", "vae_drivers",
    "write_checkpoint",
]

Array = NDArray[np.float64]
Layer = tuple[Array, Array]
Baseline = Literal["zero", "mean"]

CHECKPOINT = "vae_checkpoint.npz"


@dataclass(frozen=True, slots=True)
class VaeWeights:
    """Weights (out x in) and biases: encoder layers with ELU, mean head, decoder layers with ELU but the last."""

    encoder: tuple[Layer, ...]
    mean: Layer
    decoder: tuple[Layer, ...]

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return int(self.encoder[0][0].shape[1])

    def rescaled(self, offset: Array, scale: Array) -> VaeWeights:
        """Return the network that takes and gives features on their own scale, ``offset + scale * standardised``."""
        weight, bias = self.encoder[0]
        first = (weight / scale[None, :], bias - weight @ (offset / scale))
        out, out_bias = self.decoder[-1]
        last = (out * scale[:, None], out_bias * scale + offset)
        return VaeWeights((first, *self.encoder[1:]), self.mean, (*self.decoder[:-1], last))

    def encode(self, x: Array) -> Array:
        """Return posterior means (samples x dimensions) of samples x features."""
        for weight, bias in self.encoder:
            x = _elu(x @ weight.T + bias)
        return x @ self.mean[0].T + self.mean[1]

    def decode(self, z: Array) -> Array:
        """Return reconstructions (samples x features)."""
        for weight, bias in self.decoder[:-1]:
            z = _elu(z @ weight.T + bias)
        return z @ self.decoder[-1][0].T + self.decoder[-1][1]

    def gradient(self, x: Array, dimension: int) -> Array:
        """Return the gradient of one posterior mean with respect to every feature, per sample."""
        slopes = []
        for weight, bias in self.encoder:
            before = x @ weight.T + bias
            slopes.append(np.where(before > 0, 1.0, np.exp(np.minimum(before, 0.0))))
            x = _elu(before)
        back = np.broadcast_to(self.mean[0][dimension], (len(x), self.mean[0].shape[1]))
        for (weight, _), slope in zip(reversed(self.encoder), reversed(slopes), strict=True):
            back = (back * slope) @ weight
        return np.asarray(back)


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def write_checkpoint(weights: VaeWeights, features: pd.DataFrame, path: str | Path) -> None:
    """Write weights and the features they belong to as plain arrays."""
    arrays: dict[str, NDArray[np.generic]] = {
        name: features[name].to_numpy(dtype=str) for name in ("feature_id", "gene_id", "feature_type")
    }
    arrays["sizes"] = np.array([len(weights.encoder), len(weights.decoder)])
    for part, layers in (("encoder", weights.encoder), ("mean", (weights.mean,)), ("decoder", weights.decoder)):
        for i, (weight, bias) in enumerate(layers):
            arrays[f"{part}_{i}_weight"], arrays[f"{part}_{i}_bias"] = weight, bias
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def read_checkpoint(directory: str | Path, feature_ids: Sequence[str]) -> VaeWeights:
    """Return the weights of a fit, with inputs and outputs in the order of ``feature_ids``.

    Raises
    ------
    RunError
        If the fit has no checkpoint.
    InputError
        If the checkpoint was made for other features.
    """
    path = Path(directory) / CHECKPOINT
    if not path.is_file():
        msg = f"{path} is missing: attribution needs a fit of the backend vae (cellkey isoforms fit --backend vae)"
        raise RunError(msg)
    with np.load(path, allow_pickle=False) as stored:
        n_encoder, n_decoder = (int(v) for v in stored["sizes"])
        own = {str(f): i for i, f in enumerate(stored["feature_id"])}

        def layers(part: str, n: int) -> tuple[Layer, ...]:
            return tuple((stored[f"{part}_{i}_weight"], stored[f"{part}_{i}_bias"]) for i in range(n))

        found = VaeWeights(layers("encoder", n_encoder), layers("mean", 1)[0], layers("decoder", n_decoder))
    absent = [f for f in feature_ids if f not in own]
    if absent or len(own) != len(feature_ids):
        msg = (
            f"{path}: made for {len(own)} features, the fit has {len(feature_ids)}; "
            f"{len(absent)} are unknown to it ({', '.join(absent[:3])}); write the fit again"
        )
        raise InputError(msg)
    order = np.array([own[f] for f in feature_ids])
    first, last = found.encoder[0], found.decoder[-1]
    return VaeWeights(
        ((first[0][:, order], first[1]), *found.encoder[1:]),
        found.mean,
        (*found.decoder[:-1], (last[0][order], last[1][order])),
    )


def latent_dimension(z: Array, profile: Array) -> tuple[int, float]:
    """Return the dimension that correlates most with a profile, and that correlation (0 where constant)."""
    if len(profile) != len(z):
        msg = f"eigengene length {len(profile)} does not match feature_scores n_samples {len(z)}"
        raise InputError(msg)
    centred, e = z - z.mean(axis=0), profile - profile.mean()
    norm = np.sqrt((centred**2).sum(axis=0) * (e @ e))
    r = np.where(norm > 0, (centred.T @ e) / np.where(norm > 0, norm, 1.0), 0.0)
    best = int(np.argmax(np.round(np.abs(r), 12)))
    return best, float(r[best])


def decoder_response(weights: VaeWeights, z: Array, dimension: int, eps: float = 1.0) -> Array:
    """Return how every feature answers to one step of a latent dimension around the mean sample."""
    centre = z.mean(axis=0)
    step = np.zeros_like(centre)
    step[dimension] = eps
    return np.asarray((weights.decode((centre + step)[None])[0] - weights.decode((centre - step)[None])[0]) / (2 * eps))


def vae_drivers(
    weights: VaeWeights,
    scores: Array,
    meta: pd.DataFrame,
    profile: Array,
    drivers: pd.DataFrame,
    *,
    fdr: float = 0.05,
    percentile: float = 90.0,
) -> pd.DataFrame:
    """Return the genes of a module with the response of the decoder; high-confidence ones first.

    Parameters
    ----------
    scores
        Features x samples, in the order of ``meta``.
    drivers
        Table ``gene_driver_table`` of the module.
    """
    z = weights.encode(scores.T)
    dimension, r = latent_dimension(z, profile)
    response = decoder_response(weights, z, dimension)
    own = meta.assign(decoded_response=response)[meta["gene_id"].isin(drivers["gene_id"])]
    own = own.assign(size=own["decoded_response"].abs().round(12)).sort_values(
        ["gene_id", "size", "feature_id"], ascending=[True, False, True], kind="stable"
    )
    best = own.drop_duplicates("gene_id")
    table = drivers[["gene_id", "r", "qvalue"]].merge(
        best[["gene_id", "feature_id", "feature_type", "decoded_response", "size"]], on="gene_id"
    )
    rank = table["size"].rank(pct=True) * 100 if table["size"].max() > 0 else table["size"] * 0.0
    sign = -1.0 if r < 0 else 1.0
    agrees = np.sign(table["decoded_response"] * sign) == np.sign(table["r"])
    passes = (table["qvalue"] <= fdr) & (rank >= percentile) & agrees
    table = table.assign(
        latent_dim=dimension,
        latent_eigengene_r=r,
        decoded_response_percentile=rank,
        sign_agreement=agrees,
        passes_filter=passes,
        high_confidence=passes,
    )
    return table.sort_values(["passes_filter", "size", "gene_id"], ascending=[False, False, True], kind="stable").drop(
        columns="size"
    )


def integrated_gradients(
    weights: VaeWeights,
    scores: Array,
    meta: pd.DataFrame,
    profile: Array,
    genes: set[str],
    *,
    n_steps: int = 50,
    baseline: Baseline = "zero",
) -> pd.DataFrame:
    """Return the attribution of the module's latent dimension to every feature (Sundararajan et al. 2017).

    Gauss-Legendre nodes on the straight path from the baseline to each sample; attributions of a sample sum to the
    difference of the dimension between both ends.
    """
    x = scores.T
    dimension, r = latent_dimension(weights.encode(x), profile)
    start = np.zeros(x.shape[1]) if baseline == "zero" else x.mean(axis=0)
    nodes, shares = np.polynomial.legendre.leggauss(n_steps)
    total = np.zeros_like(x)
    for node, share in zip((nodes + 1) / 2, shares / 2, strict=True):
        total += share * weights.gradient(start + node * (x - start), dimension)
    attribution = total * (x - start)
    mean = attribution.mean(axis=0)
    table = meta[["gene_id", "feature_id", "feature_type"]].assign(
        mean_ig=mean,
        mean_ig_corrected=mean * np.sign(r),
        mean_abs_ig=np.abs(attribution).mean(axis=0),
        latent_dim=dimension,
        latent_eigengene_r=r,
        in_module=meta["gene_id"].isin(genes).to_numpy(),
    )
    return table.sort_values(["mean_abs_ig", "feature_id"], ascending=[False, True], kind="stable").reset_index(
        drop=True
    )
