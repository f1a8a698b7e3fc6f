"""A JSON summary of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellkey.isoforms.bundle import FeatureKind
from cellkey.isoforms.bundle_io import MANIFEST, read_bundle
from cellkey.isoforms.fit_files import write_json

__all__ = ["export_summary"]


def export_summary(dataset_path: str | Path, output_path: str | Path) -> dict[str, Any]:
    """Write and return what a bundle holds: sample, gene and transcript counts, assays, truth, file sizes."""
    root = Path(dataset_path)
    bundle = read_bundle(root)
    truth = bundle.truth(FeatureKind.TRUTH_MODULE)
    names = [
        MANIFEST,
        bundle.manifest.sample_table,
        *(t.filename for t in bundle.manifest.feature_tables),
        *(m.filename for m in bundle.manifest.matrices),
    ]
    summary: dict[str, Any] = {
        "manifest_path": str(root / MANIFEST),
        "dataset_name": bundle.name,
        "n_samples": len(bundle.samples),
        "n_genes": len(bundle.gene_ids),
        "n_transcripts": len(bundle.transcripts),
        "available_assays": sorted(bundle.matrices),
        "sample_columns": [str(c) for c in bundle.samples.columns],
        "truth_modules": None if truth is None else int(truth["module_id"].nunique()),
        "file_bytes": {name: (root / name).stat().st_size for name in dict.fromkeys(names)},
    }
    Path(output_path).parent.mkdir(parents=True, exist_ok=True)
    write_json(summary, output_path)
    return summary
