"""A helper of a test that works in the background while the test does something else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class Background:
    """Runs :meth:`_run` between the beginning and the end of an ``async with``."""

    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=type(self).__name__)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        """Work until cancelled."""
        raise NotImplementedError
