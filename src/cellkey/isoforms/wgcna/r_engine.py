"""The same modules by R's WGCNA, as a cross-check; values and settings go through files, never through a shell."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellkey.errors import RunError
from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.wgcna.adjacency import choose_power
from cellkey.isoforms.wgcna.detection import Detection, fallback_power

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.isoforms.backend_settings import WgcnaParameters

__all__ = ["detect_in_r"]

_TYPES = {"signed": "signed", "unsigned": "unsigned", "signed_hybrid": "signed hybrid"}
_REMEDY = "wgcna.engine=r needs R with WGCNA (Debian: apt install r-cran-wgcna); wgcna.engine=native needs neither"
_COLUMNS = ["power", "sft_r2", "slope", "truncated_r2", "mean_k", "median_k", "max_k"]


def detect_in_r(values: NDArray[np.float64], parameters: WgcnaParameters) -> Detection:
    """Return the modules of features x samples as R finds them, in one block.

    Raises
    ------
    RunError
        If R or its package WGCNA is absent, fails or takes longer than ``timeout``.
    """
    program = shutil.which("Rscript")
    if program is None:
        msg = f"Rscript was not found in PATH; {_REMEDY}"
        raise RunError(msg)
    rows = unit_rows(values)
    varying = np.flatnonzero(np.einsum("ij,ij->i", rows, rows) > 0.5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savetxt(folder / "features.csv", values[varying], delimiter=",", fmt="%.17g")
        _settings(parameters, *values[varying].shape).to_csv(folder / "settings.csv", index=False)
        with resources.as_file(resources.files(__package__) / "wgcna.R") as script:
            _run(program, script, folder, parameters.timeout)
        fits = pd.read_csv(folder / "fits.csv")
        found = pd.read_csv(folder / "labels.csv")["label"].to_numpy()
    fallback = fallback_power(parameters, values.shape[1])
    chosen = choose_power(fits.set_axis(_COLUMNS, axis=1), parameters.min_scale_free_r2, fallback)
    labels = np.zeros(len(values), dtype=np.intp)
    labels[varying] = found
    return Detection(labels, chosen.power, chosen.r2, chosen.reached, chosen.table, (), (len(varying),))


def _settings(parameters: WgcnaParameters, n: int, n_samples: int) -> pd.DataFrame:
    powers = parameters.powers if parameters.power is None else (parameters.power,)
    return pd.DataFrame(
        [
            {
                "network_type": _TYPES[parameters.network_type],
                "powers": ";".join(map(str, powers)),
                "fallback": fallback_power(parameters, n_samples),
                "min_r2": parameters.min_scale_free_r2,
                "cut_height": parameters.cut_height,
                "min_size": max(2, min(parameters.min_module_size, n // 2)),
                "deep_split": parameters.deep_split,
                "pam_stage": int(parameters.pam_stage),
                "respect_tree": int(parameters.pam_respects_tree),
                "merge_height": parameters.merge_cut_height,
            }
        ]
    )


def _run(program: str, script: Path, folder: Path, timeout: float) -> None:
    words = [program, "--vanilla", str(script), str(folder / "features.csv"), str(folder / "settings.csv"), str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        msg = f"R took longer than {timeout:g} s; raise wgcna.timeout, or use wgcna.engine=native"
        raise RunError(msg) from error
    if done.returncode == 0:
        return
    if "no package called" in done.stderr:
        msg = f"R lacks the package WGCNA; {_REMEDY}"
        raise RunError(msg)
    msg = f"R failed with exit code {done.returncode}: {done.stderr.strip()[-1500:]}"
    raise RunError(msg)
