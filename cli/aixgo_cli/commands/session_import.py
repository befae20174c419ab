"""``aixgo session import``: conversations of other stores, those of Aixgo (Go) v0.3.3 included."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aixgo.errors import (
    AixgoError,
    InvalidMessageError,
    InvalidPathComponentError,
    SessionConflictError,
    SessionCorruptedError,
    SessionNotFoundError,
    StorageError,
)
from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.output import stderr
from aixgo_cli.store_options import Store, with_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aixgo.session import Manager

    #: Returns the log of a session; None if it is gone.
    Read = Callable[[str], Awaitable[bytes | None]]

ORIGINAL_PREFIX: Final = "aixgo:session:"


def register(parent: typer.Typer) -> None:
    """Add the command to ``parent``."""
    parent.command(
        "import",
        epilog="\b\nExamples:\n"
        "  aixgo session import 3f0c.jsonl --store ./sessions\n"
        "  aixgo session import ~/.aixgo/sessions --store rediss://redis.example.com:6379\n"
        "  aixgo session import redis://localhost:6379 --store ./sessions",
    )(with_store(import_sessions))


def import_sessions(
    store: Store,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIR|URL",
            envvar="AIXGO_SESSION_SOURCE",
            show_default=False,
            help="JSON lines of one session, or a directory or a Redis of sessions. A URL with a password is "
            "better kept in the environment variable.",
        ),
    ],
    agent: Annotated[
        str | None,
        typer.Option(help="Agent of the FILE's session, if the file does not say; else its folder."),
    ] = None,
    session_id: Annotated[
        str | None, typer.Option("--id", help="Id of it, if the file does not say; else the file's name.")
    ] = None,
    from_prefix: Annotated[
        str, typer.Option(help="Prefix of the keys in the Redis that is imported from.")
    ] = ORIGINAL_PREFIX,
) -> None:
    """Copy sessions of another store into this one, also those that Aixgo (Go) v0.3.3 wrote.

    They keep their ids, branches and checkpoints. What is there already is left alone.
    """
    is_url = source.startswith(("redis://", "rediss://"))
    path = Path(source).expanduser()
    if not is_url and path.is_file():
        _import_file(store, path, agent, session_id)
        return
    if agent is not None or session_id is not None:
        raise CliError("--agent and --id are for one file", then="leave them out", code=ExitCode.USAGE)
    if not is_url and not path.is_dir():
        raise CliError(
            "no such file or directory",
            where=source,
            then="name a file of JSON lines, a directory of sessions or a redis:// URL",
            code=ExitCode.USAGE,
        )

    async def copy(manager: Manager) -> tuple[int, int, list[str]]:
        async with _opened(source, store, from_prefix) as (ids, read, unreadable):
            imported, there, failed = await _copy(manager, ids, read)
            return imported, there, [*unreadable, *failed]

    imported, there, failed = store.use(copy, create=True)
    known = f", {there} there already" if there else ""
    stderr().print(f"{imported} session{'' if imported == 1 else 's'} imported{known}")
    if failed:
        for line in failed:
            stderr().print(line)
        raise CliError(
            f"{len(failed)} of {len(failed) + imported + there} sessions cannot be imported",
            then="see what is wrong: aixgo session verify",
        )


async def _copy(manager: Manager, ids: list[str], read: Read) -> tuple[int, int, list[str]]:
    """Copy sessions one after the other. A damaged one does not keep the others back."""
    from aixgo.session.inspect import import_session

    imported, there, failed = 0, 0, []
    for session_id in ids:
        try:
            log = await read(session_id)
            if log is not None:
                await import_session(manager.backend, log)
                imported += 1
        except SessionConflictError:
            there += 1
        except SessionNotFoundError:
            continue  # deleted in the meantime
        except StorageError:
            raise
        except AixgoError as error:
            failed.append(f"session {session_id}: {error}")
    return imported, there, failed


@asynccontextmanager
async def _opened(source: str, store: Store, prefix: str) -> AsyncIterator[tuple[list[str], Read, list[str]]]:
    """Open a source: the ids of its sessions, what reads one, and what is wrong with those not listed."""
    from aixgo.session import FileBackend, RedisBackend
    from aixgo.session.inspect import export_session, iterate_sessions
    from aixgo_cli.stores import local_store

    ca = store.ca if source.startswith("rediss://") else None  # it may be for the other store
    async with local_store(source, ca=ca, prefix=prefix, called="the Redis to import from") as manager:
        backend = manager.backend
        own = [record.id async for record in iterate_sessions(backend)]
        if isinstance(backend, FileBackend):
            problems = [problem for problem, _ in await backend.verify_store(repair=False)]
            unreadable = {
                problem.session_id: f"session {problem.session_id}: {problem.text}"
                for problem in problems
                if problem.session_id and problem.session_id not in own
            }
            yield own, lambda session_id: export_session(backend, session_id), list(unreadable.values())
            return
        from aixgo.session.redis.original import original_ids, original_log

        assert isinstance(backend, RedisBackend)  # noqa: S101 - of such a URL
        redis = backend
        originals = {session_id async for session_id in original_ids(redis, prefix)}

        async def read(session_id: str) -> bytes | None:
            if session_id in originals:
                return await original_log(redis, prefix, session_id)
            return await export_session(redis, session_id)

        yield sorted(originals | set(own)), read, []


def _import_file(store: Store, file: Path, agent: str | None, session_id: str | None) -> None:
    from aixgo.session.inspect import with_owner
    from aixgo.session.log_lines import index_lines

    try:
        lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
        said = index_lines(session_id or file.stem, lines).session or {}
        for option, wanted, key in (("--id", session_id, "id"), ("--agent", agent, "agentName")):
            if wanted is not None and said.get(key, wanted) != wanted:
                raise CliError(
                    f"the file says that it is {said[key]!r}, not {wanted!r}",
                    where=str(file),
                    then=f"leave out {option}",
                    code=ExitCode.USAGE,
                )
        name = str(said.get("id") or session_id or file.stem)
        owner = str(said.get("agentName") or agent or file.resolve().parent.name)
        log = b"".join(line + b"\n" for line in with_owner(lines, owner, name))
    except OSError as error:
        raise CliError(f"cannot read: {error.strerror}", where=str(file), code=ExitCode.USAGE) from error
    except (SessionCorruptedError, InvalidPathComponentError, InvalidMessageError) as error:
        raise CliError(str(error), where=str(file), code=ExitCode.USAGE) from error

    async def add(manager: Manager) -> str:
        from aixgo.session.inspect import import_session

        try:
            record = await import_session(manager.backend, log)
        except (SessionCorruptedError, InvalidPathComponentError, InvalidMessageError) as error:
            raise CliError(str(error), where=str(file), code=ExitCode.USAGE) from error
        return f"session {record.id} of agent {record.agent_name} imported, {record.message_count} messages"

    stderr().print(store.use(add, create=True))
