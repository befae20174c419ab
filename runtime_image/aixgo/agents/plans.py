"""Plans: their form (the JSON keys of Aixgo) and what can be computed of them without a model."""

from __future__ import annotations

import heapq
import math
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

Probability = Annotated[float, Field(ge=0, le=1)]


class PlanError(ValueError):
    """Steps that are no plan; the text says why, in words that a model can act on."""


class AlternativeStep(BaseModel):
    """Another way to do a step (Go: AlternativeStep)."""

    action: str
    reasoning: str = ""
    trade_offs: str = ""


class PlanStep(BaseModel):
    """One step (Go: PlanStep)."""

    step_number: int
    action: Annotated[str, Field(min_length=1)]
    reasoning: str = ""
    #: Numbers of the steps that must be done before.
    prerequisites: list[int] = Field(default_factory=list)
    expected_outcome: str = ""
    complexity: str = "medium"
    can_parallelize: bool = False
    alternatives: list[AlternativeStep] = Field(default_factory=list)
    #: How probable it is that the step succeeds.
    confidence: Probability = 0.5
    estimated_tokens: Annotated[int, Field(ge=0)] = 0


class ProblemAnalysis(BaseModel):
    """The problem, taken apart (Go: ProblemAnalysis)."""

    problem_type: str = ""
    domain: str = ""
    constraints: list[str] = Field(default_factory=list)
    available_resources: list[str] = Field(default_factory=list)
    key_challenges: list[str] = Field(default_factory=list)
    assumptions: list[str] = Field(default_factory=list)


class BackupPlan(BaseModel):
    """What to do when something happens (Go: BackupPlan)."""

    trigger_condition: str
    alternative_steps: list[PlanStep] = Field(default_factory=list)
    description: str = ""


class RiskFactor(BaseModel):
    """One risk (Go: RiskFactor)."""

    factor: str
    severity: str = ""
    likelihood: Probability = 0.0
    impact: str = ""


class RiskAssessment(BaseModel):
    """What may go wrong (Go: RiskAssessment)."""

    overall_risk: str = ""
    risk_factors: list[RiskFactor] = Field(default_factory=list)
    mitigation_steps: list[str] = Field(default_factory=list)


class PlanDraft(BaseModel):
    """What a model says of a plan."""

    analysis: ProblemAnalysis = ProblemAnalysis()
    steps: list[PlanStep]
    backup_plans: list[BackupPlan] = Field(default_factory=list)
    success_criteria: list[str] = Field(default_factory=list)
    risk_assessment: RiskAssessment = RiskAssessment()
    total_complexity: str = ""
    estimated_duration: str = ""


def in_order(steps: Sequence[PlanStep], max_steps: int) -> list[PlanStep]:
    """Return the steps in an order in which they can be done, numbered from 1.

    Steps keep their order as far as their prerequisites allow.

    Raises:
        PlanError: none or too many steps, a number twice, an unknown prerequisite, or a circle.
    """
    if not 1 <= len(steps) <= max_steps:
        raise PlanError(f"a plan has 1 to {max_steps} steps, not {len(steps)}")
    by_number = {step.step_number: step for step in steps}
    if len(by_number) != len(steps):
        raise PlanError("every step needs a step_number of its own")
    for step in steps:
        if unknown := sorted(set(step.prerequisites) - by_number.keys()):
            raise PlanError(f"step {step.step_number} has the prerequisite {unknown[0]}, which is no step")
    order = _order({step.step_number: step.prerequisites for step in steps})
    new = {number: place for place, number in enumerate(order, start=1)}
    return [
        by_number[number].model_copy(
            update={
                "step_number": new[number],
                "prerequisites": sorted({new[before] for before in by_number[number].prerequisites}),
            }
        )
        for number in order
    ]


def _order(prerequisites: dict[int, list[int]]) -> list[int]:
    sorter = TopologicalSorter(prerequisites)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(str(number) for number in reversed(error.args[1]))
        raise PlanError(f"the prerequisites go in a circle: {circle}") from error
    ready: list[int] = []
    order: list[int] = []
    while sorter.is_active():
        for number in sorter.get_ready():
            heapq.heappush(ready, number)
        order.append(heapq.heappop(ready))
        sorter.done(order[-1])
    return order


def critical_path(steps: Sequence[PlanStep]) -> list[int]:
    """Return the longest chain of steps that need each other; of steps :func:`in_order`."""
    best: dict[int, list[int]] = {}
    for step in steps:
        before: list[int] = max((best[number] for number in step.prerequisites), key=len, default=[])
        best[step.step_number] = [*before, step.step_number]
    return max(best.values(), key=len, default=[])


def parallel_groups(steps: Sequence[PlanStep]) -> list[list[int]]:
    """Return the groups of steps that may run at the same time; of steps :func:`in_order`.

    Only steps that say ``can_parallelize`` are in one, and none needs another of its group, not even
    indirectly.
    """
    level: dict[int, int] = {}
    groups: dict[int, list[int]] = {}
    for step in steps:
        level[step.step_number] = 1 + max((level[number] for number in step.prerequisites), default=0)
        if step.can_parallelize:
            groups.setdefault(level[step.step_number], []).append(step.step_number)
    return [groups[key] for key in sorted(groups) if len(groups[key]) > 1]


def success_probability(steps: Sequence[PlanStep]) -> float:
    """Return how probable it is that all steps succeed, if they do so independently."""
    return math.prod(step.confidence for step in steps)


def splice(outline: Sequence[PlanStep], parts: Sequence[Sequence[PlanStep]]) -> list[PlanStep]:
    """Put a plan in the place of each step of an outline.

    The first steps of a part wait for the last steps of the parts that its outline step needs.

    Args:
        outline: Steps :func:`in_order`.
        parts: One for each step of the outline, each :func:`in_order`.
    """
    steps: list[PlanStep] = []
    last: dict[int, list[int]] = {}
    for outer, part in zip(outline, parts, strict=True):
        offset = len(steps)
        entry = sorted({number for before in outer.prerequisites for number in last[before]})
        needed = {number for step in part for number in step.prerequisites}
        last[outer.step_number] = [
            offset + step.step_number for step in part if step.step_number not in needed
        ]
        for step in part:
            before = [offset + number for number in step.prerequisites] or entry
            number = offset + step.step_number
            steps.append(step.model_copy(update={"step_number": number, "prerequisites": before}))
    return steps
