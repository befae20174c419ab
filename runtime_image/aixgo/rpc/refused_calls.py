"""Who was refused with PERMISSION_DENIED: for ``/statusz``, from where the operator makes Events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from aixgo.contract import RefusedCalls

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

#: Pairs of agent and caller that are remembered; those that were refused longest ago are forgotten.
MAX_PAIRS: Final = 32
#: So many characters of a caller's identity are kept. A SPIFFE id of ours is shorter.
MAX_CALLER: Final = 512


@dataclass(slots=True)
class _Count:
    calls: int
    last_at: datetime


class Refusals:
    """Counts refused calls by agent and caller. Bounded: callers must not be able to fill the memory."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Begin with none. ``now`` gives an aware time."""
        self._now = now
        #: The one that was refused last at the end.
        self._counts: dict[tuple[str, str], _Count] = {}

    def add(self, agent: str, caller: str) -> None:
        """Count a call. ``agent`` is there; ``caller`` is the identity in its certificate, "" for none."""
        pair = (agent, caller[:MAX_CALLER])
        known = self._counts.pop(pair, None)
        self._counts[pair] = _Count(1 + (known.calls if known else 0), self._now())
        if len(self._counts) > MAX_PAIRS:
            del self._counts[next(iter(self._counts))]

    def keep(self, still_refused: Callable[[str, str], bool]) -> None:
        """Forget the pairs of which ``still_refused(agent, caller)`` does not hold: the rules are new."""
        self._counts = {pair: count for pair, count in self._counts.items() if still_refused(*pair)}

    def snapshot(self) -> tuple[RefusedCalls, ...]:
        """Return what is remembered, by agent and caller."""
        return tuple(
            RefusedCalls(
                agent=agent,
                caller=caller,
                count=count.calls,
                last_at=count.last_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
            for (agent, caller), count in sorted(self._counts.items())
        )
