"""The words that tables use: every enumeration with the meaning of each value.

Members are plain strings (``StopReason.LOW_MARGIN == "low_margin"``) that also carry a one-sentence
``meaning``, from which the reference pages are made.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = [
    "BranchStop",
    "CallStatus",
    "ConfidenceLevel",
    "ConfidenceTier",
    "ConsensusStop",
    "Criterion",
    "Described",
    "ExportReason",
    "FailReason",
    "LabelMatch",
    "LogSource",
    "LogStatus",
    "MarkerRole",
    "MethodAgreement",
    "Recommendation",
    "RefinementAction",
    "RouteStatus",
    "ScoreStatus",
    "StopDetail",
    "StopReason",
]


class Described(StrEnum):
    """A string enumeration whose members say what they mean."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Create a member from its text and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class StopReason(Described):
    """Why the walk down the hierarchy ended where it did."""

    LEAF_REACHED = "leaf_reached", "The assigned cell type has no further subtypes."
    NO_CHILDREN_PASS = "no_children_pass", "Subtypes exist and could be judged, but none passed its gate."
    LOW_MARGIN = "low_margin", "The best candidate is too close to the runner-up to choose between them."
    INSUFFICIENT_COVERAGE = (
        "insufficient_coverage",
        "Too few markers of the subtypes are measured to judge any of them.",
    )
    MAX_DEPTH = "max_depth", "The deepest level that may be assigned was reached, although subtypes exist."
    NO_ROOT_PASSED = "no_root_passed", "No top-level cell type passed its gate; the cluster is Unassigned."


class StopDetail(Described):
    """Where and how the walk stopped, finer than the stop reason."""

    LEAF_REACHED = "leaf_reached", "The assigned cell type has no further subtypes."
    NO_CHILD_PASSED = "no_child_passed", "Subtypes exist, but none passed its gate."
    AMBIGUOUS_SIBLINGS = "ambiguous_siblings", "Two or more subtypes passed with scores too close to choose."
    AMBIGUOUS_ROOT = "ambiguous_root", "Two or more top-level types passed with scores too close to choose."
    NO_ROOT_PASSED = "no_root_passed", "No top-level cell type passed its gate."
    MAX_DEPTH = "max_depth", "The deepest level that may be assigned was reached."
    INSUFFICIENT_COVERAGE = "insufficient_coverage", "No subtype has enough measured markers to be judged."


class FailReason(Described):
    """Why a candidate was not chosen; empty for the chosen one."""

    BELOW_GATE = "below_gate", "Positive fraction, enrichment or a required marker is below its limit."
    LOW_COVERAGE = "low_coverage", "Too few of the listed markers are measured."
    ANTI_MARKERS = "anti_markers", "A marker that speaks against the type is expressed, or a veto applies."
    OUTSCORED = "outscored", "The candidate passed its gate, but a sibling scored higher or too close to it."


class Recommendation(Described):
    """What the diagnosis advises for a cluster."""

    SUBCLUSTER = "SUBCLUSTER", "The cluster is heterogeneous and should be split."
    RELABEL = "RELABEL", "The whole cluster can take the label of one subtype."
    SKIP = "SKIP", "Nothing to refine, or too few cells to try."


class RefinementAction(Described):
    """What refinement last did to a cell or a cluster."""

    SUBCLUSTER = "SUBCLUSTER", "The cluster was split and its parts were labelled again."
    RELABEL = "RELABEL", "The label was replaced by that of a subtype; the cluster stayed whole."
    KEEP = "KEEP", "Nothing was changed."
    OVERRIDE = "OVERRIDE", "A person set the label."
    MERGE = "MERGE", "Clusters were united under one identifier and label."


class Criterion(Described):
    """Which quantity made a cluster a candidate for refinement."""

    LOW_CONFIDENCE = "low_confidence", "The score of the assigned cell type is low."
    AMBIGUOUS_ROOT = "ambiguous_root", "The lineage itself was undecided."
    HETEROGENEOUS_PARENT = "heterogeneous_parent", "Subtypes score well; the cells are divided between them."
    HOMOGENEOUS_PARENT = "homogeneous_parent", "One subtype scores well and nearly all cells agree with it."
    MIXED_POPULATION = "mixed_population", "The cell type scores well, but none of its subtypes does."
    WEAK_LEAF = "weak_leaf", "A terminal cell type with a modest score and mixed marker expression."
    RIVAL_TYPE = "rival_type", "Many cells agree with a type beside the label rather than with the label."
    NONE = "none", "No criterion applies."


class ConfidenceLevel(Described):
    """Band of the score of the assigned cell type, for reports only."""

    HIGH = "high", "Score of 2 or more."
    MEDIUM = "medium", "Score from 1 to below 2."
    LOW = "low", "Score from 0.5 to below 1."
    VERY_LOW = "very_low", "Score below 0.5."

    @classmethod
    def of(cls, score: float) -> ConfidenceLevel:
        """Return the band of a score; not-a-number is ``very_low``."""
        if score >= 2.0:
            return cls.HIGH
        if score >= 1.0:
            return cls.MEDIUM
        return cls.LOW if score >= 0.5 else cls.VERY_LOW


class MarkerRole(Described):
    """How a marker bears on a cell type."""

    POSITIVE = "positive", "Expression speaks for the cell type."
    ANTI = "anti", "Expression speaks against the cell type."


class LogSource(Described):
    """Who asked for a refinement action."""

    AUTO = "auto", "The automatic policy."
    MANUAL = "manual", "A plan written or confirmed by a person."


class LogStatus(Described):
    """How a refinement action ended."""

    DONE = "done", "The action was applied."
    NO_SPLIT = "no_split", "The cluster could not be divided and stayed as it was."
    FAILED = "failed", "The action could not be carried out; the reason is in the column reason."


class BranchStop(Described):
    """Why the walk by branch support ended."""

    LEAF_REACHED = "leaf_reached", "The assigned cell type has no further subtypes."
    NO_VALID_SCORE = "no_valid_score", "None of the candidates could be scored."
    BELOW_SCORE_THRESHOLD = "below_score_threshold", "The branch support of the best candidate is too low."
    BELOW_ABSOLUTE_SUPPORT = "below_absolute_support", "The raw enrichment of the best candidate speaks against it."
    WITHIN_SAMPLING_ERROR = "within_sampling_error", "The best candidate's support may be chance: too few transcripts."
    AMBIGUOUS_SIBLING_MARGIN = "ambiguous_sibling_margin", "The runner-up is too close to the best candidate."
    MAX_DEPTH = "max_depth", "The deepest level that may be assigned was reached."


class ConfidenceTier(Described):
    """How clearly the assigned cell type passed: its support, its margin, and the share of markers detected."""

    HIGH = "high", "Support and margin are well above their thresholds, and half of the markers are detected."
    MEDIUM = "medium", "Support and margin are above their thresholds."
    LOW = "low", "A threshold is missed, or less than a fifth of the markers are detected."
    NONE = "none", "Nothing was assigned."


class RouteStatus(Described):
    """How a walk by branch support ended."""

    ASSIGNED = "assigned", "A terminal cell type was reached."
    STOPPED = "stopped_at_parent", "The walk stopped above a terminal type, or found none."
    UNRESOLVED = "unresolved", "Nothing could be scored."


class ExportReason(Described):
    """Why a label is reported as it is."""

    RESOLVED = "resolved", "The routed label stands."
    FINAL_CALL_COMPETITION = "final_call_competition", "Two types are nearly tied and both strongly supported."
    UNKNOWN_RULE = "unknown_rule", "A rule for weak support applies."
    BLOCKED_STRONG_CANDIDATE = (
        "blocked_strong_candidate", "No lineage was accepted, but one cell type has strong support of its own."
    )


class ScoreStatus(Described):
    """Whether a cell type could be scored."""

    OK = "ok", "Scored."
    FEWER_CONTROLS = "control_count_fallback_used", "Scored; some marker had fewer controls than asked for."
    NO_MARKERS = "no_markers_present", "None of its markers is measured."
    TOO_FEW = "insufficient_markers_present", "Fewer of its markers are measured than are needed."
    LOW_FRACTION = "low_marker_fraction", "Too small a share of its markers is measured."
    NO_CONTROLS = "no_controls_available", "None of its measured markers has a control gene."


class CallStatus(Described):
    """What a label stands for."""

    RESOLVED = "resolved", "One cell type, supported down to the level of the label."
    MIXED = "mixed", "Two or more types are too close to choose between."
    CANDIDATE = "candidate", "One type is strongly suggested, but a gate above it was not passed."
    UNKNOWN = "unknown", "No type of the hierarchy is supported."


class ConsensusStop(Described):
    """Where the votes on a cluster stopped agreeing."""

    LEAF_REACHED = "leaf_reached", "The consensus has no further subtypes."
    NO_VOTES_BELOW = "no_votes_below", "No vote names a subtype of the consensus."
    DISAGREEMENT = "disagreement", "No subtype has the needed share of the votes that name one."
    NO_QUORUM = "no_quorum", "Too small a share of all votes names the leading subtype."
    TOO_BROAD = "too_broad", "The votes meet in a type that stands for more terminal types than allowed."


class LabelMatch(Described):
    """How a label of a source was found in the hierarchy."""

    ONTOLOGY_ID = "ontology_id", "By its Cell Ontology id."
    ALIAS = "alias", "By the alias table."
    NAME = "name", "By its exact name or path, without regard to case."
    BROADER = "broader", "It is not in the hierarchy, but a type above it is, by ontology or by its own path."
    ABSTENTION = "abstention", "It names no type."
    UNMAPPED = "unmapped", "It could not be found and is not a vote."


class MethodAgreement(Described):
    """How the labels of two methods for one cluster relate."""

    SAME = "same", "Both methods call the same type, or neither calls one."
    DEEPER = "deeper", "The second method goes further down the same branch."
    SHALLOWER = "shallower", "The second method stops earlier on the same branch."
    ONLY_MARKERS = "only_markers", "Only the marker score calls a type."
    ONLY_ENRICHMENT = "only_enrichment", "Only enrichment calls a type."
    DIFFERENT = "different", "The two types are on different branches."
