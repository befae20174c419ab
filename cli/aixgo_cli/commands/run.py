"""``aixgo run``: the agents of a configuration file in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aixgo_cli.errors import CliError, ExitCode, missing_library
from aixgo_cli.serving import LogFormat  # noqa: TC001 - typer reads the annotations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo.config.reading import ConfigFile
    from aixgo.config.translate import Connection, Plan

_EPILOG = """\b
Examples:
  aixgo run -c agents.yaml
  aixgo run -c agents.yaml --check
  OPENAI_BASE_URL=http://localhost:8000/v1 aixgo run -c agents.yaml --http-port 8081
  aixgo run -c agents.yaml --grpc-port 50051 --tls-dir ./certs
"""
#: The names of the original's levels that are not Python's.
_LEVELS = {"warn": "warning", "fatal": "critical"}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("run", epilog=_EPILOG)(run)


def run(
    config: Annotated[
        Path,
        typer.Option(
            "-c", "--config", "-config", envvar="CONFIG_FILE", metavar="FILE", help="Configuration file."
        ),
    ] = Path("config/agents.yaml"),
    http_port: Annotated[
        int,
        typer.Option(
            "--http-port",
            "-http-port",
            envvar="PORT",
            min=0,
            max=65535,
            help="Port for health, metrics and statusz; 0 takes a free one.",
        ),
    ] = 8080,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level",
            "-log-level",
            envvar="LOG_LEVEL",
            metavar="debug|info|warn|error",
            help="Lowest level that is logged.",
        ),
    ] = "info",
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="Format of the log; else text on a terminal, json elsewhere.", show_default=False),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            envvar="GRPC_PORT",
            min=0,
            max=65535,
            help="Port for calls, besides the agents' own listen; without both there is none.",
            show_default=False,
            rich_help_panel="Calls from other processes",
        ),
    ] = None,
    tls_dir: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Folder with tls.crt, tls.key and ca.crt. Without it calls stay on this machine.",
            rich_help_panel="Calls from other processes",
        ),
    ] = None,
    allow_insecure: Annotated[
        bool,
        typer.Option(
            "--allow-insecure",
            help="Let calls leave this machine in plaintext.",
            rich_help_panel="Calls from other processes",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the file is good (exit 0) or not (exit 2).")
    ] = False,
) -> None:
    """Run the agents of an Aixgo configuration file (YAML) until SIGTERM, SIGHUP or Ctrl-C.

    API keys come from the environment: OPENAI_API_KEY, ANTHROPIC_API_KEY, XAI_API_KEY, GOOGLE_API_KEY,
    HUGGINGFACE_API_KEY; OPENAI_BASE_URL and the like say where else a provider is.

    The keys of the file are those of Aixgo v0.3.3, in snake_case or camelCase. A key that does not exist is
    an error; one that has no effect here is named in a warning.
    """
    try:
        from aixgo.config.translate import Connection
    except ModuleNotFoundError as error:
        raise missing_library(error, "runtime") from error

    level = _level(log_level)
    file, plan = _read(config, Connection(tls_dir, allow_insecure), grpc_port, os.environ)
    if check:
        for warning in plan.warnings:
            typer.echo(f"warning: {warning.shown(file.name)}", err=True)
        typer.echo(f"{file.name}: {len(plan.agents)} agents, no errors")
        return
    try:
        from aixgo.config.runner import Options
        from aixgo.config.runner import run as run_agents
        from aixgo.observability.logs import configure_logging
    except ModuleNotFoundError as error:
        raise missing_library(error, "runtime") from error
    text = log_format == "text" or (log_format is None and sys.stdout.isatty())
    form: LogFormat = "text" if text else "json"
    configure_logging(form, level)

    from aixgo.config.problems import ConfigError

    options = Options(http_port=http_port, connection=Connection(tls_dir, allow_insecure))
    try:
        code = run_agents(file, plan, os.environ, options)
    except ConfigError as error:
        raise _invalid(error) from None
    raise typer.Exit(code)


def _read(
    path: Path, connection: Connection, grpc_port: int | None, environment: Mapping[str, str]
) -> tuple[ConfigFile, Plan]:
    from aixgo.config.problems import ConfigError
    from aixgo.config.reading import load_config
    from aixgo.config.translate import make_plan

    try:
        file = load_config(path)
        return file, make_plan(file, environment, connection, grpc_port)
    except ConfigError as error:
        raise _invalid(error) from None


def _invalid(error: Exception) -> CliError:
    return CliError(
        f"the configuration cannot be used:\n{error}",
        then="correct the file; aixgo run --check tells whether it is good",
        code=ExitCode.USAGE,
    )


def _level(name: str) -> str:
    level = _LEVELS.get(name.lower(), name.lower())
    if level not in ("debug", "info", "warning", "error", "critical"):
        raise CliError(
            f"unknown log level {name[:40]!r}",
            where="--log-level, LOG_LEVEL",
            then="use debug, info, warn or error",
            code=ExitCode.USAGE,
        )
    return level
