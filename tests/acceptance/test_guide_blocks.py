"""The Python blocks of the tuning guide, taken from its text where that is at hand, run as they are written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from cellkey.annotation.run import annotate_file
from cellkey.datasets import synthetic_rna
from cellkey.hierarchy import get_builtin
from cellkey.hierarchy.writing import write_hierarchy
from cellkey.io.write import write_cells

BLOCKS = 7


def guide_text() -> str | None:
    """Return the guide: the file named by ``CELLKEY_GUIDE``, else the one beside the labelled data."""
    named = os.environ.get("CELLKEY_GUIDE")
    folder = Path(__file__).resolve().parents[3] / "shared" / "seeds"
    found = [Path(named)] if named else sorted(folder.glob("003*.txt")) if folder.is_dir() else []
    return found[0].read_text(encoding="utf-8") if found else None


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning", "ignore::FutureWarning", "ignore::UserWarning",
                            "ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_every_python_block_of_the_guide_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the text and in one session, on the files that it names."""
    text = guide_text()
    if text is None:
        pytest.skip("the guide's text is not here: name its file in CELLKEY_GUIDE")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == BLOCKS
    made = synthetic_rna(n_cells=300, n_genes=400, seed=5)
    (tmp_path / "map.json").write_text(json.dumps(made.marker_map))
    write_cells(made.adata, tmp_path / "input.h5ad")
    strict = {"level_defaults": {"0": {"min_enrichment": 9.0}}}
    for run, gating in (("run_v1", None), ("run_v2", strict)):
        annotate_file(tmp_path / "input.h5ad", tmp_path / run, hierarchy=tmp_path / "map.json", figures=False,
                      gating=gating)
    shutil.copy(tmp_path / "run_v1" / "output.h5ad", tmp_path / "your_data.h5ad")
    shutil.copytree(tmp_path / "run_v1", tmp_path / "output_dir")
    write_hierarchy(get_builtin(), tmp_path / "marker_map.json", wrapped=True)
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {}
    printed = []
    for block in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(block, "guide", "exec"), session)  # the guide is the test
        printed.append(out.getvalue())
    assert "Expression range: 0.00 to" in printed[0]
    assert "(positive)" in "".join(printed)
    assert "(anti)" in "".join(printed)
    assert re.search(r"Changed assignments: [1-9]", printed[-1])
