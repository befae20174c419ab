"""What is wrong with a configuration file: every problem with its place, all that could be found at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aixgo.errors import AixgoError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: So many problems of one file are told; who has more fixes these first.
MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file. Lines and columns count from 1; line 0 is the file as a whole."""

    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, or that will have no effect. The text never quotes a value that may be
    secret.
    """

    place: Place
    text: str

    def shown(self, file: str) -> str:
        """Return ``file:line:column: text``."""
        if not self.place.line:
            return f"{file}: {self.text}"
        return f"{file}:{self.place.line}:{self.place.column}: {self.text}"


class ConfigError(AixgoError):
    """A configuration cannot be used; :attr:`problems` says why, in the order of the file."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        lines = [problem.shown(file) for problem in self.problems[:MAX_PROBLEMS]]
        more = len(self.problems) - MAX_PROBLEMS
        if more > 0:
            lines.append(f"{file}: and {more} more problems")
        super().__init__("\n".join(lines))
