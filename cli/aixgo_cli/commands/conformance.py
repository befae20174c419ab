"""``aixgo conformance``: does a runtime honour the runtime contract?"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aixgo_cli.errors import CliError, ExitCode, missing_library
from aixgo_cli.output import ListFormat, stderr, waiting, write_data, write_table

if TYPE_CHECKING:
    from aixgo_cli.conformance.check import Check, Result
    from aixgo_cli.conformance.subject import Subject

_EPILOG = """\b
Examples:
  aixgo conformance --exec "aixgo serve --root {dir} --host 127.0.0.1"
  aixgo conformance --target localhost:50051 --admin http://localhost:8080 --tls-dir ./client
  aixgo conformance --target localhost:50051 --admin http://localhost:8080 --agent assistant -o json
"""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("conformance", epilog=_EPILOG)(conformance)


def conformance(
    target: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="gRPC address of a runtime that is running.")
    ] = None,
    admin: Annotated[str | None, typer.Option(metavar="URL", help="Address of its admin port.")] = None,
    tls_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder with the client's tls.crt, tls.key and ca.crt; else plaintext."
        ),
    ] = None,
    server_name: Annotated[
        str | None, typer.Option(help="Name in the server's certificate; else the host.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(help="Agent that may be called about 15 times; without it no agent is executed."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Start a runtime with this command instead and check everything; {dir} stands for a folder "
            "with config/, tls/, secrets/ and sessions/ that the checker writes.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--check", metavar="NAME", help="Run this check; may be repeated.")
    ] = None,
    output: Annotated[ListFormat, typer.Option("-o", "--output", help="Format.")] = ListFormat.TABLE,
) -> None:
    """Check a runtime against the runtime contract, statement by statement.

    Exits with 1 if it breaks one, and with 4 if it is not there. What cannot be seen from here is listed as
    not checked, with the reason.
    """
    if (command is None) == (target is None and admin is None):
        raise CliError(
            "give either --exec, or --target and --admin",
            then="see aixgo conformance --help",
            code=ExitCode.USAGE,
        )
    import asyncio

    try:
        checks = _chosen(only or [])
        if command is not None:
            results = asyncio.run(_of_command(command, checks))
        else:
            results = asyncio.run(_of_target(target, admin, tls_dir, server_name, agent, checks))
    except ModuleNotFoundError as error:
        raise missing_library(error, "conformance") from error
    _write(results, output)
    if any(result.verdict.value == "fail" for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _chosen(only: list[str]) -> list[Check]:
    from aixgo_cli.conformance import admin, process, sessions, wire

    checks = [*wire.check, *admin.check, *sessions.check, *process.check]
    unknown = sorted(set(only) - {check.name for check in checks})
    if unknown:
        raise CliError(
            f"there is no check {', '.join(unknown)}",
            then=f"the checks are {', '.join(check.name for check in checks)}",
            code=ExitCode.USAGE,
        )
    return [check for check in checks if not only or check.name in only]


async def _of_command(command: str, checks: list[Check]) -> list[Result]:
    from aixgo_cli.conformance.laboratory import Laboratory
    from aixgo_cli.conformance.scripted_model import ScriptedModel

    with tempfile.TemporaryDirectory(prefix="aixgo-conformance-") as directory:
        async with ScriptedModel() as model:
            laboratory = Laboratory(command, Path(directory), model)
            try:
                with waiting("starting the runtime"):
                    await laboratory.start()
                return await _run(checks, laboratory.subject())
            finally:
                await laboratory.stop()


async def _of_target(
    target: str | None,
    admin: str | None,
    tls_dir: Path | None,
    server_name: str | None,
    agent: str | None,
    checks: list[Check],
) -> list[Result]:
    if target is None or admin is None:
        raise CliError("--target and --admin go together", then="give both", code=ExitCode.USAGE)
    from aixgo_cli.conformance.subject import Subject
    from aixgo_cli.credentials import from_directory

    identity = from_directory(tls_dir) if tls_dir is not None else None
    subject = Subject(target, admin.rstrip("/"), identity, server_name, agent)
    await subject.reach()
    return await _run(checks, subject)


async def _run(checks: list[Check], subject: Subject) -> list[Result]:
    from aixgo_cli.conformance.check import run_checks

    with waiting(f"running {len(checks)} checks"):
        return [result async for result in run_checks(checks, subject)]


def _write(results: list[Result], output: ListFormat) -> None:
    if output is not ListFormat.TABLE:
        fields = ("name", "statement", "verdict", "reason")
        write_data([{field: str(getattr(result, field)) for field in fields} for result in results], output)
        return
    write_table(
        ["CHECK", "RESULT", "STATEMENT"],
        [
            (
                result.name,
                result.verdict.value,
                result.statement + (f" -- {result.reason}" if result.reason else ""),
            )
            for result in results
        ],
        wrap=True,
    )
    counts = Counter(result.verdict.value for result in results)
    stderr().print(", ".join(f"{counts[word]} {word}" for word in ("pass", "fail", "not checked")))
