"""Options that all commands share which ask a language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cellkey.cli._common import OUTPUT_DIR

if TYPE_CHECKING:
    from cellkey.llm.workflow import Case

Provider = Annotated[
    str,
    typer.Option(
        help="openai, anthropic, openrouter, ollama, vllm, llamacpp, custom, a base URL, or 'scripted' (no "
        "service at all: rules on this machine, for trying things out)."
    ),
]
Model = Annotated[str, typer.Option(help="Name of the model at the provider.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
ApiKeys = Annotated[Path | None, typer.Option(help="Private JSON file of keys (mode 600).")]
Out = Annotated[Path | None, typer.Option(*OUTPUT_DIR, help="New directory for results.")]
Effort = Annotated[
    str | None,
    typer.Option(
        "--reasoning-effort", help="minimal, low, medium or high: how hard a reasoning model shall think."
    ),
]
MaxWorkers = Annotated[int, typer.Option(help="Calls at once.")]
Timeout = Annotated[float, typer.Option(help="Seconds without a byte before a call is given up.")]
MaxRetries = Annotated[int, typer.Option(help="Repeated attempts of a call.")]
Budget = Annotated[float | None, typer.Option("--budget", "--max-cost", help="USD that may be spent in all.")]
MaxTokens = Annotated[int | None, typer.Option(help="Tokens that may be used in all.")]
InputCost = Annotated[float | None, typer.Option(help="USD per million input tokens.")]
OutputCost = Annotated[float | None, typer.Option(help="USD per million output tokens.")]
Prices = Annotated[
    Path | None, typer.Option(help="JSON file of prices by model, before the table that ships with the package.")
]
Cache = Annotated[str, typer.Option(help="on, off or readonly: answers kept between runs.")]
JsonLog = Annotated[
    Path | None, typer.Option("--json-log", metavar="FILE", help="Append what happens to FILE, one JSON object a line.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in the directory of an interrupted run.")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Do not try the model before the run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AskedProvider = Annotated[str | None, typer.Option(help="Another provider than the run's; see 'llm providers'.")]
AskedModel = Annotated[str | None, typer.Option(help="Another model than the run's.")]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Directory that 'batch' or 'llm annotate' wrote; it is left as it is.")
]
Dataset = Annotated[str | None, typer.Option(help="Dataset of a batch, where there are several.")]
Clusters = Annotated[list[str] | None, typer.Option("--cluster", "-c", help="A cluster; give it again for more.")]


def say(case: Case) -> None:
    """Say how a cluster ended."""
    typer.echo(f"cluster {case.cluster}: {case.state}", err=True)


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {k: v for k, v in values.items() if v is not None}


def as_text(path: Path | None) -> str | None:
    """Return a path as text."""
    return None if path is None else str(path)


def directory(out: Path | None) -> Path:
    """Return the directory of results, which has to be given."""
    return out if out is not None else refuse("--out DIR says where the results go")


def refuse(message: str) -> NoReturn:
    """Stop because of an option."""
    from cellkey.errors import ParameterError

    raise ParameterError(message)


def given_model(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the model that were given as options of a command."""
    return given(
        provider=options["provider"],
        model=options["model"],
        base_url=options["base_url"],
        api_keys=as_text(options["api_keys"]),
        reasoning_effort=options["reasoning_effort"],
        timeout=options["timeout"],
        retries=options["max_retries"],
        max_workers=options["max_workers"],
        cache=options["cache"],
        input_cost=options["input_cost"],
        output_cost=options["output_cost"],
    )
