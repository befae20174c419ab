"""What the demo prints: each step with its time, and a summary."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Report:
    """The steps so far. Colours only on a terminal and without NO_COLOR."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    steps: list[tuple[str, float, bool]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time what happens inside. An exception makes the step red and goes on."""
        self.console.print(Text.assemble(("==> ", "bold cyan"), (title, "bold")))
        begin = time.monotonic()
        try:
            yield
        except BaseException:
            self.steps.append((title, time.monotonic() - begin, False))
            raise
        self.steps.append((title, time.monotonic() - begin, True))
        self.say(f"done in {self.steps[-1][1]:.1f} s", style="green")

    def say(self, text: str, *, style: str = "") -> None:
        """Write lines that belong to the step."""
        for line in text.splitlines():
            self.console.print(Text(f"    {line}", style=style))

    def summary(self) -> None:
        """Write every step with its time."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("step")
        table.add_column("seconds", justify="right")
        table.add_column("")
        for title, seconds, good in self.steps:
            table.add_row(
                title, f"{seconds:.1f}", Text("ok", "green") if good else Text("FAILED", "bold red")
            )
        total = sum(seconds for _, seconds, _ in self.steps)
        table.add_row(Text("total", "bold"), Text(f"{total:.1f}", "bold"), "")
        self.console.print()
        self.console.print(table)
