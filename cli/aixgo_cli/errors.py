"""What a command tells its user when it cannot go on, and the exit codes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    #: Wrong usage or invalid input.
    USAGE = 2
    NOT_FOUND = 3
    #: Something was not ready in time.
    NOT_READY = 4


class CliError(Exception):
    """A failure that is explained to the user without a traceback. Never holds a secret.

    ``what`` says what failed, ``where`` the object, file or address concerned, ``then`` what to do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        then: str | None = None,
        code: ExitCode = ExitCode.FAILED,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.then = then
        self.code = code


def missing_library(error: ModuleNotFoundError, extra: str) -> CliError:
    """Explain a library that is not installed. A missing module of the project itself is raised as it is."""
    if (error.name or "").split(".")[0] in {"aixgo", "aixgo_operator", "aixgo_cli"}:
        raise error
    return CliError(
        f"the Python package {error.name!r} is not installed",
        then=f"pip install 'aixgo[{extra}]'",
        code=ExitCode.USAGE,
    )
