"""What happens to the Agents of a runtime that was deleted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aixgo_operator.reconcile.agentruntime import reconcile_runtime
from aixgo_operator.reconcile.cache import Cache
from aixgo_operator.reconcile.keys import Key


def agent(name: str, runtime: str) -> dict[str, Any]:
    return {
        "apiVersion": "aixgo.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "generation": 1},
        "spec": {"runtimeRef": {"name": runtime}, "role": "logger"},
    }


async def test_its_agents_are_looked_at_again() -> None:
    """A reconcile under way may have written their statuses after they had been told."""
    cache, queued = Cache(), []
    cache.put(agent("a", "gone"))
    cache.put(agent("b", "other"))
    context: Any = SimpleNamespace(
        cache=cache,
        seen={},
        attempts={},
        unsettled={},
        enqueue=lambda key, delay: queued.append((key, delay)),
    )
    await reconcile_runtime(context, Key("AgentRuntime", "n", "gone"))
    assert queued == [(Key("Agent", "n", "a"), 0.0)]
