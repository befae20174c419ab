"""``aixgo session``: look at conversations in a session store, and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aixgo_cli.commands import session_export, session_import, session_verify
from aixgo_cli.output import AnswerFormat, ListFormat, stderr, stdout, write_data, write_table
from aixgo_cli.store_options import Store, with_store

if TYPE_CHECKING:
    from aixgo.message import Message
    from aixgo.session import Checkpoint, Manager, Session

SessionId = Annotated[str, typer.Argument(metavar="ID", help="Id of the session.", show_default=False)]

app = typer.Typer(
    name="session",
    help="Look at conversations in a session store, and change them.",
    no_args_is_help=True,
    epilog="\b\nExamples:\n"
    "  aixgo session list --store ./sessions\n"
    "  aixgo session show 3f0c… --kube --backend sessions -n quickstart",
)


def register(parent: typer.Typer) -> None:
    """Add the commands to ``parent``."""
    session_export.register(app)
    session_import.register(app)
    session_verify.register(app)
    parent.add_typer(app)


@app.command("list", epilog="Example: aixgo session list --store ./sessions --agent assistant -o json")
@with_store
def list_sessions(
    store: Store,
    agent: Annotated[str | None, typer.Option(help="Only of this agent; else of all.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 is all.")] = 0,
    output: Annotated[ListFormat, typer.Option("-o", "--output", help="Format.")] = ListFormat.TABLE,
) -> None:
    """List the sessions of a store, newest first."""

    async def read(manager: Manager) -> list[dict[str, Any]]:
        agents = [agent] if agent is not None else await manager.backend.list_agents()
        found = [
            session for name in agents for session in await manager.list(name, user_id=user, limit=limit)
        ]
        newest = sorted(found, key=lambda each: each.updated_at, reverse=True)
        return [_facts(session) for session in (newest[:limit] if limit else newest)]

    rows = store.use(read)
    if output is not ListFormat.TABLE:
        write_data(rows, output)
    elif not rows:
        stderr().print("No sessions.")
    else:
        keys = ("id", "agent", "user", "messages", "version", "updatedAt")
        columns = ["ID", "AGENT", "USER", "MESSAGES", "VERSION", "UPDATED"]
        write_table(columns, [[str(row[key]) if row[key] != "" else "-" for key in keys] for row in rows])


@app.command("show", epilog="Example: aixgo session show 3f0c… --kube --backend sessions -n quickstart")
@with_store
def show(
    store: Store,
    session_id: SessionId,
    limit: Annotated[int | None, typer.Option(min=0, help="Only the newest so many messages.")] = None,
    output: Annotated[AnswerFormat, typer.Option("-o", "--output", help="Format.")] = AnswerFormat.TEXT,
) -> None:
    """Show a conversation: who said what and when, and its checkpoints."""

    async def read(manager: Manager) -> dict[str, Any]:
        session = await manager.get(session_id)
        messages = await session.get_messages(limit=limit)
        checkpoints = await session.list_checkpoints()
        return {
            "session": {**_facts(session), "metadata": dict(session.metadata)},
            "messages": [_message_facts(message) for message in messages],
            "checkpoints": [_checkpoint_facts(checkpoint) for checkpoint in checkpoints],
        }

    data = store.use(read)
    if output is not AnswerFormat.TEXT:
        write_data(data, output)
        return
    facts = data["session"]
    owner = f" of {facts['user']}" if facts["user"] else ""
    stdout().print(f"session {facts['id']} with agent {facts['agent']}{owner}, version {facts['version']}")
    rows = [(entry["time"], entry["role"], entry["text"]) for entry in data["messages"]]
    write_table(["TIME", "ROLE", "TEXT"], rows, wrap=True)
    for checkpoint in data["checkpoints"]:
        stdout().print(
            f"checkpoint {checkpoint['id']} at {checkpoint['time']}, {checkpoint['messages']} messages"
        )


@app.command("delete", epilog="Example: aixgo session delete 3f0c… --store ./sessions")
@with_store
def delete(
    store: Store,
    session_id: SessionId,
) -> None:
    """Delete a session with everything that belongs to it."""
    store.use(lambda manager: manager.delete(session_id))
    typer.echo(f"session {session_id} deleted", err=True)


@app.command("checkpoint", epilog="Example: aixgo session checkpoint 3f0c… --store ./sessions")
@with_store
def checkpoint(
    store: Store,
    session_id: SessionId,
) -> None:
    """Remember this place of a conversation; prints the id of the checkpoint."""

    async def remember(manager: Manager) -> str:
        return (await (await manager.get(session_id)).checkpoint()).id

    typer.echo(store.use(remember))


@app.command("restore", epilog="Example: aixgo session restore 3f0c… 91d2… --store ./sessions")
@with_store
def restore(
    store: Store,
    session_id: SessionId,
    checkpoint_id: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Id of the checkpoint.", show_default=False)
    ],
) -> None:
    """Go back to a checkpoint. What came after it stays readable as a branch."""

    async def go_back(manager: Manager) -> int:
        session = await manager.get(session_id)
        await session.restore(checkpoint_id)
        return session.message_count

    count = store.use(go_back)
    typer.echo(f"session {session_id} is back at {count} messages", err=True)


def _facts(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "agent": session.agent_name,
        "user": session.user_id,
        "messages": session.message_count,
        "version": session.version,
        "createdAt": session.created_at.isoformat(timespec="seconds"),
        "updatedAt": session.updated_at.isoformat(timespec="seconds"),
    }


def _message_facts(message: Message) -> dict[str, Any]:
    from aixgo.agents.text import ASSISTANT, ASSISTANT_TYPES, text_of

    # The command says "question", other callers "user"; other types speak for themselves.
    role = "user" if message.type in ("question", "user") else message.type
    return {
        "role": ASSISTANT if message.type in ASSISTANT_TYPES else role,
        "text": text_of(message),
        "time": message.timestamp,
        **message.to_dict(),
    }


def _checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "id": checkpoint.id,
        "time": checkpoint.timestamp.isoformat(timespec="seconds"),
        "messages": checkpoint.message_count,
    }
