"""Run directories: all files or none, and a manifest that comes last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cellkey.errors import RunError
from cellkey.records.run import read_manifest, staged, write_manifest


def test_files_appear_together_with_their_hashes(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "run") as staging:
        (staging / "figures").mkdir()
        (staging / "figures" / "x.txt").write_text("x")
        write_manifest(staging, {"kind": "test"})
        assert not (tmp_path / "a" / "run" / "figures").exists()
    manifest = read_manifest(tmp_path / "a" / "run")
    assert manifest["status"] == "complete"
    assert set(manifest["outputs"]) == {"figures/x.txt"}
    assert manifest["versions"]["cellkey"]
    assert sorted(p.name for p in (tmp_path / "a" / "run").iterdir()) == ["figures", "manifest.json"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a" / "run") as staging:
        (staging / "x").write_text("x")
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(RunError, match="disk"), staged(tmp_path) as staging:
        (staging / "mine").write_text("new")
        raise OSError(28, "disk full")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "kept"


def test_what_a_killed_process_had_staged_goes_and_what_another_stages_stays(tmp_path: Path) -> None:
    (tmp_path / ".partial-0" / "figures").mkdir(parents=True)
    with staged(tmp_path) as first, staged(tmp_path) as second:
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
        (first / "a").touch()
        (second / "b").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_missing_and_damaged_manifests_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        read_manifest(tmp_path / "none")
    with pytest.raises(RunError, match="not complete"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="cannot read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"status": "complete"}))
    assert read_manifest(tmp_path)["status"] == "complete"


def test_a_run_takes_the_place_of_an_earlier_one_and_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    for names in (("a.csv", "figures/old.png"), ("a.csv", "b.csv")):
        with staged(tmp_path) as staging:
            for name in names:
                (staging / name).parent.mkdir(exist_ok=True)
                (staging / name).write_text(name)
            write_manifest(staging, {"kind": "test"})
        if "b.csv" not in names:
            for mine in ("report.html", "plan.yaml", "notes.txt"):
                (tmp_path / mine).write_text("later")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.csv", "manifest.json", "notes.txt"]
    assert set(read_manifest(tmp_path)["outputs"]) == {"a.csv", "b.csv"}


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    kept = [tmp_path / "outside.txt", tmp_path / "absolute.txt"]
    for path in kept:
        path.write_text("kept")
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text(json.dumps({"outputs": {"../outside.txt": {}, str(kept[1]): {}}}))
    with staged(run) as staging:
        write_manifest(staging, {"kind": "test"})
    assert all(path.exists() for path in kept)
