"""Every command works from an empty directory and writes what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellkey.cli.isoforms import app
from cellkey.errors import BundleError, InputError, ParameterError
from cellkey.isoforms.parquet import read_parquet, write_parquet

RUN = CliRunner()


def _run(*words: str) -> str:
    result = RUN.invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with one bundle."""
    monkeypatch.chdir(tmp_path)
    assert _run("simulate", "--fixture", "toy_multiplex_v1", "--output-dir", "bundle") == "bundle"
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "prepare",
        "validate",
        "simulate",
        "fit",
        "explain-module",
        "benchmark",
        "compare",
        "export",
        "preservation",
        "enrich",
        "report",
        "annotate-structure",
        "backends",
    ],
)
def test_help(command: str) -> None:
    """Every command explains itself."""
    assert "--help" in _run(command, "--help")


def test_a_whole_analysis(here: Path) -> None:
    """Fit, explain, export and preservation with their default paths."""
    assert "no problem found" in _run("validate", "--dataset-path", "bundle")
    assert _run("fit", "--dataset-path", "bundle") == "artifacts/fits/manual"
    config = json.loads((here / "artifacts/fits/manual/fit_config.json").read_text())
    assert len(config["input_sha256"]["manifest.json"]) == 64
    assert (
        _run("explain-module", "--artifact-dir", "artifacts/fits/manual", "--module-ids", "M001", "M000")
        == "artifacts/explain"
    )
    assert {p.name for p in (here / "artifacts/explain").iterdir()} == {
        "M000",
        "M001",
        "module_explanation_manifest.json",
    }
    assert _run("export", "--dataset-path", "bundle", "--output-path", "b.json") == "b.json"
    _run("preservation", "--artifact-dir", "artifacts/fits/manual", "--dataset-path", "bundle", "--n-permutations", "5")
    assert len(read_parquet(here / "artifacts/preservation.parquet")) == 2


def test_fit_options_and_overrides(here: Path) -> None:
    """Flags, a settings file and block.key=value settings reach the fit; flags win."""
    Path("s.yaml").write_text("spectral:\n  min_cosine: 0.7\nchannels: abundance\n")
    _run(
        "fit",
        "--dataset-path",
        "bundle",
        "--output-dir",
        "out",
        "--config",
        "s.yaml",
        "--channels",
        "switch",
        "--",
        "spectral.min_module_size=4",
        "traits.covariates=[Age]",
        "traits.columns=[Dx]",
        "seed=null",
    )
    config = json.loads(Path("out/fit_config.json").read_text())["parameters"]
    assert config["spectral"]["min_cosine"] == 0.7
    assert config["spectral"]["min_module_size"] == 4
    assert config["channels"] == "switch"
    assert config["seed"] == 7
    models = read_parquet(Path("out/trait_models.parquet"))
    assert set(models["covariates"]) == {"Age"}
    with pytest.raises(ParameterError, match="did you mean 'spectral'"):
        _run("fit", "--dataset-path", "bundle", "--", "spectrl.min_cosine=0.5")
    with pytest.raises(ParameterError, match="unknown backend"):
        _run("fit", "--dataset-path", "bundle", "--backend", "nothing")


def test_two_fits_compare(here: Path) -> None:
    """A fit agrees with itself; with another seed and half of the samples eigengenes are matched on those shared."""
    for name, seed in (("one", 7), ("two", 8)):
        _run("fit", "--dataset-path", "bundle", "--output-dir", name, "--", f"seed={seed}")
    eigengenes = read_parquet(Path("two/eigengenes.parquet"))
    write_parquet(eigengenes.drop(columns=eigengenes.columns[-10:]), Path("two/eigengenes.parquet"))
    for other in ("one", "two"):
        _run("compare", "--reference", "one", "--candidate", other, "--output-path", f"{other}.json")
        found = json.loads(Path(f"{other}.json").read_text())
        assert found["ari"] == 1.0
        assert [m["best"] for m in found["modules"]] == ["M000", "M001"]
        assert all(m["jaccard"] == 1.0 and m["abs_r_eigengene"] > 0.999 for m in found["modules"])
    modules = read_parquet(Path("two/modules.parquet"))
    write_parquet(modules[modules["module_id"] == "M001"], Path("two/modules.parquet"))
    _run("compare", "--reference", "one", "--candidate", "two", "--output-path", "less.json")
    first, second = json.loads(Path("less.json").read_text())["modules"]
    assert (first["best"], first["jaccard"], first["abs_r_eigengene"]) == (None, 0.0, None)
    assert second["best"] == "M001"


@pytest.mark.parametrize(
    ("candidate", "words"), [("bundle/manifest.json", "cannot compare a fit with a report"), ("none", "no such file")]
)
def test_what_cannot_be_compared(here: Path, candidate: str, words: str) -> None:
    """Unlike kinds and missing paths are named."""
    _run("fit", "--dataset-path", "bundle", "--output-dir", "one")
    with pytest.raises(InputError, match=words):
        _run("compare", "--reference", "one", "--candidate", candidate)


def test_benchmark_and_compare(here: Path) -> None:
    """A fixture alone selects its suite; reports land under artifacts; two stages compare."""
    for stage in ("a", "b"):
        printed = _run("benchmark", "--fixture", "toy_v1", "--stage-name", stage, "--n-seeds", "1")
        assert f"artifacts/reports/{stage}-benchmark.json" in printed
    _run("compare", "--reference", "artifacts/benchmarks/a/toy_v1", "--candidate", "artifacts/benchmarks/b/toy_v1")
    assert json.loads(Path("artifacts/reports/comparison.json").read_text())["passed"] is True
    failed = RUN.invoke(
        app, ["benchmark", "--fixture", "toy_v1", "--n-seeds", "1", "--", "recovery_thresholds={toy_v1: 2}"]
    )
    assert failed.exit_code == 1
    assert (
        RUN.invoke(
            app,
            [
                "benchmark",
                "--fixture",
                "toy_v1",
                "--n-seeds",
                "1",
                "--no-gate",
                "--",
                "recovery_thresholds={toy_v1: 2}",
            ],
        ).exit_code
        == 0
    )


def test_validate_fails_with_all_problems(here: Path) -> None:
    """Damage is listed, whole."""
    (here / "bundle/samples.parquet").write_bytes(b"x")
    (here / "bundle/psi.npz").unlink()
    with pytest.raises(BundleError) as caught:
        _run("validate", "--dataset-path", "bundle")
    assert len(caught.value.problems) == 2


def test_prepare_command(here: Path) -> None:
    """A count table, a map and a sheet become a bundle that validates."""
    Path("c.tsv").write_text("tx\ts1\ts2\ts3\ts4\nt1\t30\t40\t50\t60\nt2\t60\t50\t40\t30\nt3\t0\t1\t0\t1\n")
    Path("g.tsv").write_text("transcript_id\tgene_id\nt1\tg1\nt2\tg1\nt3\tg2\n")
    Path("s.csv").write_text("sample_id,Dx\ns1,a\ns2,a\ns3,b\ns4,b\n")
    _run(
        "prepare",
        "--counts",
        "c.tsv",
        "--gene-map",
        "g.tsv",
        "--samples",
        "s.csv",
        "--group",
        "Dx",
        "--output-dir",
        "mine",
    )
    assert "no problem found" in _run("validate", "--dataset-path", "mine")
    report = json.loads(Path("mine/prepare_report.json").read_text())
    assert (report["n_transcripts_kept"], report["min_samples"]) == (2, 2)
    assert read_parquet(Path("mine/dropped_transcripts.parquet"))["transcript_id"].to_list() == ["t3"]
