"""The commands of ``aixgo`` put together."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from aixgo_cli.commands import call, chat, conformance, explain, processes, run, session, status, version

# rich takes three times as long to load as everything else; without a terminal nobody sees its frames.
_HELP_STYLE: Final = "rich" if sys.stdout is not None and sys.stdout.isatty() else None

app = typer.Typer(
    name="aixgo",
    help="AI agents on Kubernetes: call them, look at their conversations, see why something is not ready.",
    no_args_is_help=True,
    epilog="\b\nExamples:\n"
    "  aixgo status -A\n"
    '  aixgo call assistant "Hello" -n quickstart\n'
    "  aixgo run -c agents.yaml",
    pretty_exceptions_enable=False,
    rich_markup_mode=_HELP_STYLE,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=False)
def _root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=version.show_and_exit, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


call.register(app)
chat.register(app)
session.register(app)
status.register(app)
explain.register(app)
processes.register(app)
run.register(app)
conformance.register(app)
version.register(app)
