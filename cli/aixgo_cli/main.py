"""Entry point of the command ``aixgo``: puts the commands together and turns failures into exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from aixgo_cli.commands import call, chat, conformance, explain, processes, run, session, status, version
from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.output import write_error

# rich takes three times as long to load as everything else; without a terminal nobody sees its frames.
_HELP_STYLE: Final = "rich" if sys.stdout is not None and sys.stdout.isatty() else None

app = typer.Typer(
    name="aixgo",
    help="AI agents on Kubernetes: call them, look at their conversations, see why something is not ready.",
    no_args_is_help=True,
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


def main() -> None:
    """Run the command and exit with a code of :class:`aixgo_cli.errors.ExitCode`."""
    try:
        app()
    except CliError as error:
        write_error(error)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe went away, as `| head` does. Python would complain again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except Exception as error:  # the last resort: no traceback for the user
        if os.environ.get("AIXGO_DEBUG"):
            raise
        write_error(
            CliError(
                f"unexpected {type(error).__name__}",
                then="run it again with AIXGO_DEBUG=1 to see the traceback, and report it",
            )
        )
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
