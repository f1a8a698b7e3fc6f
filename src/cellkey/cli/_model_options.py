"""Options that all commands share which ask a language model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

import typer

from cellkey.cli._common import OUTPUT_DIR

if TYPE_CHECKING:
    from cellkey.llm.workflow import Case

PROVIDER_HELP = (
    "openai, anthropic, openrouter, ollama, vllm, llamacpp, custom, a base URL, or 'scripted' (no service at all: "
    "rules on this machine, for trying things out)."
)
Provider = Annotated[str, typer.Option(help=PROVIDER_HELP)]
Model = Annotated[str, typer.Option(help="Name of the model at the provider.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
ApiKeys = Annotated[Path | None, typer.Option(help="Private JSON file of keys (mode 600).")]
Effort = Annotated[
    str | None,
    typer.Option(
        "--reasoning-effort", help="minimal, low, medium or high: how hard a reasoning model shall think."
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds without a byte before a call is given up.")]
Budget = Annotated[float | None, typer.Option("--budget", "--max-cost", help="USD that may be spent in all.")]
Prices = Annotated[
    Path | None, typer.Option(help="JSON file of prices by model, before the table that ships with the package.")
]
JsonLog = Annotated[
    Path | None, typer.Option("--json-log", metavar="FILE", help="Append what happens to FILE, one JSON object a line.")
]
Tissue = Annotated[str, typer.Option(help="Tissue; 'none' withholds it.")]
Species = Annotated[str, typer.Option(help="Species.")]
Notes = Annotated[str, typer.Option(help="Disease, treatment, enrichment: told to the model.")]
Results = Annotated[str | None, typer.Option("--dataset", help="Name of the results; the file's by default.")]
Knowledge = Annotated[
    Path | None, typer.Option(help="Folder of your own marker tables (cell_type, gene, ...), shown to the model.")
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Directory that 'batch' or 'llm annotate' wrote; it is left as it is.")
]
Dataset = Annotated[str | None, typer.Option(help="Dataset of a batch, where there are several.")]
Clusters = Annotated[list[str] | None, typer.Option("--cluster", "-c", help="A cluster; give it again for more.")]


@dataclass(frozen=True)
class Asking:
    """Who is asked, within which limits, and where the results go; :func:`asks` makes the fields options."""

    out: Annotated[Path | None, typer.Option(*OUTPUT_DIR, help="New directory for results.")] = None
    provider: Annotated[str | None, typer.Option(help="Another provider than the run's; see 'llm providers'.")] = None
    model: Annotated[str | None, typer.Option(help="Another model than the run's.")] = None
    base_url: BaseUrl = None
    api_keys: ApiKeys = None
    reasoning_effort: Effort = None
    max_workers: Annotated[int, typer.Option(help="Calls at once.")] = 4
    timeout: Timeout = 120.0
    max_retries: Annotated[int, typer.Option(help="Repeated attempts of a call.")] = 5
    budget: Budget = None
    max_tokens_total: Annotated[int | None, typer.Option(help="Tokens that may be used in all.")] = None
    input_cost: Annotated[float | None, typer.Option(help="USD per million input tokens.")] = None
    output_cost: Annotated[float | None, typer.Option(help="USD per million output tokens.")] = None
    prices: Prices = None
    cache: Annotated[str, typer.Option(help="on, off or readonly: answers kept between runs.")] = "on"
    resume: Annotated[bool, typer.Option("--resume", help="Go on in the directory of an interrupted run.")] = False
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not try the model before the run.")] = False
    preview: Annotated[
        bool, typer.Option("--preview", "--dry-run", help="Say what would be sent and cost; send nothing.")
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the settings of the model that were given; ``more`` are further ones, or stand instead."""
        return given(
            **{
                "provider": self.provider,
                "model": self.model,
                "base_url": self.base_url,
                "api_keys": as_text(self.api_keys),
                "reasoning_effort": self.reasoning_effort,
                "timeout": self.timeout,
                "retries": self.max_retries,
                "max_workers": self.max_workers,
                "cache": self.cache,
                "input_cost": self.input_cost,
                "output_cost": self.output_cost,
                "price_file": as_text(self.prices),
                **more,
            }
        )

    @property
    def limits(self) -> dict[str, Any]:
        """What the run may take, and how it begins, as :func:`cellkey.llm.run.asking_in` takes it."""
        return {
            "budget_usd": self.budget,
            "budget_tokens": self.max_tokens_total,
            "resume": self.resume,
            "probe": not self.no_probe,
        }

    @property
    def directory(self) -> Path:
        """The directory of results, which has to be given."""
        return self.out if self.out is not None else refuse("--out DIR says where the results go")

    @property
    def on_cluster(self) -> Callable[[Case], None] | None:
        """What is told of every finished cluster."""
        return None if self.quiet or self.preview else _say


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`Asking`, which it takes as its parameter ``asking``.

    An option that the command declares itself stays as it declares it.
    """
    own = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(Asking, include_extras=True)
    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Asking)
        if f.name not in own
    ]
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.items() if name != "asking"]

    @wraps(command)
    def run(**values: Any) -> None:
        asking = Asking(**{f.name: values[f.name] for f in fields(Asking)})
        command(asking=asking, **{p.name: values[p.name] for p in kept})

    run.__signature__ = inspect.Signature([*kept, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*kept, *shared)}
    return run


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {k: v for k, v in values.items() if v is not None}


def as_text(path: Path | None) -> str | None:
    """Return a path as text."""
    return None if path is None else str(path)


def refuse(message: str) -> NoReturn:
    """Stop because of an option."""
    from cellkey.errors import ParameterError

    raise ParameterError(message)


def _say(case: Case) -> None:
    typer.echo(f"cluster {case.cluster}: {case.state}", err=True)
