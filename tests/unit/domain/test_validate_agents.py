"""An Agent whose role cannot work is refused by the operator, with the key named."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.domain import make_agent, make_runtime, resolve
from tests.unit.domain.test_resolve_agents import agent_of, problems_of

REFUSED = [("Accepted", "InvalidSpec")]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"role": "classifier", "roleConfig": {"categories": [{"name": "a"}], "confidenceTreshold": 1}},
            "spec.roleConfig.confidenceTreshold: unknown key of role classifier; known: categories,",
        ),
        ({"role": "classifier"}, "spec.roleConfig.categories: role classifier needs it"),
        (
            {"role": "planner", "roleConfig": {"max_steps": 0}},
            "roleConfig.max_steps: Input should be greater",
        ),
        ({"role": "producer", "roleConfig": {"interval": "0s"}}, "roleConfig.interval: '0s' is too short"),
        (
            {"role": "aggregator", "model": None},
            "the aggregation strategy consensus needs a model: set model, or choose a strategy that votes",
        ),
        (
            {"role": "aggregator", "model": None, "roleConfig": {"aggregationStrategy": "rag_based"}},
            "the aggregation strategy rag_based needs a model",
        ),
        ({"role": "logger", "roleConfig": {"level": "info"}}, "roleConfig.level: unknown key of role logger"),
    ],
)
def test_what_a_role_cannot_use_is_an_invalid_spec(spec: dict[str, Any], text: str) -> None:
    resolved = resolve(make_runtime(), make_agent(**spec), make_agent("other"))
    item = agent_of(resolved, "assistant")
    assert problems_of(item) == REFUSED
    assert text in item.problems[0].message
    assert [agent.name for agent in resolved.config.agents] == ["other"]


@pytest.mark.parametrize(
    "spec",
    [
        {"role": "aggregator", "model": None, "roleConfig": {"aggregationStrategy": "voting_majority"}},
        {"role": "aggregator", "model": None, "roleConfig": {"aggregation_strategy": "voting_confidence"}},
        {"role": "aggregator"},
        {"role": "planner"},
        {"role": "producer", "model": None},
        {"role": "custom", "handler": "a:b", "model": None, "roleConfig": {"any": ["thing"]}},
    ],
)
def test_what_a_role_can_use_is_accepted(spec: dict[str, Any]) -> None:
    resolved = resolve(make_runtime(), make_agent(**spec))
    assert problems_of(agent_of(resolved, "assistant")) == []
    assert [agent.name for agent in resolved.config.agents] == ["assistant"]
