"""What is known beforehand and checked without a model: ontology, known markers, other names of genes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from cellkey.hierarchy import Hierarchy
    from cellkey.llm.evidence import ClusterEvidence, Study
    from cellkey.llm.marker_selection import SelectionParameters
    from cellkey.llm.panels import MarkerPanel
    from cellkey.llm.rule_checks import RuleChecks
    from cellkey.llm.terms import CellTypeTerms

__all__ = ["Knowledge", "bundled_knowledge"]


def _no_aliases(_name: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Knowledge:
    """Knowledge that the rule checks and the gene queries use.

    Parameters
    ----------
    terms
        Cell Ontology lookup.
    calls
        Labels that the marker hierarchy gave, by cluster.
    canonical_markers
        Known markers by label.
    aliases
        Returns other names of a gene.
    panels
        Marker panels of the user, shown as evidence; their types' markers go before ``canonical_markers``.
    """

    terms: CellTypeTerms | None = None
    calls: Mapping[str, str] = field(default_factory=dict)
    canonical_markers: Mapping[str, Iterable[str]] = field(default_factory=dict)
    aliases: Callable[[str], Iterable[str]] = _no_aliases
    panels: tuple[MarkerPanel, ...] = ()

    def checks(self, table: pd.DataFrame) -> RuleChecks:
        """Return the rule checks of the proposals about a marker table."""
        from cellkey.llm.rule_checks import RuleChecks

        up, down = (_by_type(self.panels, which) for which in ("up", "down"))
        canonical = {**self.canonical_markers, **up}
        return RuleChecks(table, self.terms, self.calls, canonical, self.aliases, down)


    def evidence(
        self,
        table: pd.DataFrame,
        study: Study,
        selection: SelectionParameters | None = None,
        sizes: Mapping[str, int] | None = None,
        checks: RuleChecks | None = None,
    ) -> dict[str, ClusterEvidence]:
        """Return what models are shown of every cluster of a marker table, with the panels that its genes speak for."""
        from cellkey.llm.evidence import evidence_of
        from cellkey.llm.marker_selection import select_markers
        from cellkey.llm.panels import with_panels

        selections = select_markers(table, selection, tissue=study.tissue, tissues=study.tissues)
        return with_panels(evidence_of(selections, study, sizes), self.panels, checks or self.checks(table))


def _by_type(panels: tuple[MarkerPanel, ...], which: str) -> dict[str, list[str]]:
    """Genes of all panels of a type together."""
    genes: dict[str, list[str]] = {}
    for panel in panels:
        genes.setdefault(panel.cell_type, []).extend(getattr(panel, which))
    return genes


def bundled_knowledge(
    hierarchy: Hierarchy | None = None,
    ontology: str | Path | None = None,
    calls: Mapping[str, str] | None = None,
    panels: str | Path | None = None,
    study: Study | None = None,
) -> Knowledge:
    """Return the knowledge that ships with the package, or what the user has instead.

    Parameters
    ----------
    hierarchy
        Marker hierarchy whose types and markers are known; the general one if None.
    ontology
        OBO file of the Cell Ontology; the terms of the built-in hierarchies if None.
    calls
        Labels that the hierarchy gave, by cluster.
    panels
        Folder of marker panels of the user; see :func:`cellkey.llm.panels.read_panels`.
    study
        Only panels of its tissue and species are taken.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    from cellkey.hierarchy import get_builtin
    from cellkey.hierarchy.aliases import aliases_of
    from cellkey.hierarchy.ontology import bundled_ontology, read_ontology
    from cellkey.llm.panels import fitting_panels, read_panels
    from cellkey.llm.terms import OntologyTerms

    terms = OntologyTerms(read_ontology(ontology) if ontology is not None else bundled_ontology())
    key = hierarchy if hierarchy is not None else get_builtin()
    markers: dict[str, tuple[str, ...]] = {}
    for node in key.nodes:
        for name in (node.name, *node.aliases):
            markers.setdefault(name, tuple(node.markers))
    own = () if panels is None else read_panels(panels)
    fitting = own if study is None else fitting_panels(own, study)
    return Knowledge(terms, dict(calls or {}), markers, aliases_of, fitting)
