"""Events of calls that were refused: one for each caller of an Agent while it goes on, not one a call."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import KIND_AGENT
from aixgo_operator.domain.conditions import timestamp
from aixgo_operator.domain.refused_calls import refusals

if TYPE_CHECKING:
    from aixgo_operator.domain.observation import RuntimeObservation
    from aixgo_operator.domain.resolved import ResolvedRuntime
    from aixgo_operator.reconcile.context import Context

REASON: Final = "CallRefused"
#: How long an API server keeps an Event by default: then a caller that still tries is told again.
RETENTION: Final = timedelta(hours=1)


async def tell_refusals(context: Context, resolved: ResolvedRuntime, observation: RuntimeObservation) -> None:
    """Record an Event about each Agent whose callers were refused lately."""
    if not any(pod.statusz is not None and pod.statusz.refused_calls for pod in observation.pods):
        return
    now = context.now()
    agents = {item.agent.name: item.agent for item in resolved.agents if item.config is not None}
    for refusal in refusals(observation, agents):
        agent = agents[refusal.agent]
        manifest = context.cache.get((KIND_AGENT, agent.namespace, agent.name))
        if manifest is None or now - refusal.last_at > RETENTION:
            continue
        pair = (manifest["metadata"]["uid"], refusal.caller)
        told = context.refusals_told.get(pair)
        if told is not None and now - told < RETENTION:
            continue
        for old in [each for each, when in context.refusals_told.items() if now - when >= RETENTION]:
            del context.refusals_told[old]
        context.refusals_told[pair] = now
        # One name for a caller, whichever operator and however many pods tell of it.
        mark = hashlib.sha256("\n".join(pair).encode()).hexdigest()[:16]
        await context.client.create_event(
            manifest,
            kind="Warning",
            reason=REASON,
            message=refusal.message,
            timestamp=timestamp(now),
            name=f"{agent.name[:230].rstrip('-.')}.{mark}",
        )
