"""A cluster with the operator in it, as the tests see it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.kind import Cluster


@dataclass(frozen=True)
class Installation:
    """A cluster with the operator in it."""

    cluster: Cluster
    #: Image name -> (reference, archive).
    images: dict[str, tuple[str, Path]]

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 60.0) -> str:  # noqa: A002
        return self.cluster.kubectl(*arguments, input=input, timeout=timeout)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))

    def get(self, target: str, namespace: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", target, "-n", namespace, "-o", "json"))
        return found

    def pods(self, namespace: str, runtime: str) -> list[dict[str, Any]]:
        """Return the runtime's pods that are not being deleted."""
        listed = self.kubectl(
            "get", "pods", "-n", namespace, "-l", f"aixgo.dev/runtime={runtime}", "-o", "json"
        )
        return [p for p in json.loads(listed)["items"] if "deletionTimestamp" not in p["metadata"]]

    def condition(self, target: str, namespace: str, kind: str) -> dict[str, Any]:
        """Return a condition; one that is not there yet is Unknown, and so is one of an older generation."""
        found = self.get(target, namespace)
        for condition in found.get("status", {}).get("conditions", []):
            if condition["type"] == kind:
                if condition.get("observedGeneration", 0) != found["metadata"]["generation"]:
                    break
                return dict(condition)
        return {"type": kind, "status": "Unknown", "reason": "", "message": ""}

    def wait_condition(
        self, target: str, namespace: str, kind: str, status: str, reason: str, *, timeout: float = 45.0
    ) -> dict[str, Any]:
        """Wait for a condition with this status and reason and return it."""
        end = time.monotonic() + timeout
        while True:
            found = self.condition(target, namespace, kind)
            if (found["status"], found["reason"]) == (status, reason):
                return found
            if time.monotonic() > end:
                whole = json.dumps(self.get(target, namespace).get("status"), indent=1)
                raise AssertionError(
                    f"{target}: {kind} is not {status}/{reason} after {timeout:.0f} s\n{whole}"
                )
            time.sleep(0.2)

    def wait_ready(self, target: str, namespace: str, *, timeout: float = 90.0) -> None:
        """Wait for Ready=True at the newest generation."""
        end = time.monotonic() + timeout
        while (found := self.condition(target, namespace, "Ready"))["status"] != "True":
            if time.monotonic() > end:
                whole = json.dumps(self.get(target, namespace).get("status"), indent=1)
                raise AssertionError(f"{target} is not Ready after {timeout:.0f} s: {found}\n{whole}")
            time.sleep(0.2)
