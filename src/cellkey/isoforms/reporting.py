"""A fit as one HTML file that works offline: notes, tables and figures; every name is escaped."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellkey.isoforms.figures.saving import fit_figures
from cellkey.isoforms.fit_files import FitFiles, read_fit
from cellkey.isoforms.parquet import read_parquet
from cellkey.plots._style import render
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_fit"]

MAX_ROWS = 25

_STYLE = """
:root { color-scheme: light; --ink: #222; --muted: #666; --line: #e3e3e3; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
p.lead, caption, figcaption { color: var(--muted); } caption { text-align: left; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; margin: 1rem 0; }
th, td { padding: 2px 10px 2px 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } img { max-width: 100%; height: auto; }
figure { margin: 1.5rem 0; } nav a { margin-right: 1rem; }
.note { border-left: 3px solid #e69f00; padding-left: .7rem; }
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report_fit(directory: str | Path, path: str | Path | None = None) -> Path:
    """Write ``report.html`` of a fit directory and return its path.

    Parameters
    ----------
    path
        File to write; None writes ``report.html`` inside the fit.

    Raises
    ------
    RunError
        If a file of the fit is missing.
    """
    fit = read_fit(directory)
    target = Path(path) if path is not None else fit.directory / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, _page(fit))
    return target


def _page(fit: FitFiles) -> str:
    config = fit.config()
    figures = {name: _image(figure, name) for name, figure in fit_figures(fit)}
    body = [
        f"<h1>{escape(str(config.get('dataset_name', fit.directory.name)))}</h1>",
        f'<p class="lead">{escape(_lead(fit, config))}</p>',
        '<nav><a href="#modules">Modules</a><a href="#traits">Traits</a><a href="#each">Each module</a>'
        '<a href="#settings">Settings</a></nav>',
        *[f'<p class="note">{escape(str(n))}</p>' for n in config.get("notes", [])],
        '<h2 id="modules">Modules</h2>',
        _table(_overview(fit), "Modules, the largest first."),
        figures.pop("eigengene_heatmap"),
        figures.pop("role_scatter"),
        figures.pop("soft_threshold", ""),
        figures.pop("feature_dendrogram", ""),
        '<h2 id="traits">Traits</h2>',
        figures.pop("module_trait_heatmap"),
        _table(fit.table("traits").sort_values(["pvalue", "module_id"], kind="stable"), "Strongest associations."),
        _skipped(fit),
        '<h2 id="each">Each module</h2>',
        *_modules(fit, figures),
        '<h2 id="settings">Settings</h2>',
        f"<details><summary>fit_config.json</summary><pre>{escape(json.dumps(config, indent=2))}</pre></details>",
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(str(config.get('dataset_name', 'fit')))}</title><style>{_STYLE}</style></head><body>"
    )
    return head + "\n".join(body) + "\n</body></html>\n"


def _lead(fit: FitFiles, config: dict[str, Any]) -> str:
    n_genes = len(fit.modules.module_of)
    return (
        f"{len(fit.modules)} modules with {n_genes:,} genes from {config.get('n_samples')} samples and "
        f"{config.get('n_features'):,} features; backend {config.get('backend')}, seed {config.get('random_seed')}, "
        f"{config.get('isograph_version')}."
    )


def _overview(fit: FitFiles) -> pd.DataFrame:
    names = fit.gene_names
    membership, roles = fit.table("module_membership"), fit.table("module_gene_roles")
    evidence = fit.table("module_evidence").set_index("module_id")
    rows = []
    for module, genes in fit.modules.members.items():
        own = membership[membership["module_id"] == module].sort_values(["rank", "gene_id"], kind="stable")
        hubs = list(dict.fromkeys(own["gene_id"]))[:5]
        part = roles[roles["module_id"] == module]["module_role"].astype(str).value_counts()
        rows.append(
            {
                "module": module,
                "genes": len(genes),
                "coherence": evidence["coherence"].get(module),
                "q": evidence["qvalue"].get(module),
                "roles": ", ".join(f"{k} {v}" for k, v in part.items()),
                "strongest genes": ", ".join(names.get(g, g) for g in hubs),
            }
        )
    return pd.DataFrame(rows, columns=["module", "genes", "coherence", "q", "roles", "strongest genes"])


def _modules(fit: FitFiles, figures: dict[str, str]) -> list[str]:
    parts = []
    sets = fit.directory / "module_gene_sets.parquet"
    enriched = read_parquet(sets) if sets.is_file() else None
    names = fit.gene_names
    membership = fit.table("module_membership")
    for module in fit.modules:
        drawn = [html for name, html in figures.items() if name.startswith(f"{module}_")]
        if not drawn:
            continue
        own = membership[membership["module_id"] == module].sort_values(["rank", "feature_id"], kind="stable")
        table = own[["gene_id", "feature_type", "kme", "qvalue", "best_other_module", "best_other_kme"]]
        table = table.assign(gene_id=[names.get(g, g) for g in table["gene_id"]]).rename(columns={"gene_id": "gene"})
        parts += [f"<h3>{escape(module)}</h3>", *drawn, _table(table, "Strongest members.", 10)]
        if enriched is not None:
            hits = enriched[(enriched["module_id"] == module) & (enriched["qvalue"] <= 0.05)]
            parts.append(_table(hits.sort_values("pvalue").drop(columns="module_id"), "Gene sets, q <= 0.05.", 10))
    return parts


def _skipped(fit: FitFiles) -> str:
    path = fit.directory / "traits_skipped.json"
    skipped = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if not skipped:
        return ""
    return _table(pd.DataFrame(skipped), "Sample columns that were not tested, and why.")


def _table(frame: pd.DataFrame, caption: str, most: int = MAX_ROWS) -> str:
    if not len(frame):
        return f'<p class="lead">{escape(caption)} None.</p>'
    shown = frame.head(most)
    if len(frame) > most:
        caption += f" {most} of {len(frame):,} rows."
    head = "".join(f"<th>{escape(str(c))}</th>" for c in shown.columns)
    rows = "".join(
        "<tr>" + "".join(_cell(v) for v in row) + "</tr>" for row in shown.itertuples(index=False, name=None)
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "<td></td>"
    if pd.api.types.is_bool(value):
        return f"<td>{'yes' if value else 'no'}</td>"
    if pd.api.types.is_number(value):
        return f'<td class="n">{value:,.4g}</td>'.replace("-", "−")
    if pd.api.types.is_list_like(value):
        words = [str(v) for v in value]
        return f"<td>{escape(', '.join(words[:8]) + (', ...' if len(words) > 8 else ''))}</td>"
    return f"<td>{escape(str(value))}</td>"


def _image(figure: Figure, name: str) -> str:
    buffer = io.BytesIO()
    render(figure, buffer, 110)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<figure><img alt="{escape(name.replace("_", " "))}" src="data:image/png;base64,{data}"></figure>'
