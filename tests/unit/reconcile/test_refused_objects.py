"""An object that the models refuse is told what is wrong with it, whatever its kind."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aixgo_operator.reconcile.agent import reconcile_agent
from aixgo_operator.reconcile.agentruntime import reconcile_runtime
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.events import EventRecorder
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.sessionbackend import reconcile_backend
from aixgo_operator.reconcile.status import StatusWriter, condition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Client:
    """Notes what is written and answers as an API server that stored nothing of it."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    async def patch_status(self, resource: Any, namespace: str, name: str, status: dict[str, Any]) -> None:
        self.written.append(status)


@pytest.mark.parametrize(
    ("kind", "reconcile"),
    [
        ("AgentRuntime", reconcile_runtime),
        ("Agent", reconcile_agent),
        ("SessionBackend", reconcile_backend),
    ],
)
async def test_refused(kind: str, reconcile: Callable[[Any, Key], Awaitable[Any]]) -> None:
    cache, client = Cache(), Client()
    metadata = {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 7}
    cache.put({"apiVersion": "aixgo.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": []})

    def now() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    context: Any = SimpleNamespace(
        cache=cache,
        now=now,
        seen={},
        attempts={},
        status=StatusWriter(client, cache, EventRecorder(client, now), now),  # type: ignore[arg-type]
    )
    await reconcile(context, Key(kind, "n", "x"))
    (status,) = client.written
    assert status["observedGeneration"] == 7
    accepted = condition(status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert "spec" in accepted["message"]
