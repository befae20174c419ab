"""Writing to the terminal: answers to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from aixgo_cli.errors import CliError


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something takes a while; leaves no trace when it is over."""
    console = stderr()
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


class ListFormat(StrEnum):
    """How a list is written."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class AnswerFormat(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def stdout() -> Console:
    """Return a console for answers. Colours only on a terminal and without ``NO_COLOR``."""
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=True)


def stderr() -> Console:
    """Return a console for everything that is no answer: notes, progress, errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def write_data(data: Any, output: ListFormat | AnswerFormat) -> None:
    """Write ``data`` as JSON or YAML."""
    speaks_unicode = (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf8sig")
    if output.value == "json":
        text = json.dumps(data, indent=2, ensure_ascii=not speaks_unicode)
    else:
        import yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=speaks_unicode).rstrip("\n")
    sys.stdout.write(text + "\n")


#: Control characters, but for line feed and tab: a terminal would obey them.
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Return a foreign text without the characters that could steer the terminal it is shown on."""
    return text.translate(_CONTROLS) if sys.stdout.isatty() else text


#: Cells of these texts are coloured on a terminal.
_STYLES = {"True": "green", "False": "red", "Unknown": "yellow"}


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, wrap: bool = False
) -> None:
    """Write a table. On a pipe its lines are as long as their content; on a terminal it fits the window."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    last = len(columns) - 1
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=not (wrap and index == last), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell), style=_STYLES.get(cell, "")) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
    console.print(table)


def write_error(error: CliError) -> None:
    """Write what failed, where, and what to do next."""
    from rich.text import Text

    console = stderr()
    console.print(Text.assemble(("Error: ", "bold red"), error.what))
    if error.where:
        console.print(Text.assemble(("where: ", "bold"), error.where))
    if error.then:
        console.print(Text.assemble((" next: ", "bold"), error.then))
