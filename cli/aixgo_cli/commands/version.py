"""``aixgo version`` and ``aixgo --version``."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from aixgo.version import CONTRACT_VERSION
from aixgo.version import version as distribution_version
from aixgo_cli.output import AnswerFormat, write_data

#: Set in the images, whose builder knows the commit.
COMMIT_VARIABLE = "AIXGO_GIT_COMMIT"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("version", epilog="Example: aixgo version -o json")(show)


def show_and_exit(wanted: bool) -> None:
    """Answer ``--version``."""
    if wanted:
        typer.echo(f"aixgo {distribution_version()}")
        raise typer.Exit


def show(
    output: Annotated[AnswerFormat, typer.Option("-o", "--output", help="Format.")] = AnswerFormat.TEXT,
) -> None:
    """Show the version, the runtime contract it speaks, the git commit and Python."""
    facts = {
        "version": distribution_version(),
        "contract": CONTRACT_VERSION,
        "commit": git_commit() or "unknown",
        "python": platform.python_version(),
    }
    if output is AnswerFormat.TEXT:
        for name, value in facts.items():
            typer.echo(f"{name:<9}{value}")
    else:
        write_data(facts, output)


def git_commit(start: Path = Path(__file__)) -> str | None:
    """Return the commit this was built from: of the image, or of the checkout that ``start`` is in."""
    if commit := os.environ.get(COMMIT_VARIABLE):
        return commit
    for folder in start.resolve().parents:
        if (folder / ".git" / "HEAD").is_file():
            # Not any checkout that happens to be around an installed copy, but this project's.
            return _head(folder / ".git") if (folder / "cli" / "aixgo_cli").is_dir() else None
    return None


def _head(git: Path) -> str | None:
    """Return the commit that is checked out, read from git's own files."""
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    reference = head.removeprefix("ref: ")
    loose = git / reference
    if loose.is_file():
        return loose.read_text().strip()
    packed = git / "packed-refs"
    if packed.is_file():
        for line in packed.read_text().splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return commit
    return None
