"""Free text to hierarchies: the published rules case by case, and the better default."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import HierarchyError, ParameterError
from cellkey.hierarchy.catalogue import builtin_names
from cellkey.hierarchy.matching import match_hierarchy, suggest_hierarchies
from cellkey.hierarchy.published_matching import ORDER

PUBLISHED_CASES = {
    "colon cancer": "colon_tme",
    "colorectal cancer": "colon_tme",
    "stomach": "colon_tme",
    "breast_tumor": "breast_tme",
    "breast tumor": "breast_tme",
    "ER positive HER2": "breast_tme",
    "pancreatic cancer": "pancreas_tme",
    "hepatic tumor": "liver_tme",
    "pulmonary lesion": "lung_tme",
    "epidermal tumor": "skin_tme",
    "renal cell carcinoma": "kidney_tme",
    "brain cortex": "brain_core",
    "PBMC": "immune_core",
    "lymphoid tissue": "immune_core",
    "immune tumor": "immune_core",
    "solid tumor": "tme_core",
    "ovarian cancer": "tme_core",
    "oral cancer": "tme_core",
    "kidneys": "kidney_tme",
    "lungs": "lung_tme",
    "colonic": "colon_tme",
    "tonsillar squamous": "tonsil_tme",
    "HNSCC": "lung_tme",
    "er_positive": "breast_tme",
    "adenocarcinoma": "liver_tme",
    "neutral": "brain_core",
    "hippocampus": "tme_core",
    "cortex": "tme_core",
    "hepatocellular carcinoma": "tme_core",
    "glioblastoma": "tme_core",
    "lymphoma": "tme_core",
    "lymph node": "tme_core",
    "small intestine": "tme_core",
    "prostate": "tme_core",
    "spleen": "tme_core",
    "head and neck": "tme_core",
    "": "tme_core",
    "liver metastasis of colon cancer": "colon_tme",
    "liver metastasis of breast cancer": "breast_tme",
}
DEFAULT_CASES = {
    "colon cancer": "colon_tme",
    "colorectal cancer": "colon_tme",
    "colon": "colon",
    "stomach": "stomach",
    "breast tumor": "breast_tme",
    "ER positive HER2": "breast_tme",
    "pancreatic cancer": "pancreas_tme",
    "hepatic tumor": "liver_tme",
    "pulmonary lesion": "lung",
    "renal cell carcinoma": "kidney_tme",
    "brain cortex": "brain",
    "PBMC": "blood",
    "lymphoid tissue": "lymph_node",
    "immune tumor": "immune_core",
    "solid tumor": "tme_core",
    "adenocarcinoma": "tme_core",
    "kidneys": "kidney",
    "lungs": "lung",
    "ovaries": "ovary",
    "colonic": "colon",
    "HNSCC": "tonsil_tme_2",
    "hippocampus": "brain",
    "hepatocellular carcinoma": "liver_tme",
    "glioblastoma": "brain_core",
    "lymphoma": "lymph_node",
    "small intestine": "intestine",
    "kidny": "kidney",
    "pancraes": "pancreas",
    "Bone-Marrow": "bone_marrow",
    "thyroid cancer": "tme_core",
    "skin_tme": "skin_tme",
}


@pytest.mark.parametrize("query", PUBLISHED_CASES)
def test_published_rules(query: str) -> None:
    assert match_hierarchy(query, mode="hierannot-0.7") == PUBLISHED_CASES[query]


@pytest.mark.parametrize("query", DEFAULT_CASES)
def test_default_rules(query: str) -> None:
    assert match_hierarchy(query) == DEFAULT_CASES[query]


def test_published_suggestions_for_colon_cancer() -> None:
    table = suggest_hierarchies("colon cancer", mode="hierannot-0.7")
    assert table[["name", "score", "tissue_scope"]].to_numpy().tolist() == [
        ["colon_tme", 3, "colon"],
        ["immune_core", 0, "pan-tissue"],
        ["solid_tissue_core", 0, "pan-solid-tissue"],
        ["brain_core", 0, "brain"],
        ["tme_core", 0, "pan-solid-tissue"],
    ]


@pytest.mark.parametrize(
    ("query", "first", "kind", "score"),
    [
        ("immune tumor", ["immune_core", "tme_core"], "context_score", 1),
        ("liver metastasis of colon cancer", ["colon_tme", "liver_tme"], "exact_score", 3),
        ("kidneys", ["kidney_tme"], "fuzzy_score", 1),
    ],
)
def test_published_ties_follow_the_order_of_the_list(query: str, first: list[str], kind: str, score: float) -> None:
    table = suggest_hierarchies(query, mode="hierannot-0.7", top_k=12)
    assert table["name"].tolist()[: len(first)] == first
    assert (table["score"] == table[kind]).all()
    assert table["score"].tolist() == [score] * len(first) + [0] * (12 - len(first))
    rest = table["name"].tolist()[len(first) :]
    assert rest == [n for n in ORDER if n in rest]


def test_default_suggests_only_what_fits_with_the_tumour_tree_first() -> None:
    table = suggest_hierarchies("colon cancer")
    assert table[["name", "score"]].to_numpy().tolist() == [["colon_tme", 3], ["colon", 2], ["tme_core", 1]]
    assert suggest_hierarchies("colon")["name"].tolist() == ["colon", "colon_tme"]
    assert suggest_hierarchies("neutral").empty
    both = suggest_hierarchies("liver metastasis of colon cancer", top_k=2)
    assert both["name"].tolist() == ["liver_tme", "colon_tme"]


@pytest.mark.parametrize("query", ["neutral", "", "purple", "cells", "???"])
def test_no_match_is_said_aloud(query: str) -> None:
    with pytest.raises(HierarchyError, match=r"no built-in hierarchy for .*tissues: blood, bone marrow"):
        match_hierarchy(query)
    assert match_hierarchy(query, fallback="default") == "default"


def test_organs_without_a_hierarchy_are_known() -> None:
    with pytest.raises(HierarchyError, match="is made for adrenal gland; 'default' covers"):
        match_hierarchy("adrenal cortex")


def test_unknown_mode() -> None:
    with pytest.raises(ParameterError, match=r"did you mean 'hierannot-0\.7'"):
        match_hierarchy("colon", mode="hierannot")  # type: ignore[arg-type]


@given(st.text(max_size=60), st.floats(0, 1))
def test_any_text_gives_a_known_hierarchy_or_an_error(query: str, cutoff: float) -> None:
    assert match_hierarchy(query, fuzzy_cutoff=cutoff, mode="hierannot-0.7") in ORDER
    assert match_hierarchy(query, fuzzy_cutoff=cutoff, fallback="default") in builtin_names()
