"""How Helm, Flux and others judge a custom resource that they wait for: the rules of kstatus."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

CURRENT, IN_PROGRESS, FAILED, TERMINATING = "Current", "InProgress", "Failed", "Terminating"


def kstatus(item: dict[str, Any]) -> str:
    """Return what an object counts as. One that says nothing of itself counts as done."""
    metadata, status = item["metadata"], item.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return TERMINATING
    if "observedGeneration" in status and status["observedGeneration"] != metadata.get("generation"):
        return IN_PROGRESS
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    if conditions.get("Stalled") == "True":
        return FAILED
    if conditions.get("Reconciling") == "True":
        return IN_PROGRESS
    return CURRENT if conditions.get("Ready", "True") == "True" else IN_PROGRESS


def verdicts(versions: Iterable[dict[str, Any]]) -> list[str]:
    """Return the verdicts on an object's versions, one for each run of the same."""
    return [verdict for verdict, _ in itertools.groupby(map(kstatus, versions))]
