"""``aixgo session verify``: whether a session store is as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aixgo_cli.errors import CliError
from aixgo_cli.output import AnswerFormat, stdout, write_data, write_table
from aixgo_cli.store_options import Store, with_store

if TYPE_CHECKING:
    from aixgo.session import Manager


def register(parent: typer.Typer) -> None:
    """Add the command to ``parent``."""
    parent.command("verify", epilog="Example: aixgo session verify --store ./sessions --repair")(
        with_store(verify)
    )


def verify(
    store: Store,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what can be without losing anything acknowledged.")
    ] = False,
    output: Annotated[AnswerFormat, typer.Option("-o", "--output", help="Format.")] = AnswerFormat.TEXT,
) -> None:
    """Check a store: logs, counts, indexes, times to live, the checksum of every checkpoint.

    Exits with 1 when something is wrong that was not put right.
    """

    async def check(manager: Manager) -> dict[str, Any]:
        from aixgo.session.inspect import verify as verify_backend

        report = await verify_backend(manager.backend, repair=repair)
        return {
            "ok": report.ok,
            "sessions": report.sessions,
            "messages": report.messages,
            "checkpoints": report.checkpoints,
            "problems": [
                {
                    "agent": problem.agent_name,
                    "session": problem.session_id,
                    "problem": problem.text,
                    "repaired": problem.repaired,
                }
                for problem in report.problems
            ],
        }

    found = store.use(check)
    if output is not AnswerFormat.TEXT:
        write_data(found, output)
    else:
        _write(found)
    left = sum(not problem["repaired"] for problem in found["problems"])
    if left:
        then = "look at each of them" if repair else "try --repair; it loses nothing that was acknowledged"
        raise CliError(f"{left} problem{'s' if left > 1 else ''} in the store", then=then)


def _write(found: dict[str, Any]) -> None:
    if found["problems"]:
        rows = [
            (
                each["agent"] or "-",
                each["session"] or "-",
                "yes" if each["repaired"] else "no",
                each["problem"],
            )
            for each in found["problems"]
        ]
        write_table(["AGENT", "SESSION", "REPAIRED", "PROBLEM"], rows, wrap=True)
    counts = ", ".join(f"{found[what]} {what}" for what in ("sessions", "messages", "checkpoints"))
    stdout().print(f"{counts} checked, {len(found['problems']) or 'no'} problems")
