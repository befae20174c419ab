"""What a call inherits from the call that it was made in: its deadline, and the agents on its way."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import msgspec

from aixgo.runtime.errors import CallLoopError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Metadata key with the agents through which a call came, separated by commas.
CALLER_CHAIN: Final = "aixgo-caller-chain"
MAX_CHAIN: Final = 16


class CallContext(msgspec.Struct, frozen=True):
    """The call that the present task works on."""

    #: The agents that are waiting for this call, the first one first.
    chain: tuple[str, ...] = ()
    #: When the call must be over, by the monotonic clock. None: no limit.
    deadline: float | None = None
    #: The runtimes (by id) that have given the call a place among their concurrent calls.
    places: tuple[int, ...] = ()

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, not less than 0; None without one."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - time.monotonic())

    def within(self, seconds: float | None) -> CallContext:
        """Return a context that ends no later than in ``seconds``."""
        if seconds is None:
            return self
        end = time.monotonic() + seconds
        if self.deadline is not None and self.deadline <= end:
            return self
        return CallContext(self.chain, end, self.places)

    def into(self, agent: str) -> CallContext:
        """Return the context of the calls that ``agent`` makes while it works on this call."""
        return CallContext((*self.chain, agent), self.deadline, self.places)

    def placed(self, runtime: object) -> CallContext:
        """Return a context that has a place among the concurrent calls of ``runtime``."""
        return CallContext(self.chain, self.deadline, (*self.places, id(runtime)))

    def has_place(self, runtime: object) -> bool:
        """Say whether the call, or one that waits for it, has a place in ``runtime``."""
        return id(runtime) in self.places

    def check_chain(self) -> None:
        """Make sure that agents do not call each other in a circle.

        Raises:
            CallLoopError: the call came through too many agents.
        """
        if len(self.chain) > MAX_CHAIN:
            raise CallLoopError(MAX_CHAIN)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the gRPC metadata of a call that is made in this one."""
        return ((CALLER_CHAIN, ",".join(self.chain)),) if self.chain else ()


#: Outside of any call.
NO_CALL: Final = CallContext()
_current: ContextVar[CallContext] = ContextVar("aixgo_call", default=NO_CALL)
enter_call = _current.set
leave_call = _current.reset


def current_call() -> CallContext:
    """Return the call that the present task works on; an empty context outside of any."""
    return _current.get()


def chain_of(metadata: Sequence[tuple[str, str | bytes]]) -> tuple[str, ...]:
    """Return the agents through which a call over the wire came."""
    if not metadata:
        return ()
    hops: list[str] = []
    for key, value in metadata:
        if key == CALLER_CHAIN:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            hops += [hop for part in text.split(",") if (hop := part.strip())]
    return tuple(hops)


def caller_chain() -> tuple[str, ...]:
    """Return the agents that are waiting for the present call, the first one first."""
    return _current.get().chain


def remaining_seconds() -> float | None:
    """Return the seconds that the present call may still take; None without a limit."""
    return _current.get().remaining()


@contextmanager
def call_context(agent: str, seconds: float | None = None) -> Iterator[CallContext]:
    """Work on a call of ``agent`` inside the block, for at most ``seconds``.

    The block is not interrupted: whoever waits in it takes :func:`remaining_seconds` as its timeout.

    Raises:
        CallLoopError: the call came through too many agents.
    """
    context = _current.get().within(seconds)
    context.check_chain()
    token = _current.set(context.into(agent))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
