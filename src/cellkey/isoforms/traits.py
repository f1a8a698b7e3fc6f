"""Tests of module eigengenes against sample columns, and linear models with covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import BundleError, Problem, did_you_mean
from cellkey.isoforms.correlation import bh, correlation_pvalues, fisher_interval, unit_rows
from cellkey.isoforms.covariates import covariate_columns
from cellkey.isoforms.linear_models import least_squares, one_way, welch
from cellkey.isoforms.settings import TraitParameters
from cellkey.isoforms.tables import TRAIT_MODELS, TRAITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellkey.records.schema import TableSchema

__all__ = ["TraitResults", "associate_traits"]

Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TraitResults:
    """Tests of all modules against all traits.

    Parameters
    ----------
    tests
        One row per module and trait: correlation, Welch t or analysis of variance.
    models
        One row per module, trait and term: linear model with covariates and HC3 errors.
    skipped
        Traits that were not tested, with the reason.
    """

    tests: pd.DataFrame
    models: pd.DataFrame
    skipped: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Trait:
    """A sample column that can be tested: its complete samples and their values or levels."""

    name: str
    complete: NDArray[np.bool_]
    values: Array | None
    levels: tuple[str, ...] = ()
    codes: NDArray[np.intp] | None = None


def associate_traits(
    eigengenes: dict[str, Array],
    samples: pd.DataFrame,
    parameters: TraitParameters | None = None,
    *,
    columns: Sequence[str] | None = None,
    removed: Sequence[str] = (),
    removed_terms: int = 0,
) -> TraitResults:
    """Return trait tests and models.

    Parameters
    ----------
    eigengenes
        One profile per module over the rows of ``samples``.
    columns
        Traits; None takes every column except the id and ``removed``.
    removed
        Covariates that were regressed out before modules were made.
    removed_terms
        Degrees of freedom they took; correlations lose as many.

    Raises
    ------
    BundleError
        If a trait or covariate named by the caller is not a sample column.
    """
    settings = parameters or TraitParameters()
    _need_columns(samples, [*(columns or ()), *settings.covariates])
    asked = (
        list(columns)
        if columns is not None
        else [str(c) for c in samples.columns if c != "sample_id" and c not in removed and c not in settings.covariates]
    )
    usable: list[_Trait] = []
    skipped: list[dict[str, str]] = []
    for name in asked:
        trait, reason = _read_trait(samples[name], name, settings)
        if trait is None:
            skipped.append({"trait": name, "reason": reason})
        else:
            usable.append(trait)
    tests = [row for trait in usable for row in _simple_tests(eigengenes, trait, settings, removed_terms)]
    models: list[Row] = []
    for trait in usable:
        rows, reason = _models(eigengenes, trait, samples, settings)
        models += rows
        if reason:
            skipped.append({"trait": trait.name, "reason": f"linear model: {reason}"})
    return TraitResults(_adjusted(tests, TRAITS), _adjusted(models, TRAIT_MODELS), tuple(skipped))


def _need_columns(samples: pd.DataFrame, names: Sequence[str]) -> None:
    known = [str(c) for c in samples.columns]
    problems = [
        Problem(
            f"no such column{did_you_mean(n, known)}",
            f"samples.parquet, column {n!r}",
            f"columns are {', '.join(known[:20])}",
        )
        for n in dict.fromkeys(names)
        if n not in known
    ]
    if problems:
        msg = f"{len(problems)} trait(s) or covariate(s) are not in the sample table"
        raise BundleError(msg, problems)


def _read_trait(column: pd.Series, name: str, settings: TraitParameters) -> tuple[_Trait | None, str]:
    complete = column.notna().to_numpy()
    n = int(complete.sum())
    if n < settings.min_samples:
        return None, f"{n} samples have a value, at least {settings.min_samples} are needed (traits.min_samples)"
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        values = np.asarray(column.astype(np.float64), dtype=np.float64)
        finite = np.isfinite(values)
        if finite.sum() < settings.min_samples:
            return None, f"{int(finite.sum())} samples have a finite value, at least {settings.min_samples} are needed"
        if np.ptp(values[finite]) == 0:
            return None, "all values are equal"
        return _Trait(name, finite, values[finite]), ""
    text = column[complete].astype(str)
    levels = tuple(sorted(set(text)))
    counts = text.value_counts()
    if len(levels) < 2:
        return None, "all values are equal"
    if len(levels) > settings.max_levels:
        return None, f"{len(levels)} levels, more than {settings.max_levels} (traits.max_levels)"
    if counts.min() < 2:
        rare = sorted(counts.index[counts < 2])
        return None, f"levels with fewer than two samples: {', '.join(map(str, rare[:5]))}"
    codes = np.searchsorted(np.array(levels, dtype=object), text.to_numpy(dtype=object)).astype(np.intp)
    return _Trait(name, complete, None, levels, codes), ""


def _simple_tests(
    eigengenes: dict[str, Array], trait: _Trait, settings: TraitParameters, removed_terms: int
) -> Iterator[Row]:
    n = int(trait.complete.sum())
    for module, profile in eigengenes.items():
        y = profile[trait.complete]
        row: Row = {"module_id": module, "trait": trait.name, "n": n, "contrast": ""}
        if trait.values is not None:
            yield row | _correlation_test(y, trait.values, settings, n - removed_terms)
        elif len(trait.levels) == 2:
            a, b = (y[trait.codes == code] for code in (0, 1))
            t = welch(a, b)
            low, high = t.interval(settings.confidence)
            yield row | {
                "test": "welch_t",
                "contrast": f"{trait.levels[1]} - {trait.levels[0]}",
                "effect": t.effect,
                "statistic": t.statistic,
                "df": t.df,
                "pvalue": t.pvalue,
                "ci_low": low,
                "ci_high": high,
            }
        else:
            assert trait.codes is not None
            f, eta, df, _, p = one_way(y, trait.codes)
            yield row | {
                "test": "anova",
                "contrast": " / ".join(trait.levels),
                "effect": eta,
                "statistic": f,
                "df": float(df),
                "pvalue": p,
            }


def _correlation_test(y: Array, x: Array, settings: TraitParameters, n: int) -> Row:
    if settings.method == "spearman":
        from scipy.stats import rankdata

        y, x = rankdata(y), rankdata(x)
    r = float(np.clip(unit_rows(y[None, :])[0] @ unit_rows(x[None, :])[0], -1, 1))
    low, high = fisher_interval(np.array(r), n, settings.confidence)
    return {
        "test": settings.method,
        "effect": r,
        "statistic": r,
        "df": float(n - 2),
        "pvalue": float(correlation_pvalues(np.array(r), n)),
        "ci_low": float(low),
        "ci_high": float(high),
    }


def _models(
    eigengenes: dict[str, Array], trait: _Trait, samples: pd.DataFrame, settings: TraitParameters
) -> tuple[list[Row], str]:
    covariates = [c for c in settings.covariates if c != trait.name]
    table = samples[trait.complete]
    usable = np.ones(len(table), dtype=bool)
    for c in covariates:
        usable &= table[c].notna().to_numpy()
    design, terms = _design(trait, table, covariates, usable)
    rows = []
    for module, profile in eigengenes.items():
        y = profile[trait.complete][usable]
        fit = least_squares(y, design)
        if fit is None:
            return [], "the trait is a combination of the covariates, or too few samples remain"
        if np.isnan(fit.se).any():
            return [], "one sample alone determines a term, so that HC3 errors are not defined"
        low, high = fit.interval(settings.confidence)
        p, positions = fit.pvalues(), np.arange(1, 1 + len(terms))
        joint = fit.joint_pvalue(positions)
        for k, term in zip(positions, terms, strict=True):
            rows.append(
                {
                    "module_id": module,
                    "trait": trait.name,
                    "term": term,
                    "estimate": fit.estimate[k],
                    "se": fit.se[k],
                    "ci_low": low[k],
                    "ci_high": high[k],
                    "statistic": fit.estimate[k] / fit.se[k] if fit.se[k] else np.nan,
                    "df": float(fit.df),
                    "n": len(y),
                    "pvalue": p[k],
                    "joint_pvalue": joint,
                    "covariates": ",".join(covariates),
                }
            )
    return rows, ""


def _design(
    trait: _Trait, table: pd.DataFrame, covariates: list[str], usable: NDArray[np.bool_]
) -> tuple[Array, list[str]]:
    """Intercept, trait terms, covariates; text traits against their first level."""
    if trait.values is not None:
        columns, terms = [trait.values[usable][:, None]], [trait.name]
    else:
        assert trait.codes is not None
        codes = trait.codes[usable]
        columns = [(codes == k).astype(np.float64)[:, None] for k in range(1, len(trait.levels))]
        terms = [f"{level} - {trait.levels[0]}" for level in trait.levels[1:]]
    extra = [_full_rank(covariate_columns(table.loc[usable, c])) for c in covariates]
    return np.hstack([np.ones((int(usable.sum()), 1)), *columns, *extra]), terms


def _full_rank(columns: Array) -> Array:
    """Indicators of all levels add up to the intercept: drop the first of several."""
    return columns[:, 1:] if columns.shape[1] > 1 else columns


def _adjusted(rows: list[Row], schema: TableSchema) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=schema.names)
    return table.assign(qvalue=bh(table["pvalue"].to_numpy(dtype=np.float64)))
