"""What the pods say of calls that they refused with PERMISSION_DENIED. An image that is not ours may say
anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo_operator.domain.observation import RuntimeObservation

#: So many pairs of agent and caller of one pod are looked at.
MAX_PAIRS: Final = 64
_IDENTITY: Final = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Calls of one caller that the pods of a runtime refused for one agent."""

    agent: str
    #: A SPIFFE id; "": the caller's certificate has none.
    caller: str
    calls: int
    last_at: datetime

    @property
    def message(self) -> str:
        """What happened and what to do, for the Agent's Event."""
        calls = "a call" if self.calls == 1 else f"{self.calls} calls"
        if not self.caller:
            return f"{calls} refused: the certificate of the caller has no SPIFFE id of this installation"
        return (
            f"{calls} of {self.caller} refused with PERMISSION_DENIED: if it may call the agent, "
            "allow its namespace in spec.allowedCallers"
        )


def refusals(observation: RuntimeObservation, agents: Iterable[str]) -> list[Refusal]:
    """Return what all pods say together, by agent and caller, of the agents that there are."""
    known = frozenset(agents)
    found: dict[tuple[str, str], Refusal] = {}
    for pod in observation.pods:
        for said in () if pod.statusz is None else pod.statusz.refused_calls[:MAX_PAIRS]:
            last_at = _moment(said.last_at)
            if said.agent not in known or last_at is None or said.count < 1:
                continue
            pair = (said.agent, said.caller if _IDENTITY.fullmatch(said.caller) else "")
            before = found.get(pair)
            found[pair] = Refusal(
                *pair,
                calls=said.count + (before.calls if before else 0),
                last_at=max(last_at, before.last_at) if before else last_at,
            )
    return [found[pair] for pair in sorted(found)]


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else None
