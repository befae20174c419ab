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
