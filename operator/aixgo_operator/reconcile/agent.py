"""One Agent that has no runtime. All others are part of their runtime's reconcile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from aixgo_operator.api.constants import KIND_AGENT_RUNTIME
from aixgo_operator.api.v1alpha1 import Agent
from aixgo_operator.domain import references
from aixgo_operator.domain.resolve import resolve_unattached_agent
from aixgo_operator.domain.status import agent_status
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.workqueue import Requeue

if TYPE_CHECKING:
    from aixgo_operator.reconcile.context import Context


async def reconcile_agent(context: Context, key: Key) -> Requeue:
    """Tell an Agent that its runtime is not there, or leave it to its runtime. Raises ApiError."""
    manifest = context.cache.get(key)
    if manifest is None or manifest["metadata"].get("deletionTimestamp"):
        return Requeue()
    try:
        agent = context.cache.parse(key)
    except ValidationError as error:
        await context.status.refuse(manifest, error)
        return Requeue()
    assert isinstance(agent, Agent)  # noqa: S101  the cache parses by kind
    runtime = references.runtime_key(agent)
    if context.cache.runtime(runtime) is not None:
        # One reconcile per runtime, whose pods say what became of the Agent. What concerns an Agent concerns
        # its runtime (triggers), so that it has been asked for.
        return Requeue()
    resolved = resolve_unattached_agent(agent)
    previous = manifest.get("status") or {}
    status = agent_status(resolved, None, None, context.settings, previous=previous, now=context.now())
    await context.status.write(manifest, status)
    if context.cache.runtime(runtime) is not None:
        # It came while the status was written, which is now older than what its reconcile says.
        context.enqueue(Key(KIND_AGENT_RUNTIME, *runtime), 0.0)
    return Requeue()
