"""Conditions: put together from verdicts and problems, with transition times kept from the stored status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.api.constants import ConditionStatus, ConditionType, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from aixgo_operator.domain.problem import Problem

#: What the CRD allows.
MAX_MESSAGE: Final = 32_768

#: Conditions in the order in which they are written: as in :class:`ConditionType`.
_ORDER: Final = {kind: index for index, kind in enumerate(ConditionType)}
_OWN_TYPES: Final = frozenset(str(kind) for kind in ConditionType)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition, but for what depends on the stored status."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str

    @property
    def holds(self) -> bool:
        """Whether the status is True."""
        return self.status is ConditionStatus.TRUE


def true(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """Return a condition that holds."""
    return Verdict(kind, ConditionStatus.TRUE, reason, message)


def false(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """Return a condition that does not hold."""
    return Verdict(kind, ConditionStatus.FALSE, reason, message)


def unknown(kind: ConditionType, reason: Reason, message: str) -> Verdict:
    """Return a condition that nothing is known about."""
    return Verdict(kind, ConditionStatus.UNKNOWN, reason, message)


def from_problems(kind: ConditionType, problems: Iterable[Problem]) -> Verdict | None:
    """Return the failed condition with the first problem's reason and every problem's message, if any."""
    own = [problem for problem in problems if problem.condition == kind]
    if not own:
        return None
    return false(kind, own[0].reason, "; ".join(dict.fromkeys(problem.message for problem in own)))


def accepted(problems: Iterable[Problem]) -> Verdict:
    """Return the condition Accepted."""
    failed = from_problems(ConditionType.ACCEPTED, problems)
    return failed or true(ConditionType.ACCEPTED, Reason.ACCEPTED, "the spec is valid")


def resolved_refs(problems: Iterable[Problem]) -> Verdict:
    """Return the condition ResolvedRefs."""
    failed = from_problems(ConditionType.RESOLVED_REFS, problems)
    return failed or true(ConditionType.RESOLVED_REFS, Reason.RESOLVED, "every reference is there")


def degraded(reason: Reason, message: str) -> Verdict:
    """Return the condition Degraded, which is present only while true."""
    return true(ConditionType.DEGRADED, reason, message)


def kstatus(ready: Verdict, *, stalled: bool, left: Verdict | None) -> list[Verdict]:
    """Return kstatus' own conditions: Stalled needs somebody to act, Reconciling is on its way.

    ``left``: what is still to come, if anything is. That may be so although the object is Ready: who waits
    for it, waits for all that its spec asks for.
    """
    if stalled:
        return [true(ConditionType.STALLED, ready.reason, ready.message)]
    if left is not None:
        return [true(ConditionType.RECONCILING, left.reason, left.message)]
    return []


def unwritten(objects: Sequence[str]) -> Verdict | None:
    """Return what is still to come of an object whose children could not all be written yet."""
    if not objects:
        return None
    text = f"waits until it can write {', '.join(objects)}: it is being deleted, or somebody changes it back"
    return false(ConditionType.READY, Reason.PENDING, text)


def write(
    verdicts: Sequence[Verdict], *, generation: int, previous: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    """Return ``status.conditions``. A transition time changes only together with the condition's status."""
    before = {item.get("type"): item for item in previous.get("conditions") or ()}
    time = timestamp(now)
    written = []
    for verdict in sorted(verdicts, key=lambda item: _ORDER[item.type]):
        old = before.get(verdict.type.value)
        same = old is not None and old.get("status") == verdict.status.value
        written.append(
            {
                "type": verdict.type.value,
                "status": verdict.status.value,
                "reason": verdict.reason.value,
                "message": verdict.message[:MAX_MESSAGE],
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else time,
                "observedGeneration": generation,
            }
        )
    return written


def with_others(status: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``status`` with the conditions of the stored one whose types are somebody else's, at the end."""
    others = [item for item in stored.get("conditions") or () if item.get("type") not in _OWN_TYPES]
    return status | {"conditions": [*status["conditions"], *others]} if others else status


def timestamp(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with whole seconds, as the API server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
