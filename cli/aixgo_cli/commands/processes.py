"""``aixgo serve`` and ``aixgo operator``: the processes of the two images."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer

from aixgo_cli import serving
from aixgo_cli.errors import missing_library
from aixgo_cli.serving import LogFormat, LogLevel  # noqa: TC001 - typer reads the annotations


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
    log_format: Annotated[LogFormat, typer.Option(help="Format of the log.")] = "json",
    log_level: Annotated[LogLevel, typer.Option(help="Lowest level that is logged.")] = "info",
) -> None:
    """Serve agents over gRPC, as /etc/aixgo/config/runtime.json says."""
    exit_with(serving.serve(serving.Options(root, host, log_format, log_level)))


def operator() -> None:
    """Run the operator: turns AgentRuntime, Agent and SessionBackend objects into running agents."""
    try:
        from aixgo_operator.app.main import main
    except ModuleNotFoundError as error:
        raise missing_library(error, "operator") from error
    exit_with(main())


def exit_with(result: Any) -> None:
    """Exit with the code that a process's main function returned; runs it first if it is a coroutine."""
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    raise typer.Exit(int(result or 0))
