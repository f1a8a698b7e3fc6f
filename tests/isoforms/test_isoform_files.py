"""The files of a fit follow their schemas and are the same for one seed; benchmarks, comparisons and exports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellkey.errors import BundleError, InputError, ParameterError, RunError
from cellkey.isoforms import tables
from cellkey.isoforms.benchmarking import BenchmarkParameters, benchmark
from cellkey.isoforms.bundle_io import write_bundle
from cellkey.isoforms.comparing import compare
from cellkey.isoforms.exporting import export_summary
from cellkey.isoforms.fit_files import read_fit, write_fit
from cellkey.isoforms.fitting import fit, fit_parameters
from cellkey.isoforms.overrides import merge_settings, parse_overrides
from cellkey.isoforms.parquet import read_parquet, write_table
from cellkey.isoforms.preserving import preservation_of_fit
from cellkey.isoforms.synthetic import simulate

WRITTEN = (
    tables.MODULES,
    tables.EDGES,
    tables.TRAITS,
    tables.TRAIT_MODELS,
    tables.MODULE_GENE_ROLES,
    tables.MEMBERSHIP,
    tables.TRANSCRIPT_LOADINGS,
    tables.FEATURE_META,
    tables.MODULE_EVIDENCE,
    tables.HIDDEN_FACTORS,
    tables.RESIDUALISATION_QC,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one fit with all channels."""
    return write_fit(
        fit(simulate("toy_multiplex_v1")), tmp_path_factory.mktemp("fit"), inputs={"manifest.json": "0" * 64}
    )


def test_tables_follow_their_schemas(directory: Path) -> None:
    """Names, order and types of all fixed tables."""
    for schema in WRITTEN:
        frame = read_parquet(directory / f"{schema.name}.parquet")
        assert list(frame.columns) == schema.names, schema.name
        schema.conform(frame)


def test_documented_columns(directory: Path) -> None:
    """The columns that users were promised are there, in their order."""
    assert list(read_parquet(directory / "modules.parquet")) == ["gene_id", "module_id"]
    roles = read_parquet(directory / "module_gene_roles.parquet")
    assert list(roles)[:8] == [
        "module_id",
        "gene_id",
        "module_role",
        "switch_r",
        "abundance_r",
        "switch_abundance_r",
        "switch_active",
        "abundance_active",
    ]
    assert set(roles["module_role"]) <= {"coupled", "abundance_only", "switch_only", "discordant", "inactive"}
    np.testing.assert_array_equal(roles["switch_active"], roles["switch_r"].abs().fillna(0) >= 0.2)
    scores = read_parquet(directory / "feature_scores.parquet")
    assert list(scores)[:4] == ["feature_id", "gene_id", "feature_type", "n_transcripts"]
    assert set(scores["feature_type"]) == {"switch", "abundance"}
    assert list(scores)[4:] == [f"S{i:03d}" for i in range(64)]
    assert {"module_id", "trait", "pvalue", "qvalue"} <= set(read_parquet(directory / "traits.parquet"))
    usage = read_parquet(directory / "transcript_usage.parquet")
    assert next(iter(usage)) == "sample_id"
    assert len(usage) == 64
    eigengenes = read_parquet(directory / "eigengenes.parquet")
    assert list(eigengenes)[:2] == ["module_id", "variance_share"]


def test_configuration_is_complete(directory: Path) -> None:
    """Version, seeds, all parameters, inputs and times are on record."""
    config = json.loads((directory / "fit_config.json").read_text())
    assert config["isograph_version"].startswith("cellkey ")
    assert config["random_seed"] == 7
    assert config["parameters"]["spectral"]["min_cosine"] == 0.85
    assert config["input_sha256"] == {"manifest.json": "0" * 64}
    assert config["libraries"]["numpy"]
    assert fit_parameters(config["parameters"]).model_dump(mode="json") == config["parameters"]


def test_switch_only_fit_has_one_feature_type(tmp_path: Path) -> None:
    """A single-channel fit writes that channel in all rows."""
    root = write_fit(fit(simulate("toy_v1"), {"channels": "switch"}), tmp_path)
    assert set(read_parquet(root / "feature_scores.parquet")["feature_type"]) == {"switch"}
    roles = read_parquet(root / "module_gene_roles.parquet")
    assert roles["abundance_r"].isna().all()
    assert not roles["abundance_active"].any()


def test_two_runs_write_the_same_bytes(directory: Path, tmp_path: Path) -> None:
    """All files but the configuration, which holds times, are equal."""
    again = write_fit(fit(simulate("toy_multiplex_v1")), tmp_path)
    names = {p.name for p in directory.iterdir()}
    assert names == {p.name for p in again.iterdir()}
    for name in names - {"fit_config.json"}:
        assert (directory / name).read_bytes() == (again / name).read_bytes(), name


def test_fit_without_modules_writes_empty_tables(tmp_path: Path) -> None:
    """Nothing found is a result: all files are there, with their columns."""
    from cellkey.isoforms.synthetic import pure_noise

    found = fit(pure_noise(n_genes=60, n_samples=30))
    assert "no module was found" in found.notes[-1]
    root = write_fit(found, tmp_path)
    assert len(read_fit(root).modules) == 0
    for schema in WRITTEN:
        assert list(read_parquet(root / f"{schema.name}.parquet").columns) == schema.names


def test_overrides() -> None:
    """Dotted keys nest, null keeps the default, and mistakes are all told."""
    assert parse_overrides(["a.b=1", "a.c=[x, y]", "d=null", "e=true", "f=text"]) == {
        "a": {"b": 1, "c": ["x", "y"]},
        "e": True,
        "f": "text",
    }
    with pytest.raises(ParameterError) as caught:
        parse_overrides(["nothing", "=3", "a=1", "a.b=2"])
    assert len(caught.value.problems) == 3
    assert merge_settings({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    assert fit_parameters({"model": {"alpha": 0.3}, "backend": "baseline"}).baseline.alpha == 0.3
    with pytest.raises(ParameterError, match="did you mean 'min_cosine'"):
        fit_parameters(parse_overrides(["spectral.min_cosin=0.8"]))


def test_backend_defaults_yield_to_the_user() -> None:
    """Compatibility backends start from the original features; a user's setting wins."""
    assert fit_parameters({"backend": "baseline"}).features.abundance_normalisation == "cpm"
    chosen = fit_parameters({"backend": "baseline", "features": {"abundance_normalisation": "tmm"}})
    assert chosen.features.abundance_normalisation == "tmm"
    assert fit_parameters().features.abundance_normalisation == "median_of_ratios"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a benchmark of one small fixture under two stage names."""
    root = tmp_path_factory.mktemp("bench")
    for stage in ("first", "second"):
        report = benchmark(
            BenchmarkParameters(
                dataset_suite="multiplex_v1",
                fixture_filter="toy_multiplex_v1",
                stage_name=stage,
                n_seeds=2,
                artifacts_root=str(root / "artifacts"),
            )
        )
        assert report.passed
    return root / "artifacts"


def test_benchmark_table_shows_published_results(bench: Path) -> None:
    """The Markdown table has the own run first and the published recoveries beside it."""
    head, _, row = (bench / "reports" / "first-benchmark.md").read_text().splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["fixture"] == "toy_multiplex_v1"
    assert cells["recovery"] == "1.000 (1.000)"
    assert {k: v for k, v in cells.items() if k.endswith("published")} == {
        "latent, published": "0.444",
        "graph, published": "0.444",
        "vae, published": "0.500",
        "wgcna, published": "0.810",
    }


def test_benchmark_files(bench: Path) -> None:
    """Snapshot, log and reports are where they were promised."""
    snapshot = bench / "benchmarks" / "first" / "toy_multiplex_v1"
    assert {
        "run.log",
        "manifest.json",
        "metrics.json",
        "module_summary.tsv",
        "switch_features.parquet",
        "run_config.yaml",
        "eigengene_table.parquet",
        "module_gene_roles.parquet",
    } <= {p.name for p in snapshot.iterdir()}
    assert "2 modules" in (snapshot / "run.log").read_text()
    assert (
        json.loads((snapshot / "manifest.json").read_text())["snapshot_name"]
        == "first_toy_multiplex_v1_spectral_v1_seed0007"
    )
    report = json.loads((bench / "reports" / "first-benchmark.json").read_text())
    row = report["results"][0]
    assert {
        "dataset",
        "n_samples",
        "n_genes",
        "n_modules",
        "n_edges",
        "recovery",
        "runtime_seconds",
        "recommended_alpha",
        "role_recall",
        "giant_component_fraction",
    } <= set(row)
    assert row["role_recall"] == dict.fromkeys(("switch_only", "abundance_only", "coupled", "discordant"), 1.0)
    assert report["role_recall"]["toy_multiplex_v1"] == row["role_recall"]
    assert row["seeds"]["seeds"] == [7, 107]
    assert report["gate_failures"] == []
    memory = json.loads((bench / "reports" / "first-runtime-memory.json").read_text())["toy_multiplex_v1"]
    assert memory["runtime_seconds"] > 0
    assert memory["peak_memory_bytes"] > 10**7
    calibration = json.loads((bench / "reports" / "first-calibration.json").read_text())
    assert calibration["backend"] == "spectral"
    assert "channels" in calibration["calibration_by_fixture"]["toy_multiplex_v1"]


def test_benchmark_gate(tmp_path: Path) -> None:
    """A recovery below its threshold is a failure with both numbers."""
    report = benchmark(
        BenchmarkParameters(
            fixture_filter="toy_v1", n_seeds=1, artifacts_root=str(tmp_path), recovery_thresholds={"toy_v1": 1.1}
        )
    )
    assert not report.passed
    assert report.gate_failures == ["toy_v1: recovery 1.000 is below 1.100 (least of 1 seed(s))"]


def test_benchmark_refuses_unknown_fixtures(tmp_path: Path) -> None:
    """A fixture of another suite, or of none, is named."""
    with pytest.raises(InputError, match="belongs to the suite 'multiplex_v1'"):
        benchmark(BenchmarkParameters(fixture_filter="toy_multiplex_v1", artifacts_root=str(tmp_path)))
    with pytest.raises(InputError, match="did you mean"):
        benchmark(BenchmarkParameters(fixture_filter="toy_v11", artifacts_root=str(tmp_path)))


def test_stability_selection_of_real_data(tmp_path: Path) -> None:
    """A bundle of one's own gets a recommended threshold and the summary per threshold."""
    bundle = write_bundle(simulate("toy_v1"), tmp_path / "b")
    report = benchmark(
        BenchmarkParameters(
            dataset_path=str(bundle),
            backend="baseline",
            run_stability_selection=True,
            n_stability_refits=5,
            stage_name="s",
            artifacts_root=str(tmp_path),
        )
    )
    stability = json.loads((tmp_path / "reports" / "s-toy_v1-stability.json").read_text())
    assert report.results[0]["recommended_alpha"] == stability["recommended_alpha"]
    assert [s["alpha"] for s in stability["summary"]] == [0.005, 0.01, 0.02, 0.05, 0.10, 0.15, 0.20]
    assert stability["recommended_alpha"] in {s["alpha"] for s in stability["summary"]}


def test_compare_snapshots(bench: Path, tmp_path: Path) -> None:
    """Equal snapshots pass; a changed table is named with its column."""
    left, right = (bench / "benchmarks" / s / "toy_multiplex_v1" for s in ("first", "second"))
    report = compare(left, right, tmp_path / "c.json")
    assert report["passed"] is True
    assert json.loads((tmp_path / "c.json").read_text())["differences"] == []
    roles = read_parquet(right / "module_gene_roles.parquet")
    import shutil

    other = tmp_path / "other"
    shutil.copytree(right, other)
    roles.assign(switch_r=roles["switch_r"] + 0.1).to_parquet(other / "module_gene_roles.parquet", index=False)
    changed = compare(left, other, tmp_path / "c.json")
    assert changed["passed"] is False
    assert "column switch_r" in changed["differences"][0]
    (other / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"metrics.json missing"):
        compare(left, other, tmp_path / "c.json")


def test_compare_reports(bench: Path, tmp_path: Path) -> None:
    """Two reports are joined by data set, with differences right minus left."""
    reports = [bench / "reports" / f"{s}-benchmark.json" for s in ("first", "second")]
    rows = compare(*reports, tmp_path / "c.json")
    assert isinstance(rows, list)
    assert rows[0]["dataset"] == "toy_multiplex_v1"
    assert rows[0]["delta_recovery"] == 0.0
    assert rows[0]["delta_runtime_seconds"] == pytest.approx(
        rows[0]["runtime_seconds_right"] - rows[0]["runtime_seconds_left"]
    )
    with pytest.raises(InputError, match="a snapshot with a report"):
        compare(bench, reports[0], tmp_path / "c.json")
    with pytest.raises(InputError, match="no benchmark report"):
        compare(bench / "reports" / "first-calibration.json", reports[0], tmp_path / "c.json")


def test_export(tmp_path: Path) -> None:
    """Counts, assays and sizes of a bundle."""
    root = write_bundle(simulate("toy_v1"), tmp_path / "b")
    summary = export_summary(root, tmp_path / "x" / "e.json")
    assert json.loads((tmp_path / "x" / "e.json").read_text()) == summary
    assert (summary["n_samples"], summary["n_genes"], summary["n_transcripts"]) == (48, 24, 48)
    assert summary["available_assays"] == ["psi", "transcript_counts"]
    assert summary["truth_modules"] == 2


def test_preservation_of_a_written_fit(tmp_path: Path) -> None:
    """Modules of a fit hold in a second draw of the same fixture genes."""
    root = write_fit(
        fit(simulate("realistic_v1").select_samples(list(range(0, 160, 2))), {"evidence": {"n_null": 0}}),
        tmp_path / "f",
    )
    other = write_bundle(simulate("realistic_v1").select_samples(list(range(1, 160, 2))), tmp_path / "b")
    table = preservation_of_fit(root, other, tmp_path / "p.parquet", n_permutations=20)
    assert (table["z_summary"] > 5).all()
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "p.parquet"), table)


def test_every_schema_is_documented() -> None:
    """Names of tables are unique and every column has a meaning."""
    schemas = tables.isoform_tables()
    assert len({s.name for s in schemas}) == len(schemas)
    assert all(c.meaning for s in schemas for c in s.columns)


def test_a_new_fit_replaces_the_files_of_the_old_one(tmp_path: Path) -> None:
    """Files that only the earlier backend wrote go, and so does what was made of them; other files stay."""
    bundle = simulate("toy_v1")
    quick = {"evidence": {"n_null": 2}, "wgcna": {"min_module_size": 5}}
    root = write_fit(fit(bundle, quick | {"backend": "wgcna"}), tmp_path / "f")
    (root / "figures").mkdir()
    for name in ("report.html", "module_gene_sets.parquet", "figures/M009_network.png", "notes.txt"):
        (root / name).write_text("mine")
    assert (root / "soft_threshold.parquet").is_file()
    write_fit(fit(bundle, quick), root)
    left = {p.name for p in root.rglob("*") if p.is_file()}
    assert left == {"notes.txt", "fit_config.json", *json.loads((root / "fit_config.json").read_text())["files"]}
    assert not left & {"soft_threshold.parquet", "report.html", "M009_network.png"}


def test_fits_and_bundles_do_not_overwrite_each_other(directory: Path, tmp_path: Path) -> None:
    """Both have tables of the same names: one in the place of the other would destroy it."""
    bundle = simulate("toy_v1")
    write_bundle(bundle, tmp_path)
    before = (tmp_path / "samples.parquet").read_bytes()
    with pytest.raises(InputError, match="holds a bundle"):
        write_fit(fit(bundle, {"evidence": {"n_null": 0}}), tmp_path)
    assert (tmp_path / "samples.parquet").read_bytes() == before
    with pytest.raises(BundleError, match="holds a fit"):
        write_bundle(bundle, directory)


def test_a_folder_of_groups_names_its_fits(tmp_path: Path) -> None:
    """One fit is asked for where there is one per group: the message names the folders."""
    groups = {"group": ["a"], "directory": ["a"], "n_samples": [9], "n_modules": 0, "n_module_genes": 0, "skipped": ""}
    write_table(pd.DataFrame(groups), tables.GROUPS, tmp_path)
    with pytest.raises(RunError, match=r"one fit per group of samples: name one of its folders \(a\)"):
        read_fit(tmp_path)
    with pytest.raises(RunError, match="one fit per group"):
        compare(tmp_path, tmp_path, tmp_path / "x.json")


def test_the_page_of_files_names_what_is_written(directory: Path, bench: Path) -> None:
    """Every file of a fit and of a benchmark is in the reference page, every table with fixed columns too."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "isoform-files.md").read_text(encoding="utf-8")
    written = json.loads((directory / "fit_config.json").read_text())["files"]
    reports = [p.name.replace("first-", "<stage>-") for p in (bench / "reports").glob("first-*")]
    assert not [name for name in (*written, *reports) if name not in page]
    assert not [schema.name for schema in tables.isoform_tables() if f"{schema.name}.parquet" not in page]
