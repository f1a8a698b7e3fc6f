"""Correlations of what a variational autoencoder (Kingma and Welling 2014) reconstructs; needs torch.

The trained weights are written as plain arrays (``vae_checkpoint.npz``), so that explanation needs no torch.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellkey.errors import MissingDependencyError, ParameterError
from cellkey.isoforms.attribution import VaeWeights, write_checkpoint
from cellkey.isoforms.backend_settings import VaeParameters
from cellkey.isoforms.backends.baseline import ORIGINAL_FEATURES
from cellkey.isoforms.backends.gene_graph import gene_graph_network
from cellkey.isoforms.backends.interface import Backend, Network
from cellkey.isoforms.correlation import unit_rows

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.isoforms.feature_matrix import FeatureMatrix

__all__ = ["BACKEND", "Trained", "train"]

Array = NDArray[np.float64]

MIN_IMPROVEMENT = 1e-4
GRID_IMPROVEMENT = 0.01
COLLAPSED = 0.01
MANY_FEATURES = 2000


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained autoencoder, its reconstruction (samples x features) and how the training went."""

    weights: VaeWeights
    reconstruction: Array
    rmse: float
    report: dict[str, Any]


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        package, extra, purpose = "torch", "vae", "the backend 'vae'"
        raise MissingDependencyError(package, extra, purpose) from None
    return torch


def _layers(torch: Any, sizes: list[int]) -> Any:
    parts: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        parts += [torch.nn.Linear(a, b), torch.nn.ELU()]
    return torch.nn.Sequential(*parts)


def _model(torch: Any, p: int, latent: int, parameters: VaeParameters) -> Any:
    widths = [max(parameters.hidden_dim // 2**i, 1) for i in range(parameters.n_hidden_layers)]
    return torch.nn.ModuleDict(
        {
            "encoder": _layers(torch, [p, *widths]),
            "mean": torch.nn.Linear(widths[-1], latent),
            "log_variance": torch.nn.Linear(widths[-1], latent),
            "decoder": _layers(torch, [latent, *widths[::-1]]),
            "output": torch.nn.Linear(widths[0], p),
        }
    )


def _losses(torch: Any, model: Any, x: Any, generator: Any) -> tuple[Any, Any]:
    """Return reconstruction (summed over features) and divergence; ``generator`` None takes the posterior mean."""
    hidden = model["encoder"](x)
    mean, log_variance = model["mean"](hidden), model["log_variance"](hidden)
    z = mean
    if generator is not None:
        noise = torch.randn(mean.shape, generator=generator, device=x.device)
        z = mean + noise * torch.exp(0.5 * log_variance)
    again = model["output"](model["decoder"](z))
    reconstruction = ((again - x) ** 2).mean() * x.shape[1]
    divergence = -0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).mean()
    return reconstruction, divergence


def train(inputs: Array, parameters: VaeParameters, latent: int, seed: int) -> Trained:
    """Train on samples x features; the same seed gives the same weights on one machine.

    Raises
    ------
    MissingDependencyError
        If torch is not installed.
    ParameterError
        If the device is ``cuda`` and torch sees none.
    """
    torch = _torch()
    if parameters.device == "cuda" and not torch.cuda.is_available():
        msg = "vae.device is 'cuda', but torch sees no CUDA device: set it to 'cpu', or install a torch with CUDA"
        raise ParameterError(msg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _train(torch, inputs, parameters, latent, seed)


def _train(torch: Any, inputs: Array, parameters: VaeParameters, latent: int, seed: int) -> Trained:
    n, p = inputs.shape
    device = torch.device(parameters.device)
    model = _model(torch, p, latent, parameters).to(device)
    generator = torch.Generator(device=device).manual_seed(seed)
    x = torch.tensor(inputs, dtype=torch.float32, device=device)
    order = np.random.default_rng(seed).permutation(n)
    held = max(1, int(0.2 * n))
    validation, training = x[order[:held].tolist()], x[order[held:].tolist()]
    optimiser = torch.optim.Adam(model.parameters(), lr=parameters.learning_rate, weight_decay=parameters.weight_decay)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=20, factor=0.5)
    warmup = parameters.warmup or max(1, parameters.n_epochs // 4)
    batch = parameters.batch_size or (min(64, max(n // 4, 1)) if p > MANY_FEATURES else len(training))
    best, best_epoch, best_state, stopped, epoch = np.inf, 0, copy.deepcopy(model.state_dict()), False, 0
    for epoch in range(parameters.n_epochs):
        beta = min(parameters.beta, parameters.beta * (epoch + 1) / warmup)
        model.train()
        places = torch.randperm(len(training), generator=generator, device=device)
        for start in range(0, len(training), batch):
            optimiser.zero_grad()
            reconstruction, divergence = _losses(torch, model, training[places[start : start + batch]], generator)
            (reconstruction + beta * divergence).backward()
            if parameters.grad_clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), parameters.grad_clip_norm)
            optimiser.step()
        model.eval()
        with torch.no_grad():
            reconstruction, divergence = _losses(torch, model, validation, None)
            loss = float(reconstruction + beta * divergence)
        if not np.isfinite(loss):
            break
        schedule.step(loss)
        if epoch + 1 == warmup:
            best = np.inf  # losses before the full divergence weight do not compare with those after
        if loss < best - MIN_IMPROVEMENT:
            best, best_epoch, best_state = loss, epoch, copy.deepcopy(model.state_dict())
        elif epoch >= warmup and epoch - best_epoch >= parameters.patience:
            stopped = True
            break
    model.load_state_dict(best_state)
    return _summary(torch, model, x, parameters, latent, {"best": best_epoch, "trained": epoch + 1, "early": stopped})


def _summary(torch: Any, model: Any, x: Any, parameters: VaeParameters, latent: int, course: dict[str, Any]) -> Trained:
    model.eval()
    with torch.no_grad():
        hidden = model["encoder"](x)
        mean, log_variance = model["mean"](hidden), model["log_variance"](hidden)
        again = model["output"](model["decoder"](mean)).cpu().numpy().astype(np.float64)
        per_dimension = (-0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance))).mean(dim=0).cpu().numpy()
    difference = again - x.cpu().numpy()
    rmse = float(np.sqrt((difference**2).mean()))
    reconstruction = float((difference**2).mean() * x.shape[1])
    divergence = float(per_dimension.mean())
    collapsed = [int(i) for i in np.flatnonzero(per_dimension < COLLAPSED)]
    report = {
        "reconstruction_rmse": rmse,
        "vae_final_elbo": -(reconstruction + parameters.beta * divergence),
        "vae_final_recon_loss": reconstruction,
        "vae_final_kl_loss": divergence,
        "vae_best_epoch": course["best"],
        "vae_early_stopped": course["early"],
        "vae_n_epochs_trained": course["trained"],
        "vae_beta_used": parameters.beta,
        "vae_latent_dim": latent,
        "vae_device": torch.cuda.get_device_name(x.device) if x.is_cuda else "cpu",
        "converged": course["early"],
        "vae_per_dim_kl": [float(v) for v in per_dimension],
        "vae_n_collapsed_dims": len(collapsed),
        "vae_collapsed_dim_indices": collapsed,
        "vae_mean_kl": divergence,
        "vae_posterior_collapse": len(collapsed) * 2 >= latent,
    }
    return Trained(_weights(model), again, rmse, report)


def _weights(model: Any) -> VaeWeights:
    def linear(layer: Any) -> tuple[Array, Array]:
        return tuple(v.detach().cpu().numpy().astype(np.float64) for v in (layer.weight, layer.bias))

    return VaeWeights(
        encoder=tuple(linear(layer) for layer in model["encoder"] if hasattr(layer, "weight")),
        mean=linear(model["mean"]),
        decoder=(*(linear(layer) for layer in model["decoder"] if hasattr(layer, "weight")), linear(model["output"])),
    )


def _chosen(inputs: Array, parameters: VaeParameters, seed: int) -> Trained:
    """Train, or train every candidate and take the first beyond which the error falls by less than 0.01."""
    if parameters.latent_dim_grid is None:
        return train(inputs, parameters, parameters.latent_dim, seed)
    trained = [train(inputs, parameters, k, seed) for k in parameters.latent_dim_grid]
    errors = [t.rmse for t in trained]
    gains = [a - b for a, b in itertools.pairwise(errors)]
    at = next((i for i, gain in enumerate(gains) if gain < GRID_IMPROVEMENT), len(errors) - 1)
    trained[at].report.update(
        latent_dim_selected=parameters.latent_dim_grid[at],
        latent_dim_grid_rmses=dict(zip(map(str, parameters.latent_dim_grid), errors, strict=True)),
    )
    return trained[at]


def infer(
    features: FeatureMatrix, parameters: VaeParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of the thresholded correlations of reconstructions."""
    seed = int(rng.integers(2**31))
    values = features.values
    offset = values.mean(axis=1) if parameters.scale_inputs else np.zeros(len(values))
    sd = values.std(axis=1)
    scale = np.where(sd > 0, sd, 1.0) if parameters.scale_inputs else np.ones(len(values))
    trained = _chosen(((values - offset[:, None]) / scale[:, None]).T, parameters, seed)
    rows = _similar(trained.reconstruction.T, center_across=parameters.center_across_features)
    found = gene_graph_network(
        features,
        lambda start, stop: rows[start:stop] @ rows.T,
        parameters,
        reliability,
        seed=seed,
        calibration=trained.report,
    )
    weights = trained.weights.rescaled(offset, scale)
    return Network(
        found.modules,
        found.edges,
        found.calibration,
        found.nodes,
        (),
        {},
        {"vae_checkpoint.npz": lambda path: write_checkpoint(weights, features.features, path)},
    )


def _similar(reconstruction: Array, *, center_across: bool) -> Array:
    if not center_across:
        return unit_rows(reconstruction)
    centred = reconstruction - reconstruction.mean(axis=1, keepdims=True)
    centred = centred - centred.mean(axis=0, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm > 0, norm, 1.0))


BACKEND = Backend(
    name="vae",
    description="correlations of what a variational autoencoder reconstructs (needs torch)",
    parameters=VaeParameters,
    infer=infer,
    feature_defaults=ORIGINAL_FEATURES,
)
