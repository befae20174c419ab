"""``aixgo session export`` and ``import``: whole conversations as the JSON lines that every store keeps."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.store_options import Store, with_store

if TYPE_CHECKING:
    from aixgo.session import Manager


def register(parent: typer.Typer) -> None:
    """Add the commands to ``parent``."""
    parent.command("export", epilog="Example: aixgo session export 3f0c… --file 3f0c.jsonl")(
        with_store(export)
    )
    parent.command("import", epilog="Example: aixgo session import 3f0c.jsonl --store ./sessions")(
        with_store(import_log)
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


def import_log(
    store: Store,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="JSON lines.", show_default=False),
    ],
    agent: Annotated[
        str | None, typer.Option(help="Agent it belongs to; else as the log says, else the file's folder.")
    ] = None,
    session_id: Annotated[
        str | None, typer.Option("--id", help="Id it gets; else as the log says, else the file's name.")
    ] = None,
) -> None:
    """Make a session out of the JSON lines of another store, also of one that Aixgo (Go) wrote."""
    lines = file.read_bytes().splitlines()

    async def add(manager: Manager) -> str:
        from aixgo.session.log import index_lines

        said = index_lines(session_id or file.stem, lines).session or {}
        record = await manager.backend.import_log(
            agent or str(said.get("agentName") or file.resolve().parent.name),
            session_id or str(said.get("id") or file.stem),
            lines,
        )
        return f"session {record.id} of agent {record.agent_name} imported, {record.message_count} messages"

    typer.echo(store.use(add), err=True)
