"""Modules of genes that are regulated together, from transcript counts, explained down to the transcript.

Isoform usage ("switch") and gene expression ("abundance") are two channels of one feature matrix. A backend finds
modules of genes in it; everything after that (eigengenes, membership, roles, traits, evidence, explanation) is
the same for every backend.

Values
    ``bundle``         the data set: manifest, samples, feature tables, matrices (``Bundle``)
    ``feature_matrix`` features x samples with the design that was removed (``FeatureMatrix``)
    ``modules``        which gene is in which module, ranked and named (``ModuleSet``)
    ``backends.interface``  what a backend is (``Backend``) and what it returns (``Network``)
    ``settings``       all parameters, one frozen model per block; ``overrides`` reads ``block.key=value``

Input
    ``bundle_io``      read and write a bundle; ``matrices`` its encodings; ``validation`` every problem of one
    ``quantification`` transcript counts from tables, salmon, kallisto, RSEM, StringTie, AnnData
    ``gene_map``       transcript to gene from GTF or table; ``prepare`` filters and joins to a bundle
    ``synthetic``      fixtures with known truth

Features
    ``composition``    usage, centred log-ratios, switch coordinates and their loadings
    ``abundance``      size factors and log expression
    ``covariates``     designs, residuals; ``reliability`` weights of switch features
    ``splicing``       splicing events (PSI) as a third channel
    ``features``       all of the above in one call (``build_features``)

Modules
    ``backends``       registry and one file per backend; ``gene_graph`` and ``communities`` are shared by them
    ``eigengenes``     the one definition of an eigengene, membership (kME), hubs, merging
    ``hidden_factors`` components that load on most features; ``evidence`` nulls, resampling, preservation
    ``roles``, ``traits``, ``gene_sets``  channel roles, trait models, enrichment for gene sets

Commands
    ``fitting`` (``fit``), ``grouped`` (one network per group of samples), ``fit_files`` (written files), ``tables``
    (their schemas), ``explaining``, ``metrics``, ``benchmarking``, ``published`` (results of others), ``snapshots``,
    ``comparing``, ``exporting``, ``reporting``

Adding a backend is one file in ``backends`` with a parameter model and a ``Backend`` value, one line in
``backends.registry`` and one field in ``settings.FitParameters``.
"""

from __future__ import annotations

from cellkey._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "Bundle": "bundle",
    "BundleManifest": "bundle",
    "FeatureMatrix": "feature_matrix",
    "FitParameters": "settings",
    "ModuleSet": "modules",
    "benchmark": "benchmarking",
    "build_features": "features",
    "explain_modules": "explaining",
    "fit": "fitting",
    "fit_groups": "grouped",
    "prepare_bundle": "prepare",
    "read_bundle": "bundle_io",
    "simulate": "synthetic",
    "validate_bundle": "validation",
    "validate_bundle_inputs": "validation",
    "write_bundle": "bundle_io",
    "write_fit": "fit_files",
})
