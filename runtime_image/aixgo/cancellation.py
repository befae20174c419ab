"""Work that must come to its end although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


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
