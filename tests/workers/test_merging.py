"""Parts joined are the whole: spans are nodes of the tree of sums, and what slices hold is what the matrix holds."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.clustering._sums import UNIT_CELLS, TreeSum, add_arrays
from cellkey.clustering.inspect import scan_matrix
from cellkey.workers.merging import merge_scans, subtree_spans, tree


@pytest.mark.parametrize("n_units", [1, 3, 8, 9, 70, 520])
@pytest.mark.parametrize("part_values", [1, 10**6, 10**7])
def test_sums_of_subtrees_joined_are_the_sum_of_all_cells_bit_by_bit(n_units: int, part_values: int) -> None:
    """However many units one task takes, with numbers that show any other order."""
    pytest.importorskip("dask", reason="the extra dask is not installed")
    rng = np.random.default_rng(n_units)
    values = rng.normal(0, 1, (n_units, 50)) * 10.0 ** rng.integers(-9, 9, (n_units, 1))

    def total(rows: np.ndarray) -> np.ndarray:
        sums: TreeSum[np.ndarray] = TreeSum(add_arrays)
        for row in rows:
            sums.push(row.copy())
        whole = sums.total()
        assert whole is not None
        return whole

    n_cells = n_units * UNIT_CELLS - 5
    spans = subtree_spans(n_cells, 1.0, part_values, 2)
    assert [spans[0][0], spans[-1][1]] == [0, n_cells]
    leaves = [total(values[a // UNIT_CELLS : -(-b // UNIT_CELLS)]) for a, b in spans]
    found = tree(add_arrays, leaves)
    found = found.compute(scheduler="sync") if hasattr(found, "compute") else found
    np.testing.assert_array_equal(found, total(values))
    assert n_units < 70 or (found != values.sum(axis=0)).any()  # numpy's own order is another


def test_spans_leave_work_for_all_and_fit_what_is_allowed() -> None:
    assert len(subtree_spans(10**6, 1.0, 10**9, 2)) == 2
    assert len(subtree_spans(10**6, 1.0, 10**9, 8)) == 16
    assert len(subtree_spans(10**6, 1000.0, 10**7, 2)) == -(-(10**6) // UNIT_CELLS)


@pytest.mark.parametrize("axis", [0, 1])
def test_scans_of_slices_are_those_of_the_matrix(axis: int) -> None:
    """Whichever way the matrix is cut, a cell is empty only if all its values are zero."""
    values = np.random.default_rng(1).poisson(0.3, (40, 12)).astype(np.float32)
    values[7] = 0
    values[3, 2] = 1.5
    whole = scan_matrix(values)
    found = merge_scans([scan_matrix(p) for p in np.array_split(values, 3, axis=axis)], axis)
    np.testing.assert_array_equal(found.has_value, whole.has_value)
    assert not found.has_value[7]
    for name in ("minimum", "maximum", "n_not_finite", "n_not_zero", "integer_valued"):
        assert getattr(found, name) == getattr(whole, name)
