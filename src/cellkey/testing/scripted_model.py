"""A model made of rules: answers every role from the data block of the request, always the same way."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.llm.transport import HttpRequest, HttpResponse, MockTransport

__all__ = ["ScriptedModel", "SeenRequest", "count_tokens", "read_request", "scripted_transport"]

_DATA = re.compile(r"<data>\n(.*?)\n</data>", re.DOTALL)
_FORM = re.compile(r'Form "([\w-]+)"')

_NAMES = {
    "T cell": ("T cell", "CD4-positive, alpha-beta T cell"),
    "B cell": ("B cell", "mature B cell"),
    "plasma cell": ("plasma cell", "plasma cell"),
    "NK cell": ("natural killer cell", "natural killer cell"),
    "myeloid": ("myeloid cell", "monocyte"),
    "granulocyte": ("granulocyte", "neutrophil"),
    "platelet": ("platelet", "platelet"),
    "erythroid": ("erythroid lineage cell", "erythrocyte"),
    "endothelial": ("endothelial cell", "endothelial cell"),
    "fibroblast": ("fibroblast", "fibroblast"),
    "smooth muscle or pericyte": ("muscle cell", "smooth muscle cell"),
    "skeletal or cardiac muscle": ("muscle cell", "cardiac muscle cell"),
    "epithelial": ("epithelial cell", "epithelial cell"),
    "endocrine": ("endocrine cell", "endocrine cell"),
    "neuron": ("neuron", "neuron"),
    "stem or progenitor": ("hematopoietic stem cell", "hematopoietic stem cell"),
}


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as a server sees it.

    Parameters
    ----------
    kind
        ``chat``, ``messages`` or ``responses``.
    form
        Name of the answer's form, from the schema or from the words of the instructions.
    role
        Role that the form and the data speak of; ``probe`` for anything else.
    data
        Data block of the first user turn.
    n_turns
        Number of turns.
    text
        All text that was sent.
    body
        The whole body.
    """

    kind: str
    form: str
    role: str
    data: dict[str, Any]
    n_turns: int
    text: str
    last: str
    body: dict[str, Any] = field(repr=False)

    @property
    def cluster(self) -> str:
        """Identifier of the cluster that the request is about, if it is about one."""
        block = self.data.get("cluster")
        return str(block.get("cluster", "")) if isinstance(block, dict) else ""


_ROLE_OF_FORM = {
    "annotation-1": "annotator",
    "validation-1": "validator",
    "score-1": "scorer",
    "boost-1": "booster",
    "merge-1": "merger",
    "subclusters-1": "subcluster_annotator",
    "comparison-1": "comparer",
}


def read_request(path: str, body: bytes) -> SeenRequest:
    """Return what a request body of any wire format asks for."""
    content = json.loads(body)
    kind = next((k for k in ("messages", "responses") if path.endswith(f"/{k}")), "chat")
    messages = [dict(m) for m in content.get("input" if kind == "responses" else "messages", [])]
    own = {"messages": "system", "responses": "instructions"}
    system = content.get(own[kind], "") if kind in own else _system_of(messages)
    turns = [m for m in messages if m.get("role") != "system"]
    form = _form_name(content) or next(iter(_FORM.findall(system)), "")
    first = str(turns[0]["content"]) if turns else ""
    block = _DATA.search(first)
    data = json.loads(block[1]) if block else {}
    role = _ROLE_OF_FORM.get(form, "probe")
    if role == "annotator" and "proposal" in data:
        role = "reviser"
    text = "\n".join([system, *(str(m["content"]) for m in turns)])
    last = str(turns[-1]["content"]) if turns else ""
    return SeenRequest(kind, form, role, data, len(turns), text, last, content)


def _system_of(messages: list[dict[str, Any]]) -> str:
    return "\n".join(str(m["content"]) for m in messages if m.get("role") == "system")


def _form_name(content: Mapping[str, Any]) -> str:
    if content.get("tools"):
        return str(content["tools"][0].get("name", ""))
    if content.get("text"):
        return str(content["text"]["format"].get("name", ""))
    schema = (content.get("response_format") or {}).get("json_schema") or {}
    return str(schema.get("name", ""))


def count_tokens(text: str) -> int:
    """Return a count of tokens: a quarter of the characters, rounded up."""
    return -(-len(text) // 4)


@dataclass
class ScriptedModel:
    """Names a cluster after the lineage whose markers rank highest.

    Parameters
    ----------
    labels
        General and detailed label by cluster, instead of what the genes say.
    scores
        Score by cluster; 90 for all others.
    verdicts
        Verdict of the validator by cluster; ``pass`` for all others.
    score_after_boost
        Score of a proposal that was boosted.
    boost_label
        General and detailed label by cluster that the booster settles on; the proposal's by default.
    boost_genes
        Genes that the booster asks for.
    boost_clusters
        Other clusters whose numbers it asks for.
    preferences
        Candidate that each model prefers, by name of the model; what the genes say by default.
    persuadable
        Models that take the opinion of most others over their own.
    """

    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    score_after_boost: float = 88
    boost_label: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    boost_genes: tuple[str, ...] = ("CD3D", "MS4A1", "NOTAGENE")
    boost_clusters: tuple[str, ...] = ()
    preferences: Mapping[str, str] = field(default_factory=dict)
    persuadable: frozenset[str] = frozenset()

    def answer(self, request: SeenRequest) -> dict[str, Any] | str:
        """Return the answer to a request: an object in the form asked for, or plain text."""
        return {
            "annotator": self._annotation,
            "reviser": self._annotation,
            "validator": self._validation,
            "scorer": self._score,
            "booster": self._boost,
            "merger": self._merge,
            "subcluster_annotator": self._subclusters,
            "comparer": self._comparison,
        }.get(request.role, lambda _request: "ready")(request)

    def _annotation(self, request: SeenRequest) -> dict[str, Any]:
        block = request.data["cluster"]
        label = self.labels.get(block["cluster"])
        return _annotation(block, *(label or _label_of(_genes(block))))

    def _validation(self, request: SeenRequest) -> dict[str, Any]:
        verdict = self.verdicts.get(request.cluster, "pass")
        objections = [] if verdict == "pass" else [{"kind": "too_specific", "text": "not warranted", "genes": []}]
        return {"cluster": request.cluster, "verdict": verdict, "objections": objections, "mixture_suspected": False}

    def _score(self, request: SeenRequest) -> dict[str, Any]:
        boosted = "boosted" in str(request.data["proposal"].get("evidence", ""))
        score = self.score_after_boost if boosted else self.scores.get(request.cluster, 90)
        part = int(score) // 4
        return {
            "cluster": request.cluster,
            "score": score,
            "correctness": int(score) - 3 * part,
            "marker_balance": part,
            "coverage": part,
            "rank_use": part,
            "reason": "as scripted",
        }

    def _boost(self, request: SeenRequest) -> dict[str, Any]:
        if request.n_turns == 1 and self.boost_genes:
            wanted = {
                "genes": list(self.boost_genes),
                "clusters": list(self.boost_clusters),
                "hypothesis": "lineage",
                "expect": "enrichment",
            }
            return {
                "cluster": request.cluster,
                "request": wanted,
                "final": None,
                "changed": None,
                "reason": "",
            }
        block, proposal = request.data["cluster"], request.data.get("proposal", {})
        general = proposal.get("general_cell_type", "")
        subtypes = proposal.get("ranked_subtypes") or [{"name": general}]
        former = (general, subtypes[0]["name"]) if proposal else _label_of(_genes(block))
        label = self.boost_label.get(request.cluster, former)
        final = {**_annotation(block, *label), "evidence": "boosted: the numbers were looked up"}
        return {
            "cluster": request.cluster,
            "request": None,
            "final": final,
            "changed": label != former,
            "reason": "numbers",
        }

    def _merge(self, request: SeenRequest) -> dict[str, Any]:
        rows = request.data["labels_by_cluster"]
        asked = _DATA.search(request.last) if request.n_turns > 1 else None
        wanted = json.loads(asked[1])["clusters"] if asked else list(rows)
        return {
            "groups": [
                {
                    "cluster": c,
                    "broad": rows[c]["general"].split(" ")[-1] + " group",
                    "detailed": rows[c]["general"],
                    "specific": rows[c]["detailed"],
                }
                for c in wanted
            ]
        }

    def _subclusters(self, request: SeenRequest) -> dict[str, Any]:
        rows = request.data["subclusters"]
        asked = _DATA.search(request.last) if request.n_turns > 1 else None
        wanted = json.loads(asked[1])["clusters"] if asked else list(rows)
        answers = []
        for cluster in wanted:
            genes = [g.split(" (")[0] for g in rows[cluster]["genes_among_siblings"]]
            general, detailed = self.labels.get(cluster) or _label_of(genes)
            answers.append(
                {
                    "cluster": cluster,
                    "main_cell_type": general,
                    "sub_cell_type": detailed,
                    "key_markers": genes[:3],
                    "reason": "as scripted",
                }
            )
        return {"clusters": answers}

    def _comparison(self, request: SeenRequest) -> dict[str, Any]:
        genes = _genes(request.data["cluster"])
        model = str(request.body.get("model", ""))
        liked = self.preferences.get(model) or _label_of(genes)[1]
        others = request.data.get("other_reviewers", [])
        if others and model in self.persuadable:
            told = Counter(max(rows, key=lambda row: row["score"])["cell_type"] for rows in others if rows)
            liked = told.most_common(1)[0][0]
        scores = [
            {
                "cell_type": name,
                "score": 85 if name == liked else 30,
                "supporting_genes": genes[:3] if name == liked else [],
                "contradicting_genes": [] if name == liked else genes[:1],
                "reason": f"{', '.join(genes[:3])} {'fit' if name == liked else 'do not fit'} {name}",
            }
            for name in request.data["candidates"]
        ]
        return {"cluster": request.cluster, "scores": scores, "abstain": False}


def _genes(block: Mapping[str, Any]) -> list[str]:
    return [str(g).split(" (")[0] for g in block["genes"]]


def _label_of(genes: list[str]) -> tuple[str, str]:
    """Labels of the lineage whose panel has the best-ranked genes."""
    from cellkey.llm.rule_checks import lineage_panels

    weight = {g.casefold(): 1 / (rank + 5) for rank, g in reversed(list(enumerate(genes)))}
    scores = {name: sum(weight.get(g.casefold(), 0.0) for g in panel) for name, panel in lineage_panels().items()}
    best = min(scores, key=lambda name: (-scores[name], name))
    return _NAMES.get(best, (best, best)) if scores[best] > 0 else ("stromal cell", "stromal cell")


def _annotation(block: Mapping[str, Any], general: str, detailed: str) -> dict[str, Any]:
    genes = _genes(block)
    return {
        "cluster": block["cluster"],
        "general_cell_type": general,
        "ranked_subtypes": [
            {"name": detailed, "probability": 0.8, "supporting_genes": genes[:3], "contradicting_genes": []}
        ],
        "cell_state": None,
        "mixed_populations": [],
        "possible_tissues": ["blood"],
        "functional_markers": [],
        "confidence": "high",
        "evidence": f"cluster {block['cluster']}: {', '.join(genes[:3])} lead the list.",
        "unknown": False,
    }


def scripted_transport(model: ScriptedModel | None = None) -> MockTransport:
    """Return a transport without a network, behind which a scripted model answers; for tests and dry runs."""
    from cellkey.llm.transport import HttpResponse, MockTransport
    from cellkey.testing.wire_answers import answer_body

    scripted = model or ScriptedModel()

    def handle(request: HttpRequest) -> HttpResponse:
        seen = read_request(request.url, request.body)
        body, _, _ = answer_body(seen, scripted.answer(seen))
        return HttpResponse(200, json.dumps(body).encode(), {"content-type": "application/json"})

    return MockTransport(handle)
