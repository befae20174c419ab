"""What a check is, and how checks are run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from aixgo_cli.conformance.subject import Subject

#: Longest time of one check, in seconds.
CHECK_SECONDS = 60.0


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_CHECKED = "not checked"


class ViolationError(Exception):
    """The runtime does not honour a statement; the text says what it did instead."""


class NotCheckableError(Exception):
    """The statement cannot be checked here; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one check."""

    name: str
    statement: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of the contract and how to look at it."""

    name: str
    statement: str
    run: Callable[[Subject], Awaitable[None]]


class Checks(list[Check]):
    """The checks of one module; as a decorator it adds one."""

    def __call__(
        self, name: str, statement: str
    ) -> Callable[[Callable[[Subject], Awaitable[None]]], Callable[[Subject], Awaitable[None]]]:
        """Return a decorator that adds a function as a check."""

        def add(function: Callable[[Subject], Awaitable[None]]) -> Callable[[Subject], Awaitable[None]]:
            self.append(Check(name, statement, function))
            return function

        return add

    def not_checkable(self, name: str, statement: str, why: str) -> None:
        """Add a statement that nothing outside can see, so that nobody takes it for checked."""

        async def refuse(_: Subject) -> None:
            raise NotCheckableError(why)

        self.append(Check(name, statement, refuse))


async def run_checks(checks: Sequence[Check], subject: Subject) -> AsyncIterator[Result]:
    """Run the checks one after the other; each is over after a minute at most."""
    for check in checks:
        verdict, reason = Verdict.PASS, ""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check.run(subject)
        except NotCheckableError as why:
            verdict, reason = Verdict.NOT_CHECKED, str(why)
        except ViolationError as violation:
            verdict, reason = Verdict.FAIL, str(violation)
        except grpc.aio.AioRpcError as error:
            verdict, reason = Verdict.FAIL, f"a call failed with {error.code().name}: {error.details()}"
        except TimeoutError:
            verdict, reason = Verdict.FAIL, "what should happen did not happen in time"
        except Exception as error:  # noqa: BLE001 - a strange answer is a failure of the runtime, not of the run
            verdict, reason = Verdict.FAIL, f"{type(error).__name__}: {error}"
        yield Result(check.name, check.statement, verdict, reason)


def require(condition: object, otherwise: str) -> None:
    """Raise ViolationError with the text unless the condition is true."""
    if not condition:
        raise ViolationError(otherwise)
