"""What every store can be asked to do."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

#: About 220 bytes of JSON with what each store adds.
TEXT = "The order 4711 left the warehouse this morning and should be with you on Thursday. Anything else?"


class Adapter:
    """One store under test. Handles and messages are whatever the store works with."""

    #: What an acknowledged append survives, and by which means. Printed with every row.
    durability: ClassVar[str]
    #: Distributions whose versions are printed.
    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, directory: Path, redis_everysec: int, redis_always: int) -> None:
        self.directory = directory
        self.redis_everysec = redis_everysec
        self.redis_always = redis_always

    def versions(self) -> dict[str, str]:
        """Return the versions of what was measured."""
        return {name: metadata.version(name) for name in self.packages}

    async def open(self) -> None:
        """Get ready."""

    async def close(self) -> None:
        """Give everything back."""

    def message(self, number: int) -> Any:
        """Return a message, made before the clock starts."""
        return {"role": "user", "content": f"{number}: {TEXT}"}

    async def create(self) -> Any:
        """Make a session and return a handle of it."""
        raise NotImplementedError

    async def seed(self, session: Any, count: int) -> None:
        """Bring messages into a session as fast as the store can."""
        for number in range(count):
            await self.append(session, self.message(number))

    async def append(self, session: Any, message: Any) -> None:
        """Append one message."""
        raise NotImplementedError

    async def read(self, session: Any, limit: int | None) -> list[Any]:
        """Return the newest messages as Python objects, oldest first."""
        raise NotImplementedError

    #: Make a checkpoint and return what :attr:`restore` takes. None: the store has none.
    checkpoint: Callable[[Any], Awaitable[Any]] | None = None
    restore: Callable[[Any, Any], Awaitable[None]] | None = None
    #: Forget the messages of a session that were kept decoded. None: nothing is kept.
    forget: Callable[[Any], None] | None = None
    #: Read the newest 100 as a process that never saw the session; returns (microseconds, messages).
    cold_read: Callable[[Any, int], Awaitable[tuple[float, list[Any]]]] | None = None
    #: Name -> one operation of the disk, the network or the CPU.
    limits: dict[str, Callable[[], Awaitable[None]]] | None = None
    #: Whole measurements that only some stores have.
    extra: dict[str, Callable[[], Awaitable[dict[str, float]]]] | None = None
