"""The forms of all answers: what a role must return, checked strictly, so that nothing is guessed from prose.

Lists must be lists and labels must be labels: text where a list is due, placeholders, or another cluster's
identifier make an answer invalid, and the model is asked again. Keys that the form does not know are kept.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cellkey.llm.identifiers import cluster_id
from cellkey.llm.json_text import json_objects
from cellkey.llm.messages import AnswerForm

__all__ = [
    "AnnotationAnswer",
    "AnswerModel",
    "BoostAnswer",
    "ClusterAnswer",
    "GeneRequest",
    "MergeAnswer",
    "MergedLabel",
    "Names",
    "Objection",
    "Score",
    "ScoreAnswer",
    "SubclusterAnswer",
    "SubclusterLabel",
    "Subtype",
    "ValidationAnswer",
    "answer_form",
    "cut_text",
    "empty_if_null",
    "parse_answer",
]

_PLACEHOLDERS = {
    "", "...", "…", "n/a", "na", "none", "null", "nan", "string", "<string>", "str", "label", "cell type", "celltype",
    "type", "tbd", "todo", "-", "?", "not applicable", "not available", "example"
}


def _label(value: Any) -> Any:
    """Strip markdown and blanks; refuse placeholders and anything that is no short text."""
    if not isinstance(value, str):
        return value
    text = re.sub(r"[*_`#]{2,}|[`#]|^\*|\*$", "", value)
    text = " ".join(text.split()).strip(" .\"'")
    if text.casefold() in _PLACEHOLDERS:
        msg = f"{value!r} is a placeholder, not a cell type"
        raise ValueError(msg)
    if len(text) > 120:
        msg = "a name of a cell type, not a sentence, is needed (at most 120 characters)"
        raise ValueError(msg)
    return text


def cut_text(limit: int) -> BeforeValidator:
    """Return a validator that cuts text to ``limit`` characters; null is an empty text."""
    return BeforeValidator(lambda v: v[:limit] if isinstance(v, str) else "" if v is None else v)


def empty_if_null(value: Any) -> Any:
    """Return an empty tuple for null."""
    return () if value is None else value


def _without_placeholders(value: Any) -> Any:
    """A list in which ``none`` and the like stand for nothing."""
    if isinstance(value, list | tuple):
        return tuple(v for v in value if not (isinstance(v, str) and v.strip().casefold() in _PLACEHOLDERS))
    return empty_if_null(value)


def _null_if_placeholder(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().casefold() in _PLACEHOLDERS else value


def _word(value: Any) -> Any:
    return value.strip().casefold().replace(" ", "_") if isinstance(value, str) else value


Label = Annotated[str, BeforeValidator(_label)]
Names = Annotated[tuple[str, ...], BeforeValidator(empty_if_null)]
Labels = Annotated[tuple[Label, ...], BeforeValidator(_without_placeholders)]
ClusterId = Annotated[str, BeforeValidator(lambda v: cluster_id(v) if isinstance(v, int | float) else v)]
Probability = Annotated[float, Field(ge=0, le=1)]


class AnswerModel(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


class ClusterAnswer(AnswerModel):
    """An answer about one cluster, which it names."""

    cluster: ClusterId

    @field_validator("cluster")
    @classmethod
    def _is_the_cluster_asked_for(cls, value: str, info: ValidationInfo) -> str:
        asked = (info.context or {}).get("cluster")
        if asked is not None and value != asked:
            msg = f"the question was about cluster {asked!r}, the answer is about {value!r}"
            raise ValueError(msg)
        return value


class Subtype(AnswerModel):
    """One candidate for the detailed type."""

    name: Label
    probability: Probability | None = None
    supporting_genes: Names = ()
    contradicting_genes: Names = ()


class FunctionalMarkers(AnswerModel):
    """Genes that speak of a function."""

    genes: Names = ()
    meaning: Annotated[str, cut_text(300)] = ""


class AnnotationAnswer(ClusterAnswer):
    """What the annotator says about a cluster."""

    general_cell_type: Annotated[str, BeforeValidator(lambda v: v)]
    ranked_subtypes: Annotated[tuple[Subtype, ...], BeforeValidator(empty_if_null)]
    cell_state: Annotated[str | None, BeforeValidator(_null_if_placeholder)] = None
    mixed_populations: Labels = ()
    possible_tissues: Names = ()
    functional_markers: Annotated[tuple[FunctionalMarkers, ...], BeforeValidator(empty_if_null)] = ()
    confidence: Annotated[Literal["high", "medium", "low"], BeforeValidator(_word)]
    evidence: Annotated[str, cut_text(1200)]
    unknown: Annotated[bool, BeforeValidator(lambda v: False if v is None else v)] = False

    @model_validator(mode="before")
    @classmethod
    def _label_unless_unknown(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "general_cell_type" not in values:
            return values
        general = values["general_cell_type"]
        said_unknown = isinstance(general, str) and general.strip().casefold() in (
            "unknown",
            "unclear",
            "unidentified",
        )
        if values.get("unknown") is True or said_unknown:
            return {**values, "general_cell_type": "Unknown", "ranked_subtypes": [], "unknown": True}
        return {**values, "general_cell_type": _label(general)}

    @model_validator(mode="after")
    def _has_one_to_three_subtypes(self) -> Self:
        if not self.unknown and not 1 <= len(self.ranked_subtypes) <= 3:
            msg = f"ranked_subtypes needs one to three entries, not {len(self.ranked_subtypes)}"
            raise ValueError(msg)
        if sum(s.probability or 0.0 for s in self.ranked_subtypes) > 1.01:
            msg = "the probabilities of ranked_subtypes add up to more than 1"
            raise ValueError(msg)
        return self

    @field_validator("possible_tissues")
    @classmethod
    def _tissues_when_blind(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if (info.context or {}).get("blind") and not value:
            msg = "name the tissues that the cells may come from"
            raise ValueError(msg)
        return value

    @property
    def detailed_cell_type(self) -> str:
        """First of the ranked subtypes, or the general type."""
        return self.ranked_subtypes[0].name if self.ranked_subtypes else self.general_cell_type

    @property
    def cited_genes(self) -> tuple[str, ...]:
        """Genes cited as support of the first subtype, or as functional markers."""
        first = self.ranked_subtypes[0].supporting_genes if self.ranked_subtypes else ()
        functional = (g for f in self.functional_markers for g in f.genes)
        return tuple(dict.fromkeys((*first, *functional)))


class Objection(AnswerModel):
    """One objection of the validator."""

    kind: Annotated[
        Literal[
            "unsupported_marker",
            "contradiction",
            "wrong_tissue",
            "mixture",
            "too_specific",
            "too_generic",
            "other",
        ],
        BeforeValidator(_word),
    ]
    text: Annotated[str, cut_text(600)]
    genes: Names = ()


class ValidationAnswer(ClusterAnswer):
    """What the validator says about a proposal."""

    verdict: Annotated[Literal["pass", "revise", "reject"], BeforeValidator(_word)]
    objections: Annotated[tuple[Objection, ...], BeforeValidator(empty_if_null)] = ()
    mixture_suspected: Annotated[bool, BeforeValidator(lambda v: False if v is None else v)] = False


def _score(value: Any) -> Any:
    """A whole number from 0 to 100, rounded half up; ``90/100`` is 90; out of range is refused, never clamped."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*100)?\s*", value)
        if match is None:
            msg = f"{value!r} is not a number from 0 to 100"
            raise ValueError(msg)
        value = float(match[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = "a number from 0 to 100 is needed"
        raise ValueError(msg)
    rounded = math.floor(value + 0.5)
    if not 0 <= value <= 100:
        msg = f"{value} is outside 0 to 100"
        raise ValueError(msg)
    return rounded


Score = Annotated[int, BeforeValidator(_score)]
Quarter = Annotated[int | None, BeforeValidator(lambda v: None if v is None else _score(v)), Field(default=None, le=25)]


class ScoreAnswer(ClusterAnswer):
    """How well the data support a proposal; the four parts add up to the score."""

    score: Score
    correctness: Quarter
    marker_balance: Quarter
    coverage: Quarter
    rank_use: Quarter
    reason: Annotated[str, cut_text(800)] = ""

    @model_validator(mode="after")
    def _parts_add_up(self, info: ValidationInfo) -> Self:
        parts = (self.correctness, self.marker_balance, self.coverage, self.rank_use)
        known = [p for p in parts if p is not None]
        if len(known) == 4 and abs(sum(known) - self.score) > 5 and not (info.context or {}).get("last"):
            msg = f"the four parts add up to {sum(known)}, the score is {self.score}"
            raise ValueError(msg)
        return self


class GeneRequest(AnswerModel):
    """Genes whose numbers the booster wants to see, in its cluster and in others that it names."""

    genes: Names
    clusters: Annotated[tuple[ClusterId, ...], BeforeValidator(empty_if_null)] = ()
    hypothesis: Annotated[str, cut_text(400)] = ""
    expect: Annotated[str, cut_text(400)] = ""


class BoostAnswer(ClusterAnswer):
    """One turn of the booster: either a request for numbers or a final annotation."""

    request: GeneRequest | None = None
    final: AnnotationAnswer | None = None
    changed: bool | None = None
    reason: Annotated[str, cut_text(800)] = ""

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if (self.request is None) == (self.final is None):
            msg = "give either 'request' or 'final', and null for the other"
            raise ValueError(msg)
        return self


class MergedLabel(AnswerModel):
    """The three groups of one cluster."""

    cluster: ClusterId
    broad: Label
    detailed: Label
    specific: Label


class MergeAnswer(AnswerModel):
    """Groups of clusters at three levels of detail, by cluster identifier."""

    groups: tuple[MergedLabel, ...]


class SubclusterLabel(AnswerModel):
    """The label of one sub-cluster."""

    cluster: ClusterId
    main_cell_type: Label
    sub_cell_type: Label
    key_markers: Names = ()
    reason: Annotated[str, cut_text(600)] = ""


class SubclusterAnswer(AnswerModel):
    """Labels of sub-clusters, by identifier."""

    clusters: tuple[SubclusterLabel, ...]


A = TypeVar("A", bound=AnswerModel)


def parse_answer(
    text: str,
    model: type[A],
    context: dict[str, Any] | None = None,
) -> tuple[A | None, str]:
    """Return the answer in ``text`` and an empty text, or None and what is wrong with it.

    Parameters
    ----------
    text
        What the model wrote.
    model
        Form of the answer.
    context
        ``cluster``: the identifier asked for; ``blind``: whether the tissue was withheld; ``last``: whether
        this is the last try, in which case parts of a score need not add up.
    """
    problems = ""
    for candidate in json_objects(text):
        try:
            return model.model_validate(candidate, context=context), ""
        except ValidationError as error:
            problems = problems or _described(error)
    return None, problems or "the answer holds no JSON object"


def _described(error: ValidationError) -> str:
    lines = []
    for detail in error.errors()[:8]:
        place = ".".join(str(p) for p in detail["loc"]) or "answer"
        lines.append(f"- {place}: {detail['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def answer_form(name: str, model: type[AnswerModel]) -> AnswerForm:
    """Return the form with a JSON schema that strict services accept: all keys required, none other allowed."""
    schema = model.model_json_schema(mode="validation")
    return AnswerForm(name, _strict(schema, schema.get("$defs", {})))


_KEPT = ("type", "enum", "const", "minimum", "maximum")


def _strict(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _strict(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in node:
        return {"anyOf": [_strict(option, definitions) for option in node["anyOf"]]}
    result: dict[str, Any] = {k: node[k] for k in _KEPT if k in node}
    if result.get("type") == "array":
        result["items"] = _strict(node.get("items", {"type": "string"}), definitions)
    if result.get("type") == "object" or "properties" in node:
        members = {k: _strict(v, definitions) for k, v in node.get("properties", {}).items()}
        result.update(type="object", properties=members, required=list(members), additionalProperties=False)
    return result
