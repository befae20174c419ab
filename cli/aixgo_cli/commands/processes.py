"""``aixgo serve`` and ``aixgo operator``: the processes of the two images."""

from __future__ import annotations

import asyncio
import inspect
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any, Literal

import typer

from aixgo_cli.errors import CliError, ExitCode


class LogFormat(StrEnum):
    """How the process writes its log."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """How much the process writes to its log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("serve", epilog="Example: aixgo serve --root ./runtime")(serve)
    app.command("operator", epilog="Example: aixgo operator")(operator)


def serve(
    root: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with config/, tls/, secrets/, session-tls/ and sessions/; else the paths in a pod.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; else every address.", show_default=False)
    ] = "",
    log_format: Annotated[LogFormat, typer.Option(help="Format of the log.")] = LogFormat.JSON,
    log_level: Annotated[LogLevel, typer.Option(help="Lowest level that is logged.")] = LogLevel.INFO,
) -> None:
    """Serve agents over gRPC, as /etc/aixgo/config/runtime.json says."""
    from aixgo.contract import RuntimePaths

    paths = RuntimePaths.in_pod() if root is None else RuntimePaths.under(root.resolve())
    try:
        from aixgo.server.main import run
    except ModuleNotFoundError as error:
        raise missing_library(error, "runtime") from error
    form: Literal["json", "text"] = "json" if log_format is LogFormat.JSON else "text"
    exit_with(run(paths, host=host, log_format=form, log_level=log_level.value))


def operator() -> None:
    """Run the operator: turns AgentRuntime, Agent and SessionBackend objects into running agents."""
    try:
        from aixgo_operator.app.main import main
    except ModuleNotFoundError as error:
        raise missing_library(error, "operator") from error
    exit_with(main())


def missing_library(error: ModuleNotFoundError, extra: str) -> CliError:
    """Explain a library that is not installed. A missing module of the project itself is raised as it is."""
    if (error.name or "").split(".")[0] in {"aixgo", "aixgo_operator", "aixgo_cli"}:
        raise error
    return CliError(
        f"the Python package {error.name!r} is not installed",
        then=f"pip install 'aixgo[{extra}]'",
        code=ExitCode.USAGE,
    )


def exit_with(result: Any) -> None:
    """Exit with the code that a process's main function returned; runs it first if it is a coroutine."""
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    raise typer.Exit(int(result or 0))
