"""``aixgo session export``: a whole conversation as the JSON lines that every store keeps."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.store_options import Store, with_store


def register(parent: typer.Typer) -> None:
    """Add the command to ``parent``."""
    parent.command("export", epilog="Example: aixgo session export 3f0c… --file 3f0c.jsonl")(
        with_store(export)
    )


def export(
    store: Store,
    session_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the session.", show_default=False)],
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="A new file to write to; else standard output."),
    ] = None,
) -> None:
    """Write a session with all its branches and checkpoints as JSON lines."""
    lines = store.use(lambda manager: manager.backend.export(session_id))
    data = b"".join(line.rstrip(b"\n") + b"\n" for line in lines)
    if file is None:
        sys.stdout.buffer.write(data)
        return
    try:
        # A conversation is private: only for its owner, and never into a file that is there already.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CliError(
            f"cannot write: {error.strerror}", where=str(file), then="name a new file", code=ExitCode.USAGE
        ) from error
    with os.fdopen(descriptor, "wb") as target:
        target.write(data)
