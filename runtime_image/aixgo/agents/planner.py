"""The role ``planner``: makes a plan for a problem (Go: PlannerAgent).

The model thinks; the order of the steps, the critical path, the parallel groups and the choice by probability
are computed (:mod:`aixgo.agents.plans`). Importing this module takes more than a second.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from aixgo.agents.base import RoleAgent
from aixgo.agents.input_check import checked
from aixgo.agents.plans import PlanDraft, critical_path, parallel_groups
from aixgo.agents.strategies import Planning
from aixgo.agents.text import text_of
from aixgo.message import Message

if TYPE_CHECKING:
    from aixgo.agents.language_model import LanguageModel
    from aixgo.contract.role_config import PlannerConfig

RESULT_TYPE: Final = "plan"
#: How many plans are kept, for when a problem comes again.
CACHED_PLANS: Final = 100


class ReasoningPlan(PlanDraft):
    """The payload of an answer (Go: ReasoningPlan). ``cached`` is an addition."""

    problem: str
    execution_strategy: str
    critical_path: list[int]
    parallel_groups: list[list[int]] = Field(default_factory=list)
    tokens_used: int
    planning_strategy: str
    self_critique: str = ""
    #: Whether the plan was made for an earlier message with the same problem; it took no tokens now.
    cached: bool = False

    def to_payload(self) -> dict[str, Any]:
        """Return the JSON object; lists and texts that are empty are left out where Go leaves them out."""
        payload = self.model_dump(mode="json")
        steps = [
            *payload["steps"],
            *(s for plan in payload["backup_plans"] for s in plan["alternative_steps"]),
        ]
        for step in steps:
            _drop_empty(step, "prerequisites", "alternatives", "estimated_tokens")
        _drop_empty(payload, "parallel_groups", "backup_plans", "self_critique", "cached")
        return payload


class PlannerAgent(RoleAgent):
    """An agent that plans."""

    role = "planner"

    def __init__(
        self,
        name: str,
        *,
        config: PlannerConfig,
        model: LanguageModel,
        prompt: str = "",
    ) -> None:
        super().__init__(name, model)
        self.config = config
        self._planning = Planning(config, prompt, model)
        self._plans: OrderedDict[str, ReasoningPlan] = OrderedDict()

    async def execute(self, message: Message) -> Message:
        """Plan for the problem that is the text of the message.

        Raises:
            InvalidRequestError: there is no text, it is too long or has control characters.
            ModelError: the provider failed, or the model made no plan that works.
        """
        plan = await self.plan(checked(text_of(message)))
        return Message.new(RESULT_TYPE, plan.to_payload())

    async def plan(self, problem: str) -> ReasoningPlan:
        """Return a plan, the same one for the same problem; errors as in :meth:`execute`."""
        if (known := self._plans.get(problem)) is not None:
            self._plans.move_to_end(problem)
            return known.model_copy(update={"tokens_used": 0, "cached": True})
        draft, tokens = await self._planning.draft(problem)
        groups = parallel_groups(draft.steps) if self.config.parallelizable_steps else []
        plan = ReasoningPlan(
            **dict(draft),
            problem=problem,
            execution_strategy="parallel_optimized" if groups else "sequential",
            critical_path=critical_path(draft.steps),
            parallel_groups=groups,
            tokens_used=tokens,
            planning_strategy=self.config.planning_strategy,
        )
        if self.config.enable_self_critique:
            plan.self_critique, used = await self._planning.critique(problem, draft)
            plan.tokens_used += used
        self._plans[problem] = plan
        if len(self._plans) > CACHED_PLANS:
            self._plans.popitem(last=False)
        return plan


def _drop_empty(record: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not record[key]:
            del record[key]
