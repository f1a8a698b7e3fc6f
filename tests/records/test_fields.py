"""The declared fields of AnnData files can be compared with real files."""

from __future__ import annotations

import pytest

from cellkey.records.fields import ALL_FILES, COARSE_CLUSTERS, REFINED, FieldSpec, FileSpec
from cellkey.records.vocabulary import RefinementAction


def test_promised_fields_are_declared() -> None:
    """Fields that readers rely on are there."""
    assert {f.name for f in COARSE_CLUSTERS.of("obs")} >= {
        "cluster_lvl0", "cell_type_auto", "cell_type_auto_root", "cell_type_auto_conf", "cell_type_auto_path"}
    assert {f.name for f in COARSE_CLUSTERS.of("uns")} == {
        "de_wilcoxon_<layer>", "stage_h_params", "stage_h_gating_params", "stage_h_marker_map",
        "stage_h_timestamp", "<column>_colors"}
    assert {f.name for f in REFINED.of("obs")} >= {
        "cluster_lvl1", "cell_type_lvl1", "cell_type_lvl0", "refinement_action", "refinement_iteration"}
    action = next(f for f in REFINED.fields if f.name == "refinement_action")
    assert action.allowed == tuple(RefinementAction)


@pytest.mark.parametrize("key", ["DAPI_intensity", "Collagen_IV_intensity", "Beta_actin_intensity"])
def test_placeholders_stand_for_any_text(key: str) -> None:
    """One declaration covers all technical markers, and nothing else."""
    field = next(f for f in COARSE_CLUSTERS.fields if f.name.startswith("<marker>"))
    assert field.matches(key)
    assert not field.matches("_intensity")
    assert not field.matches(key + "_2")


def test_missing_names_only_unconditional_fields() -> None:
    """A field with a condition may be absent."""
    keys = [f.name for f in COARSE_CLUSTERS.of("obs") if not f.condition][1:]
    assert COARSE_CLUSTERS.missing("obs", keys) == ["cluster_lvl0"]


@pytest.mark.parametrize("file", ALL_FILES.values(), ids=lambda f: f.name)
def test_every_field_is_explained(file: FileSpec) -> None:
    """Meanings are sentences; names are unique within a slot."""
    assert len({(f.slot, f.name) for f in file.fields}) == len(file.fields)
    assert all(isinstance(f, FieldSpec) and f.meaning.endswith(".") for f in file.fields)
