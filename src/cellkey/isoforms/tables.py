"""Schemas of the written tables: columns, types and meaning in one place."""

from __future__ import annotations

from cellkey.isoforms.roles import Coupling, ModuleRole
from cellkey.records.schema import Column, TableSchema

__all__ = [
    "EDGES", "FEATURE_META", "GENE_DRIVERS", "GROUPS", "HIDDEN_FACTORS", "HIGH_VS_LOW", "IG_ATTRIBUTIONS",
    "MEMBERSHIP", "MODULES", "MODULE_EVIDENCE", "MODULE_GENE_ROLES", "MODULE_GENE_SETS", "MODULE_OVERLAP",
    "RESIDUALISATION_QC", "TRAITS", "TRAIT_MODELS", "TRANSCRIPT_LOADINGS", "TRANSCRIPT_POLARITY", "VAE_DRIVERS",
    "isoform_tables",
]

_MODULE = Column("module_id", "string", "module; M000 is the largest")
_GENE = Column("gene_id", "string", "gene")
_TRANSCRIPT = Column("transcript_id", "string", "transcript")
_FEATURE = Column("feature_id", "string", "feature: <gene_id>::<feature_type>, of a splicing event also ::<psi_uid>")
_CHANNELS = ("switch", "abundance", "psi")
_TYPE = Column("feature_type", "string", "channel of the feature", _CHANNELS)
_N_COMPLETE = Column("n_complete", "int", "samples with a value")
_MISSINGNESS = Column("missingness", "float", "share of samples without a value")
_LATENT_DIM = Column("latent_dim", "int", "latent dimension that follows the eigengene most")
_LATENT_R = Column("latent_eigengene_r", "float", "r of that dimension with the eigengene")
_IN_MODULE = Column("in_module", "bool", "gene belongs to the module")
_P = Column("pvalue", "float", "two-sided p value")


def _q(scope: str) -> Column:
    return Column("qvalue", "float", f"p value adjusted by Benjamini-Hochberg over {scope}")


MODULES = TableSchema("modules", "Module of every assigned gene, sorted by module rank, then gene.", (_GENE, _MODULE))

EDGES = TableSchema(
    "edges",
    "Gene pairs above the threshold of the backend, sorted by source and target.",
    (
        Column("source", "string", "first gene of the pair (alphabetically)"),
        Column("target", "string", "second gene of the pair"),
        Column("weight", "float", "signed similarity of the strongest pair of features"),
        Column("source_feature_id", "string", "feature of the first gene that carries the edge"),
        Column("target_feature_id", "string", "feature of the second gene that carries the edge"),
        Column("source_feature_type", "string", "channel of that feature", _CHANNELS),
        Column("target_feature_type", "string", "channel of that feature", _CHANNELS),
    ),
)

TRAITS = TableSchema(
    "traits",
    "Association of every module eigengene with every trait.",
    (
        _MODULE,
        Column("trait", "string", "sample column"),
        Column(
            "test",
            "string",
            "test: correlation for numbers, Welch t for two levels, analysis of variance for more",
            ("pearson", "spearman", "welch_t", "anova"),
        ),
        Column("contrast", "string", "levels compared: second minus first (Welch), or all levels"),
        Column("statistic", "float", "r, t or F"),
        Column("effect", "float", "r, difference of means, or eta squared"),
        Column("df", "float", "degrees of freedom (of F: of the numerator)"),
        Column("n", "int", "complete samples"),
        _P,
        _q("all rows of the file"),
        Column("ci_low", "float", "lower end of the confidence interval of the effect; missing for F"),
        Column("ci_high", "float", "upper end of the confidence interval of the effect; missing for F"),
    ),
)

TRAIT_MODELS = TableSchema(
    "trait_models",
    "Linear model of every eigengene on every trait and the covariates, HC3 errors.",
    (
        _MODULE,
        Column("trait", "string", "sample column"),
        Column("term", "string", "coefficient: the trait, or one level minus the first"),
        Column("estimate", "float", "change of the eigengene per unit or between levels"),
        Column("se", "float", "HC3 standard error"),
        Column("ci_low", "float", "lower end of the confidence interval"),
        Column("ci_high", "float", "upper end of the confidence interval"),
        Column("statistic", "float", "estimate over standard error"),
        Column("df", "float", "samples minus terms"),
        Column("n", "int", "samples with trait and covariates"),
        _P,
        _q("all rows of the file"),
        Column("joint_pvalue", "float", "Wald test that all terms of the trait are zero"),
        Column("covariates", "list", "sample columns in the model beside the trait"),
    ),
)

MODULE_GENE_ROLES = TableSchema(
    "module_gene_roles",
    "Which channel ties every module gene to its module.",
    (
        _MODULE,
        _GENE,
        Column(
            "module_role",
            "string",
            "role from |r| >= 0.2 with the module eigengene",
            tuple(r.value for r in ModuleRole),
        ),
        Column("switch_r", "float", "r of the switch feature with the module eigengene"),
        Column("abundance_r", "float", "r of the abundance feature with the module eigengene"),
        Column("switch_abundance_r", "float", "r of the two features of the gene"),
        Column("switch_active", "bool", "|switch_r| >= 0.2"),
        Column("abundance_active", "bool", "|abundance_r| >= 0.2"),
        Column("switch_p", "float", "two-sided p value of switch_r"),
        Column("switch_q", "float", "adjusted over the switch features of all module genes"),
        Column("abundance_p", "float", "two-sided p value of abundance_r"),
        Column("abundance_q", "float", "adjusted over the abundance features of all module genes"),
        Column(
            "significant_role",
            "string",
            "role when activity must also pass modules.role_fdr",
            tuple(r.value for r in ModuleRole),
        ),
        Column("coupling", "string", "how the two features go together", tuple(c.value for c in Coupling)),
    ),
)

MEMBERSHIP = TableSchema(
    "module_membership",
    "How strongly every feature of a module gene belongs to its module.",
    (
        _MODULE,
        _GENE,
        _FEATURE,
        _TYPE,
        Column("kme", "float", "r with the module eigengene"),
        _P,
        _q("all rows of the file"),
        Column("rank", "int", "place of the gene in its module by its strongest feature"),
        Column("is_hub", "bool", "among the first genes, or |kme| at the hub threshold"),
        Column("intramodular_degree", "float", "sum of absolute edge weights inside the module"),
        Column("best_other_module", "string", "other module with the strongest correlation"),
        Column("best_other_kme", "float", "r with that module's eigengene"),
    ),
)

TRANSCRIPT_LOADINGS = TableSchema(
    "transcript_loadings",
    "Weight of every transcript in the switch score of its gene.",
    (
        _GENE,
        _TRANSCRIPT,
        Column("loading", "float", "weight in the switch coordinate; 0 where the gene has none"),
        Column("mean_usage", "float", "mean share of the gene's reads"),
        Column("is_driver", "bool", "largest absolute loading of the gene"),
        Column("is_reference", "bool", "isoform that fixes the sign"),
        Column("variance_share", "float", "share of the gene's log-ratio variance in the coordinate"),
    ),
)

FEATURE_META = TableSchema(
    "feature_meta",
    "Columns of transcript_usage.",
    (
        _FEATURE,
        _GENE,
        Column("feature_type", "string", "kind of the column", ("transcript_usage",)),
        _TRANSCRIPT,
    ),
)

MODULE_EVIDENCE = TableSchema(
    "module_evidence",
    "How much of every module is more than chance.",
    (
        _MODULE,
        Column("n_genes", "int", "genes"),
        Column("coherence", "float", "root mean square correlation between features"),
        Column("mean_abs_kme", "float", "mean absolute membership"),
        Column("null_mean", "float", "mean coherence of random gene sets of the same size"),
        Column("null_sd", "float", "standard deviation of that"),
        Column("zscore", "float", "coherence in standard deviations above random sets"),
        Column("pvalue", "float", "share of random sets at least as coherent"),
        _q("modules"),
        Column("n_resamples", "int", "fits on resampled samples"),
        Column("jaccard_mean", "float", "mean best Jaccard with a module of a refit"),
        Column("jaccard_low", "float", "2.5 % quantile"),
        Column("jaccard_high", "float", "97.5 % quantile"),
        Column("coassignment", "float", "share of gene pairs that share a module in a refit"),
    ),
)

HIDDEN_FACTORS = TableSchema(
    "hidden_factors",
    "Leading components of all features.",
    (
        Column("component", "int", "place by variance"),
        Column("variance_share", "float", "share of the variance of all features"),
        Column("feature_share", "float", "share of features that load on it"),
        Column("best_column", "string", "numeric sample column that correlates most"),
        Column("best_column_r", "float", "that correlation"),
        Column("flagged", "bool", "too many features, or a suspect column"),
        Column("reason", "string", "why it was flagged"),
        Column("removed", "bool", "was regressed out before modules were made"),
    ),
)

RESIDUALISATION_QC = TableSchema(
    "residualisation_qc",
    "What the covariates explained of every feature.",
    (
        _FEATURE,
        _GENE,
        _TYPE,
        Column("var_before", "float", "variance before"),
        Column("var_after", "float", "variance after"),
        Column("var_retained_frac", "float", "after over before"),
        Column("confound_r2_before", "float", "share of variance explained by the covariates before"),
        Column("confound_r2_after", "float", "the same after"),
    ),
)

GENE_DRIVERS = TableSchema(
    "gene_driver_table",
    "Genes of a module by their strongest feature.",
    (
        _GENE,
        Column("r", "float", "r of the feature with the module eigengene"),
        _P,
        _q("all features of the module"),
        _N_COMPLETE,
        _MISSINGNESS,
        _FEATURE,
        _TYPE,
        Column("kme_low", "float", "lower end of the 95 % interval of r"),
        Column("kme_high", "float", "upper end of the 95 % interval of r"),
    ),
)

TRANSCRIPT_POLARITY = TableSchema(
    "transcript_polarity_table",
    "Which transcripts rise and fall with the module.",
    (
        _FEATURE,
        _GENE,
        _TRANSCRIPT,
        Column("r", "float", "r of the usage with the module eigengene"),
        _P,
        _q("all transcripts of the module"),
        _N_COMPLETE,
        _MISSINGNESS,
        Column("switch_strength", "float", "largest minus smallest r of the gene's transcripts"),
    ),
)

HIGH_VS_LOW = TableSchema(
    "high_vs_low_table",
    "Welch tests of samples with a high against a low eigengene.",
    (
        _FEATURE,
        _GENE,
        Column("mean_high", "float", "mean of samples with a high eigengene"),
        Column("mean_low", "float", "mean of samples with a low eigengene"),
        Column("delta", "float", "high minus low"),
        Column("se", "float", "standard error of the difference"),
        Column("tstat", "float", "Welch t"),
        _P,
        _q("all rows of the file"),
        Column("n_high", "int", "samples with a high eigengene"),
        Column("n_low", "int", "samples with a low eigengene"),
        _MISSINGNESS,
        _IN_MODULE,
    ),
)

VAE_DRIVERS = TableSchema(
    "vae_drivers",
    "Genes of a module with the response of the decoder to the module's latent dimension, high confidence first.",
    (
        _GENE,
        Column("r", "float", "r of the gene with the module eigengene"),
        Column("qvalue", "float", "q value of r"),
        Column("feature_id", "string", "feature of the gene with the strongest response"),
        _TYPE,
        Column("decoded_response", "float", "change of the feature per unit of the latent dimension"),
        _LATENT_DIM,
        _LATENT_R,
        Column("decoded_response_percentile", "float", "rank of the absolute response among module genes, in per cent"),
        Column("sign_agreement", "bool", "response and r point the same way"),
        Column("passes_filter", "bool", "q value, percentile and sign pass"),
        Column("high_confidence", "bool", "the same"),
    ),
)

IG_ATTRIBUTIONS = TableSchema(
    "ig_attributions",
    "Integrated gradients of the module's latent dimension, for every feature, strongest first.",
    (
        _GENE,
        _FEATURE,
        _TYPE,
        Column("mean_ig", "float", "mean attribution over samples"),
        Column("mean_ig_corrected", "float", "the same in the direction of the eigengene"),
        Column("mean_abs_ig", "float", "mean absolute attribution over samples"),
        _LATENT_DIM,
        _LATENT_R,
        _IN_MODULE,
    ),
)

MODULE_GENE_SETS = TableSchema(
    "module_gene_sets",
    "Over-representation of gene sets in modules.",
    (
        _MODULE,
        Column("gene_set", "string", "name of the set, or path of the cell type"),
        Column("n_set", "int", "genes of the set among the tested genes"),
        Column("n_module", "int", "genes of the module"),
        Column("n_overlap", "int", "genes in both"),
        Column("expected", "float", "overlap expected by chance"),
        Column("fold", "float", "overlap over expectation"),
        _P,
        _q("all pairs of module and set"),
        Column("genes", "list", "genes in both"),
    ),
)


GROUPS = TableSchema(
    "groups",
    "Networks of groups of samples, one fit per row.",
    (
        Column("group", "string", "level of the sample column"),
        Column("directory", "string", "folder of its fit, empty where it was skipped"),
        Column("n_samples", "int", "samples of the group"),
        Column("n_modules", "int", "modules found"),
        Column("n_module_genes", "int", "genes in a module"),
        Column("skipped", "string", "why the group was not fitted, else empty"),
    ),
)

MODULE_OVERLAP = TableSchema(
    "module_overlap",
    "Modules of two groups that share genes.",
    (
        Column("group", "string", "first group"),
        _MODULE,
        Column("other_group", "string", "second group"),
        Column("other_module_id", "string", "module of the second group"),
        Column("n_shared", "int", "genes in both modules"),
        Column("jaccard", "float", "shared genes over genes of either, among those measured in both groups"),
        Column("expected", "float", "shared genes expected by chance"),
        _P,
        _q("all pairs of modules of different groups"),
    ),
)


def isoform_tables() -> tuple[TableSchema, ...]:
    """Return the schemas of all tables with fixed columns that a fit or an explanation writes."""
    return tuple(value for value in globals().values() if isinstance(value, TableSchema))
