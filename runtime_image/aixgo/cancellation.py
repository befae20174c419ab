"""Whose a cancellation is, and work that comes to its end although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


def is_cancelled() -> bool:
    """Return whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


def is_own_failure(error: BaseException) -> bool:
    """Return whether an error is the failure of the code that raised it.

    That need be no Exception: ``sys.exit()`` raises none, and neither does an extension module that panics.
    Not its failure is what comes from outside: a cancellation of the running task, the closing of a
    coroutine, Ctrl-C.
    """
    if isinstance(error, asyncio.CancelledError):
        return not is_cancelled()
    return not isinstance(error, (KeyboardInterrupt, GeneratorExit))


async def see_through(work: Awaitable[T]) -> T:
    """Await ``work`` to its end, however often the caller is cancelled, and return its result.

    A cancellation is raised afterwards. An error of the work is dropped then: nobody is left to hear of it.
    """
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()  # else it is reported as never retrieved
        raise
