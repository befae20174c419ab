"""An object that the models refuse is told what is wrong with it, whatever its kind."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aixgo_operator.reconcile.agent import reconcile_agent
from aixgo_operator.reconcile.agentruntime import reconcile_runtime
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.sessionbackend import reconcile_backend
from aixgo_operator.reconcile.status import StatusWriter, condition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Client:
    """Notes what is written and answers as an API server that stored nothing of it."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []
        self.told: list[str] = []

    async def create_event(self, involved: Any, *, reason: str, **_: Any) -> None:
        assert not self.written, "told after the status"
        self.told.append(reason)

    async def replace_status(self, manifest: dict[str, Any], status: dict[str, Any]) -> None:
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
        unsettled={},
        status=StatusWriter(client, cache, now),  # type: ignore[arg-type]
    )
    await reconcile(context, Key(kind, "n", "x"))
    (status,) = client.written
    assert status["observedGeneration"] == 7
    assert client.told == ["InvalidSpec"]
    accepted = condition(status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert "spec" in accepted["message"]
