"""Settings of a batch: one frozen value that goes to every worker and into the record."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from cellkey.llm.marker_selection import SelectionParameters
from cellkey.llm.setup import ModelSettings
from cellkey.llm.workflow import WorkflowParameters
from cellkey.parameters import Parameters

__all__ = ["Annotator", "BatchSettings"]


class Annotator(StrEnum):
    """Who names the clusters."""

    MARKERS = "markers"
    LLM = "llm"
    BOTH = "both"


class BatchSettings(Parameters):
    """How every dataset of a batch is clustered and annotated."""

    annotator: Annotator = Annotator.MARKERS
    species: str = Field(default="Human", description="passed to the model")
    notes: str = Field(default="", description="further context for the model")
    hierarchy: str | None = Field(
        default=None, description="marker hierarchy: a file or a built-in name; None matches the tissue"
    )
    ontology: str | None = Field(default=None, description="OBO file of the Cell Ontology")
    panels: str | None = Field(default=None, description="folder of marker panels that a model is shown as evidence")
    resolution: float = Field(default=0.5, gt=0, description="resolution of the Leiden clustering")
    n_pcs: int = Field(default=40, ge=1, le=500, description="principal components for neighbours")
    n_neighbors: int = Field(default=10, ge=1, le=1000, description="nearest neighbours per cell")
    cluster_key: str | None = Field(default=None, description="column of obs with clusters that are used as they are")
    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of all random steps")
    umap: bool = Field(default=True, description="whether a UMAP embedding is made")
    min_genes: int = Field(default=200, ge=0, description="detected genes per cell at least (whole transcriptomes)")
    min_cells_per_gene: int = Field(default=3, ge=0, description="cells a gene is detected in at least")
    markers_top: int | None = Field(default=None, ge=1, description="genes per cluster in markers.csv; None for all")
    label_level: Literal["detailed", "general"] = Field(default="detailed", description="what obs['cell_type'] holds")
    model: ModelSettings = ModelSettings()
    workflow: WorkflowParameters = WorkflowParameters()
    selection: SelectionParameters = SelectionParameters()
    budget_usd: float | None = Field(default=None, gt=0, description="money that all calls together may cost")
    budget_tokens: int | None = Field(default=None, gt=0, description="tokens that all calls together may use")
    store_prompts: bool = Field(default=True, description="whether prompts are kept in the conversations")

    @property
    def asks_a_model(self) -> bool:
        """Whether a language model takes part."""
        return self.annotator is not Annotator.MARKERS
