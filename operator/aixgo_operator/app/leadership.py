"""Leadership in a thread of its own: however busy the operator is, its Lease is renewed in time.

The other way round, an operator that hangs fails its liveness probe, which ends the process and with it this
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aixgo_operator.kube.client import ApiServerClient
    from aixgo_operator.kube.lease import Elector


class Leadership:
    """One candidate. ``acquire()``, work, ``release()``; ``lost`` is set (and ``on_lost`` called) if it is
    lost.

    Args:
        connect: Gives a client of the thread's own.
        elect: Makes the elector on that client.
        on_lost: Called at once, in the thread, whatever the rest of the process is doing.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[ApiServerClient]],
        elect: Callable[[ApiServerClient], Elector],
        on_lost: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._elect = elect
        self._on_lost = on_lost
        self._elector: Elector | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._home = asyncio.get_running_loop()
        self._acquired: asyncio.Future[None] = self._home.create_future()
        self._ended = asyncio.Event()
        self.lost = asyncio.Event()

    def leading(self) -> bool:
        """Whether this process may write now. May be asked from any thread."""
        return self._elector is not None and self._elector.leading()

    async def acquire(self) -> None:
        """Wait until this process leads. Raises what kept the thread from starting (a kubeconfig, say)."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="lease", daemon=True)
            self._thread.start()
        await asyncio.shield(self._acquired)

    async def release(self) -> None:
        """Give the Lease up, if it is held, and end the thread."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        await self._ended.wait()
        self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
            self._tell(self._fail, error)
        finally:
            self._tell(self._ended.set)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        client = await self._connect()
        try:
            elector = self._elector = self._elect(client)
            stopping = asyncio.create_task(self._stop.wait())
            if not await _first(asyncio.create_task(elector.acquire()), stopping):
                return
            self._tell(self._succeed)
            if await _first(asyncio.create_task(elector.hold()), stopping):
                self._on_lost()
                self._tell(self.lost.set)
            else:
                await elector.release()
        finally:
            await client.close()

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # nobody is left to be told
            self._home.call_soon_threadsafe(call, *arguments)

    def _succeed(self) -> None:
        if not self._acquired.done():
            self._acquired.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if not self._acquired.done():
            self._acquired.set_exception(error)
        else:
            self.lost.set()


async def _first(work: asyncio.Task[None], other: asyncio.Task[bool]) -> bool:
    """Wait for either; return whether ``work`` ended by itself, and end it if not."""
    await asyncio.wait({work, other}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
        return True
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return False
