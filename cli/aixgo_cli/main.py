"""Entry point of the command ``aixgo``: finds the command and turns failures into exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from aixgo_cli import serving
from aixgo_cli.errors import CliError, ExitCode


def main() -> None:
    """Run the command and exit with a code of :class:`aixgo_cli.errors.ExitCode`."""
    _prepare_output()
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except CliError as error:
        _explain(error)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe went away, as `| head` does.
        _drop_output()
        sys.exit(ExitCode.FAILED)
    except OSError as error:  # of standard output, if not of something that nobody expected
        _drop_output()
        _explain(
            CliError(
                f"cannot go on: {error.strerror or type(error).__name__}",
                where=str(error.filename) if error.filename else None,
                then="check where the output goes; AIXGO_DEBUG=1 shows more",
            )
        )
        if os.environ.get("AIXGO_DEBUG"):
            raise
        sys.exit(ExitCode.FAILED)
    except Exception as error:  # the last resort: no traceback for the user
        if os.environ.get("AIXGO_DEBUG"):
            raise
        _explain(
            CliError(
                f"unexpected {type(error).__name__}",
                then="run it again with AIXGO_DEBUG=1 to see the traceback, and report it",
            )
        )
        sys.exit(ExitCode.FAILED)


def _prepare_output() -> None:
    """Make sure that anything can be written, whatever the caller closed and whatever its locale is."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Write what is left nowhere: Python would complain again while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run() -> None:
    options = serving.read(sys.argv[1:])
    if options is not None:
        sys.exit(serving.serve(options))
    # Half of what a runtime may take to start is the library of the command line, so `serve` does without.
    from aixgo_cli.app import app

    app()


def _explain(error: CliError) -> None:
    from aixgo_cli.output import write_error

    with contextlib.suppress(OSError):  # the exit code says it, too
        write_error(error)


if __name__ == "__main__":
    main()
