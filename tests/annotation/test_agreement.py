"""Consensus of files: runs, columns of cells and tables of clusters meet on one hierarchy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import cellkey
from cellkey.annotation.agreement import Source, Statement, agree
from cellkey.annotation.agreement_files import obs_source, run_sources, table_source
from cellkey.annotation.run import annotate_file
from cellkey.errors import InputError, MissingFieldError, RunError
from cellkey.hierarchy import Hierarchy, read_hierarchy
from cellkey.records.tables import ALL_TABLES
from command_line import run_command

pytestmark = pytest.mark.filterwarnings("ignore:.* holds counts:cellkey.errors.CellkeyWarning")


_MADE: dict[str, Path] = {}


@pytest.fixture
def run(
    tmp_path: Path, small_cells: Callable[..., AnnData], map_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of a run by both methods, made once."""
    if not _MADE:
        folder = tmp_path_factory.mktemp("made")
        small_cells(n_other=300).write_h5ad(folder / "cells.h5ad")
        annotate_file(folder / "cells.h5ad", folder / "run", hierarchy=map_file, method="both", cluster_key="truth",
                      figures=False, resamples=4)
        _MADE["run"] = folder
    shutil.copy(_MADE["run"] / "cells.h5ad", tmp_path)
    return Path(shutil.copytree(_MADE["run"] / "run", tmp_path / "run"))


def labelled(run: Path, values: Callable[[str], str], column: str = "theirs") -> str:
    adata = ad.read_h5ad(run.parent / "cells.h5ad")
    adata.obs[column] = [values(t) for t in adata.obs["truth"].astype(str)]
    adata.write_h5ad(run.parent / f"{column}.h5ad")
    return f"{run.parent / column}.h5ad:{column}"


def test_runs_cells_and_tables_meet(run: Path, tmp_path: Path) -> None:
    obs = labelled(run, lambda t: {"T Cells": "CL:0000084", "B Cells": "Unknown"}.get(t, t.upper()))
    pd.DataFrame({"cluster": ["T Cells", "B Cells"], "expert": ["B Cells", "Plasmablast"]}).to_csv(
        tmp_path / "people.csv", index=False)
    found = cellkey.consensus([run], obs=[obs], tables=[f"{tmp_path / 'people.csv'}:expert"],
                              output_dir=tmp_path / "agreed")
    table = found.tables["consensus"].set_index("cluster_id")
    assert (table["label"] == table.index).all()
    assert table.loc["T Cells", "n_sources"] == 4
    assert table.loc["B Cells", "n_abstained"] == 2  # unknown, and a label that is not in the hierarchy
    assert table.loc["T Cells", "rival_label"] == "B Cells"
    assert table.loc["T Cells", "ontology_term_id"] == "CL:0000084"
    assert (table["n_cells"] == 40).all()
    votes = found.tables["consensus_votes"]
    assert set(votes["source"]) == {"run (markers)", "run (enrichment)", "theirs:theirs", "people:expert"}
    assert not votes.loc[(votes["cluster_id"] == "T Cells") & (votes["source"] == "people:expert"), "agrees"].any()
    labels = found.tables["consensus_labels"]
    assert labels.iloc[0][["label", "match"]].tolist() == ["Plasmablast", "unmapped"]
    assert any("Plasmablast" in m for m in found.messages)
    for name in ("consensus", "consensus_votes", "consensus_labels"):
        ALL_TABLES[name].read_csv(tmp_path / "agreed" / f"{name}.csv")
    assert (tmp_path / "agreed" / "figures" / "confusion.png").is_file()
    assert json.loads((tmp_path / "agreed" / "manifest.json").read_text())["kind"] == "consensus"


def test_an_alias_table_maps_what_was_not_found(run: Path, tmp_path: Path) -> None:
    (tmp_path / "aliases.tsv").write_text("label\tname\nthymocyte thing\tT Cells\n", encoding="utf-8")
    obs = labelled(run, lambda t: "thymocyte thing" if t == "T Cells" else t)
    votes = cellkey.consensus([run], obs=[obs], aliases=tmp_path / "aliases.tsv").tables["consensus_votes"]
    hit = votes[(votes["source"] == "theirs:theirs") & (votes["cluster_id"] == "T Cells")]
    assert hit["match"].tolist() == ["alias"]


def test_cells_divided_between_labels_divide_their_vote() -> None:
    source = obs_source("cells", ["T", "T", "B", None], ["0", "0", "0", "0"])
    assert [(s.label, s.share, s.n_cells) for s in source.statements["0"]] == [("T", 2 / 3, 2), ("B", 1 / 3, 1)]


def test_what_enrichment_does_not_stand_by_is_no_vote(run: Path) -> None:
    file = run / "enrichment_calls.csv"
    table = ALL_TABLES["enrichment_calls"].read_csv(file)
    table.loc[table["cluster_id"] == "B Cells", "annot_export_status"] = "unknown"
    ALL_TABLES["enrichment_calls"].write_csv(table, file)
    markers, enrichment = run_sources(run)
    assert enrichment.statements["B Cells"][0].path == ()
    assert markers.statements["B Cells"][0].path[-1] == "B Cells"


def test_runs_without_confidence_are_sources_as_well(run: Path) -> None:
    (run / "confidence.csv").unlink()
    (source,) = run_sources(run)
    assert source.statements["T Cells"][0].path == ("Immune Cells", "T Cells")
    assert source.statements["T Cells"][0].confidence == ()


def test_a_table_may_say_how_sure_it_is(tmp_path: Path) -> None:
    pd.DataFrame({"cluster_id": ["0", "1"], "label": ["T", "B"], "label_confidence": ["0.9", ""]}).to_csv(
        tmp_path / "t.csv", index=False)
    said = table_source(tmp_path / "t.csv", "label").statements
    assert [said[c][0].confidence for c in "01"] == [(0.9,), ()]


def tree() -> Hierarchy:
    below = {"T": {"markers": ["B"]}, "B": {"markers": ["C"]}}
    return read_hierarchy({"Immune": {"markers": ["A"], "subtypes": below}})


def test_consensus_lies_on_the_tree_and_order_of_sources_means_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = ["T", "B", "Immune", "unknown", "zebra"]
    sources = [Source(f"s{i}", {str(c): [Statement(str(rng.choice(labels)))] for c in range(12)}) for i in range(5)]
    base = agree(sources, tree()).tables["consensus"]
    assert set(base["label"]) <= {"T", "B", "Immune", "Unassigned"}
    pd.testing.assert_frame_equal(agree(sources[::-1], tree()).tables["consensus"], base)


def test_a_source_without_confidence_is_rated_in_the_votes_it_casts(run: Path) -> None:
    always = labelled(run, lambda t: "T Cells")
    votes = cellkey.consensus([run], obs=[always]).tables["consensus_votes"]
    of_b = votes[votes["cluster_id"] == "B Cells"].set_index("source")["confidence"]
    assert of_b["theirs:theirs"] < 0.6 < of_b["run (markers)"]
    given = cellkey.consensus([run], obs=[always], rules={"unrated": 0.9}).tables["consensus_votes"]
    assert given.loc[given["source"] == "theirs:theirs", "confidence"].isna().all()


def test_runs_with_other_clusters_are_asked_cell_by_cell(run: Path, tmp_path: Path) -> None:
    cells = ad.read_h5ad(tmp_path / "cells.h5ad")
    truth = cells.obs["truth"].astype(str)
    halves = np.where(np.arange(cells.n_obs) % 2, "odd", "even")
    cells.obs["fine"] = [f"{t} {h}" if t == "T Cells" else t for t, h in zip(truth, halves, strict=True)]
    cells[5:].copy().write_h5ad(tmp_path / "other.h5ad")
    source = json.loads(ad.read_h5ad(run / "coarse_clusters.h5ad").uns["stage_h_marker_map"])["source"]
    annotate_file(tmp_path / "other.h5ad", tmp_path / "fine", hierarchy=source, cluster_key="fine", figures=False,
                  resamples=0)
    found = cellkey.consensus([run, tmp_path / "fine"], output_dir=tmp_path / "agreed")
    table = ALL_TABLES["consensus_cells"].read_csv(tmp_path / "agreed" / "consensus_cells.csv").set_index("cell_id")
    assert len(table) == cells.n_obs - 5
    kept = truth[5:]
    of_t = table.loc[kept.index[kept == "T Cells"]]
    assert (of_t["label"] == "T Cells").all()
    assert set(of_t["cluster_id"]) == {"T Cells+T Cells odd", "T Cells+T Cells even"}
    sizes = found.tables["consensus"].set_index("cluster_id")["n_cells"]
    pd.testing.assert_series_equal(sizes.sort_index(), table["cluster_id"].value_counts().sort_index(),
                                   check_names=False, check_dtype=False, check_index_type=False)
    assert any("5 cell(s) are not in all runs" in m for m in found.messages)
    votes = found.tables["consensus_votes"].set_index(["cluster_id", "source"])["voice"]
    of_t = [votes[group] for group in ("T Cells+T Cells odd", "T Cells+T Cells even")]
    # The half of a group has no cell of its own; the T cells of the run have those of the other half.
    assert all(v["fine"] == 0.5 and 0.5 < v["run (markers)"] < 1.0 for v in of_t), of_t
    pd.DataFrame({"cluster": ["T Cells"], "expert": ["B Cells"]}).to_csv(tmp_path / "people.csv", index=False)
    with pytest.raises(InputError, match="different clusters, so that labels of clusters"):
        cellkey.consensus([run, tmp_path / "fine"], tables=[f"{tmp_path / 'people.csv'}:expert"])


def test_two_sources_of_different_names_are_needed() -> None:
    one = Source("a", {"0": [Statement("T")]})
    with pytest.raises(InputError, match="two sources or more"):
        agree([one], tree())
    with pytest.raises(InputError, match="different names"):
        agree([one, one], tree())


def test_mistakes_are_said_plainly(run: Path, tmp_path: Path) -> None:
    obs = labelled(run, str)
    with pytest.raises(InputError, match="name the file and the column"):
        cellkey.consensus([run], obs=["cells.h5ad"])
    with pytest.raises(MissingFieldError, match="did you mean 'theirs'"):
        cellkey.consensus([run], obs=[obs[:-1]])
    with pytest.raises(InputError, match="--cluster-key"):
        cellkey.consensus([], obs=[obs, obs], hierarchy={"A": {"markers": ["X"]}})
    with pytest.raises(InputError, match="Name it with --hierarchy"):
        cellkey.consensus([], obs=[obs, obs], cluster_key="truth")
    with pytest.raises(InputError, match="not an annotation run"):
        cellkey.consensus([tmp_path])
    with pytest.raises(RunError, match="a directory of its own"):
        cellkey.consensus([run], output_dir=run)
    stranger = ad.read_h5ad(obs.rpartition(":")[0])
    stranger.obs_names = [f"other{i}" for i in range(stranger.n_obs)]
    stranger.write_h5ad(tmp_path / "stranger.h5ad")
    with pytest.raises(InputError, match=r"no cell of .* is in the run"):
        cellkey.consensus([run], obs=[f"{tmp_path / 'stranger.h5ad'}:theirs"])


def test_the_command_prints_writes_and_explains_itself(run: Path, tmp_path: Path) -> None:
    done = run_command("consensus", run, "-o", tmp_path / "agreed", "--max-breadth", 3)
    assert done.exit_code == 0, done.output
    assert "T Cells" in done.output
    assert (tmp_path / "agreed" / "consensus.csv").is_file()
    helped = run_command("consensus", "--help")
    assert "Examples:" in helped.output


def test_compare_draws_which_labels_go_together(run: Path, tmp_path: Path) -> None:
    figure = tmp_path / "changes.png"
    done = run_command("compare", run, run, "--figure", figure)
    assert done.exit_code == 0, done.output
    assert figure.read_bytes()[:4] == b"\x89PNG"
