"""Numbers that the booster may ask for: of this cluster's rows only, found by exact name, then by
case, then by alias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.llm.evidence import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

__all__ = ["GeneQueries"]

MOST_GENES = 40
MOST_CLUSTERS = 5


class GeneQueries:
    """Answers questions about genes from the full marker table.

    Parameters
    ----------
    table
        Full marker table in the common form.
    aliases
        Returns other names of a gene, best first.
    """

    def __init__(self, table: pd.DataFrame, aliases: Callable[[str], Iterable[str]] | None = None) -> None:
        self._aliases = aliases
        self._names: dict[str, str] = {}
        for gene in table["gene"]:
            self._names.setdefault(str(gene).casefold(), str(gene))
        self._exact = set(self._names.values())
        self._columns = {c: table[c].to_numpy() for c in ("avg_log2FC", "pct.1", "pct.2", "p_val_adj")}
        self._row: dict[tuple[str, str], int] = {}
        for i, pair in enumerate(zip(table["cluster"], table["gene"], strict=True)):
            self._row.setdefault(pair, i)
        self._clusters = list(dict.fromkeys(table["cluster"]))

    def numbers(self, cluster: str, genes: Iterable[str], others: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Return the numbers of at most 40 genes in ``cluster``, and where else each gene is strongest.

        A gene that no row of the table names is ``not tested``, which is different from not enriched. The numbers in at
        most five ``others``, each against all cells that are not in it, stand beside those of the cluster.
        """
        asked = list(dict.fromkeys(plain_text(g) for g in genes))[:MOST_GENES]
        beside = [c for c in dict.fromkeys(others) if c != cluster][:MOST_CLUSTERS]
        return [self._gene(cluster, name, beside) for name in asked]

    def _gene(self, cluster: str, asked: str, others: list[str]) -> dict[str, Any]:
        name = self._resolve(asked)
        if name is None:
            return {"gene": asked, "result": "not tested"}
        row = self._row.get((cluster, name))
        if row is None:
            answer: dict[str, Any] = {"gene": name, "result": "not listed for this cluster"}
        else:
            answer = {"gene": name, **self._values(row)}
        best = self._strongest(name, but=cluster)
        if best:
            answer["strongest_elsewhere"] = best
        if others:
            answer["in_other_clusters"] = {plain_text(c): self._beside(c, name) for c in others}
        return answer

    def _beside(self, cluster: str, name: str) -> dict[str, Any] | str:
        row = self._row.get((cluster, name))
        if row is not None:
            return self._values(row)
        return "not listed for this cluster" if cluster in self._clusters else "no such cluster"

    def _resolve(self, asked: str) -> str | None:
        if asked in self._exact:
            return asked
        folded = asked.casefold()
        if folded in self._names:
            return self._names[folded]
        others = self._aliases(asked) if self._aliases is not None else ()
        return next((self._names[o.casefold()] for o in others if o.casefold() in self._names), None)

    def _values(self, row: int) -> dict[str, Any]:
        numbers = {name: float(values[row]) for name, values in self._columns.items()}
        named = {
            "log2FC": round(numbers["avg_log2FC"], 2),
            "in_cluster": _percent(numbers["pct.1"]),
            "elsewhere": _percent(numbers["pct.2"]),
            "p_adj": float(f"{numbers['p_val_adj']:.1e}"),
        }
        return {k: v for k, v in named.items() if v is not None and not (isinstance(v, float) and np.isnan(v))}

    def _strongest(self, gene: str, but: str) -> dict[str, Any] | None:
        """The other cluster with the highest fold change."""
        folds = self._columns["avg_log2FC"]
        rows = [(c, self._row[c, gene]) for c in self._clusters if c != but and (c, gene) in self._row]
        rows = [(c, r) for c, r in rows if not np.isnan(folds[r])]
        if not rows:
            return None
        cluster, row = max(rows, key=lambda item: (folds[item[1]], item[0]))
        return {"cluster": cluster, **self._values(row)}


def _percent(fraction: float) -> str | None:
    return None if np.isnan(fraction) else f"{fraction:.0%}"
