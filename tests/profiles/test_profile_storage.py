"""Profiles come back from disk as they were; a fingerprint changes with everything that matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.errors import RunError
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.storage import fingerprint, load_profiles, save_profiles


def make():
    X = sp.random(50, 12, 0.3, format="csr", random_state=0)
    labels = np.repeat(np.array(["0", "1"], dtype=object), 25)
    names = [f"g{i}" for i in range(12)]
    return X, labels, names, profile_clusters(Expression(X), labels, names)


def test_round_trip(tmp_path: Path) -> None:
    *_, profiles = make()
    profiles.info["layer"] = "X"
    save_profiles(profiles, tmp_path / "p.h5")
    back = load_profiles(tmp_path / "p.h5")
    for name in profiles.__dataclass_fields__:
        ours, theirs = getattr(profiles, name), getattr(back, name)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs, name


def test_some_quantiles_only(tmp_path: Path) -> None:
    *_, profiles = make()
    save_profiles(profiles, tmp_path / "p.h5")
    back = load_profiles(tmp_path / "p.h5", quantiles=[0.75])
    assert back.quantiles == (0.75,)
    assert np.array_equal(back.positive[0], profiles.positive[profiles.at_quantile(0.75)])


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_bytes(b"not a file")
    with pytest.raises(RunError, match=r"bad\.h5"):
        load_profiles(tmp_path / "bad.h5")
    with pytest.raises(RunError):
        load_profiles(tmp_path / "absent.h5")


def test_fingerprint_follows_content_and_is_the_same_on_disk(tmp_path: Path) -> None:
    import anndata as ad

    X, labels, names, _ = make()
    mark = fingerprint(X, labels, names, layer="X")
    assert mark == fingerprint(X.copy(), labels.copy(), names, layer="X")
    ad.AnnData(X).write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    assert mark == fingerprint(backed.X, labels, names, layer="X")
    backed.file.close()
    changed = X.copy()
    changed.data[3] += 1
    others = [fingerprint(changed, labels, names, layer="X"), fingerprint(X, labels[::-1], names, layer="X"),
              fingerprint(X, labels, names[::-1], layer="X"), fingerprint(X, labels, names, layer="raw")]
    assert len({mark, *others}) == 5
