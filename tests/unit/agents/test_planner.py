"""The role planner: six strategies, every key, and plans that can be carried out."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic_ai.exceptions import ModelConnectionError
from tests.support.scripted_model import TOKENS, Answer, Request, ScriptedModel

from aixgo.agents.planner import CACHED_PLANS, PlannerAgent
from aixgo.contract.role_config import PlannerConfig, PlanningStrategy, parse_role_config
from aixgo.message import Message
from aixgo.runtime.errors import InvalidRequestError, ModelUnavailableError, ModelUnreachableError

STRATEGIES: tuple[str, ...] = get_args(PlanningStrategy)


def step(number: int, *before: int, **more: Any) -> dict[str, Any]:
    return {"step_number": number, "action": f"do {number}", "prerequisites": list(before), **more}


DIAMOND = [
    step(1, confidence=0.9),
    step(2, 1, can_parallelize=True, alternatives=[{"action": "other"}]),
    step(3, 1, can_parallelize=True),
    step(4, 2, 3),
]
PLAN = {
    "steps": DIAMOND,
    "success_criteria": ["it works"],
    "total_complexity": "high",
    "analysis": {"problem_type": "design"},
    "backup_plans": [{"trigger_condition": "2 fails", "alternative_steps": [step(1)]}],
}


def planner(
    model: ScriptedModel, strategy: str = "chain_of_thought", *, prompt: str = "", **config: Any
) -> PlannerAgent:
    settings = parse_role_config("planner", {"planning_strategy": strategy, **config})
    assert isinstance(settings, PlannerConfig)
    return PlannerAgent("p", config=settings, model=model.model, prompt=prompt)


async def ask(agent: PlannerAgent, problem: str = "build a boat") -> dict[str, Any]:
    answer = await agent.execute(Message.new("user", {"text": problem}))
    assert answer.type == "plan"
    payload: dict[str, Any] = json.loads(answer.payload)
    return payload


async def test_the_result_has_the_keys_of_aixgo() -> None:
    plan = await ask(planner(ScriptedModel(PLAN)))
    assert plan.keys() == {
        "problem",
        "analysis",
        "steps",
        "execution_strategy",
        "critical_path",
        "success_criteria",
        "risk_assessment",
        "total_complexity",
        "estimated_duration",
        "tokens_used",
        "planning_strategy",
    }
    assert (plan["problem"], plan["planning_strategy"]) == ("build a boat", "chain_of_thought")
    assert (plan["tokens_used"], plan["critical_path"]) == (TOKENS, [1, 2, 4])
    assert (plan["execution_strategy"], plan["analysis"]["problem_type"]) == ("sequential", "design")
    assert [item.get("prerequisites", []) for item in plan["steps"]] == [[], [1], [1], [2, 3]]
    assert not any(item["can_parallelize"] or "alternatives" in item for item in plan["steps"])


async def test_what_is_asked_for_comes_out() -> None:
    model = ScriptedModel(PLAN, "Critique: lacks error handling")
    agent = planner(
        model,
        parallelizable_steps=True,
        include_alternatives=True,
        enable_backtracking=True,
        enable_self_critique=True,
    )
    plan = await ask(agent)
    assert (plan["parallel_groups"], plan["execution_strategy"]) == ([[2, 3]], "parallel_optimized")
    assert plan["steps"][1]["alternatives"][0]["action"] == "other"
    assert plan["backup_plans"][0]["trigger_condition"] == "2 fails"
    assert (plan["self_critique"], plan["tokens_used"]) == ("Critique: lacks error handling", 2 * TOKENS)
    assert "4. do 4 (after 2, 3)" in model.last.prompt
    assert "critical planning analyst" in model.last.instructions


@pytest.mark.parametrize(
    ("config", "on", "off"),
    [
        (
            {"parallelizable_steps": True},
            "Say of every step whether it can_parallelize",
            "can_parallelize is false",
        ),
        ({"include_alternatives": True}, "Give alternatives,", "Give no alternatives."),
        ({"enable_backtracking": True}, "Give backup_plans:", "Give no backup_plans."),
        ({"step_detail_level": "brief"}, "Level of detail of the steps: brief.", "steps: detailed."),
        ({"reasoning_depth": 7}, "at least 7 levels", "at least 3 levels"),
        (
            {"example_plans": [{"problem": "an API", "steps": ["x", "y"]}]},
            "Problem: an API\nSteps: x; y",
            "zzz",
        ),
    ],
)
async def test_keys_change_the_instructions(config: dict[str, Any], on: str, off: str) -> None:
    model = ScriptedModel(PLAN, PLAN)
    await ask(planner(model, prompt="Mind the sea.", **config))
    assert on in model.last.instructions
    assert off not in model.last.instructions
    assert "Mind the sea." in model.last.instructions
    await ask(planner(model))
    assert on not in model.last.instructions
    assert (off in model.last.instructions) is (off != "zzz")
    assert (model.last.settings["temperature"], model.last.settings["max_tokens"]) == (0.7, 2000)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([step(1, 2), step(2, 1)], "the prerequisites go in a circle"),
        ([step(1), step(2), step(3)], "a plan has 1 to 2 steps, not 3"),
        ([step(1, 9)], "step 1 has the prerequisite 9, which is no step"),
    ],
)
async def test_what_is_no_plan_goes_back_to_the_model(steps: list[dict[str, Any]], why: str) -> None:
    model = ScriptedModel({"steps": steps}, {"steps": [step(1)]})
    plan = await ask(planner(model, max_steps=2))
    assert (len(plan["steps"]), plan["tokens_used"]) == (1, 2 * TOKENS)
    assert why in str(model.last.messages)
    with pytest.raises(ModelUnavailableError, match="no usable answer"):
        await ask(planner(ScriptedModel(lambda _: {"steps": steps}), max_steps=2))


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("chain_of_thought", "Chain-of-Thought reasoning"),
        ("react_planning", "Observation"),
        ("backward_chaining", "start with the goal state"),
    ],
)
async def test_strategies_of_one_question(strategy: str, words: str) -> None:
    model = ScriptedModel(PLAN)
    plan = await ask(planner(model, strategy))
    assert (plan["planning_strategy"], len(model.requests)) == (strategy, 1)
    assert words in model.last.instructions
    assert "<problem>\nbuild a boat\n</problem>" in model.last.prompt


async def test_a_backward_chain_comes_out_forward() -> None:
    chain = [step(1, 2), step(2, 3), step(3)]
    plan = await ask(planner(ScriptedModel({"steps": chain}), "backward_chaining"))
    assert [item["action"] for item in plan["steps"]] == ["do 3", "do 2", "do 1"]
    assert plan["critical_path"] == [1, 2, 3]


def candidate(request: Request, plans: dict[str, Any]) -> Answer:
    return next(plan for angle, plan in plans.items() if f"Take the {angle} way" in str(request.messages))


async def test_the_tree_takes_the_branch_that_is_judged_best() -> None:
    plans = {name: {"steps": [step(1) | {"action": name}]} for name in ("most obvious", "safest", "simplest")}
    scores = [{"candidate": n, "score": score} for n, score in [(3, 0.2), (1, 0.5), (2, 0.9)]]
    judged: list[Answer] = [{"scores": scores[:2]}, {"scores": scores}]

    def script(request: Request) -> Answer:
        return judged.pop(0) if "judge candidate plans" in request.instructions else candidate(request, plans)

    model = ScriptedModel(script)
    plan = await ask(planner(model, "tree_of_thought"))
    assert [item["action"] for item in plan["steps"]] == ["safest"]
    assert (plan["tokens_used"], len(model.requests)) == (5 * TOKENS, 5)
    assert "score every candidate from 1 to 3 once" in str(model.last.messages)


async def test_monte_carlo_takes_the_plan_most_likely_to_succeed() -> None:
    plans = {
        "most obvious": {
            "steps": [step(1, confidence=0.9), step(2, confidence=0.9), step(3, confidence=0.9)]
        },
        "safest": {"steps": [step(1, confidence=0.8)]},
    }
    model = ScriptedModel(lambda request: candidate(request, plans))
    plan = await ask(planner(model, "monte_carlo", reasoning_depth=2))
    assert (len(plan["steps"]), plan["tokens_used"]) == (1, 2 * TOKENS)


@pytest.mark.parametrize("strategy", ["monte_carlo", "tree_of_thought"])
async def test_backtracking_goes_on_without_a_branch_that_is_no_plan(strategy: str) -> None:
    plans: dict[str, Any] = {"most obvious": {"steps": [step(1, 1)]}, "safest": PLAN}
    model = ScriptedModel(lambda request: candidate(request, plans))
    plan = await ask(planner(model, strategy, reasoning_depth=2, enable_backtracking=True))
    # Three tries of the first branch and one of the second.
    assert (len(plan["steps"]), plan["tokens_used"]) == (4, 4 * TOKENS)
    with pytest.raises(ModelUnavailableError):
        await ask(planner(model, strategy, reasoning_depth=2))
    hopeless = ScriptedModel(lambda _: {"steps": []})
    with pytest.raises(ModelUnavailableError, match="no plan that works"):
        await ask(planner(hopeless, strategy, reasoning_depth=2, enable_backtracking=True))

    def lost(_: Request) -> Answer:
        raise ModelConnectionError("m", "refused")

    with pytest.raises(ModelUnreachableError) as caught:
        await ask(planner(ScriptedModel(lost), strategy, reasoning_depth=2, enable_backtracking=True))
    assert isinstance(caught.value.__cause__, ModelConnectionError)


async def test_a_hierarchy_plans_each_step_of_the_whole() -> None:
    def script(request: Request) -> Answer:
        if "high-level steps only" in request.prompt:
            assert "at most 3 steps" in request.prompt
            return {"steps": [step(1), step(2, 1)], "success_criteria": ["done"]}
        assert "at most 4 steps" in request.prompt
        part = "1" if "only its step 1" in request.prompt else "2"
        return {"steps": [step(1) | {"action": f"{part}a"}, step(2, 1) | {"action": f"{part}b"}]}

    model = ScriptedModel(script)
    plan = await ask(planner(model, "hierarchical_plan", max_steps=9))
    assert [(item["action"], item.get("prerequisites", [])) for item in plan["steps"]] == [
        ("1a", []),
        ("1b", [1]),
        ("2a", [2]),
        ("2b", [3]),
    ]
    assert (plan["tokens_used"], plan["success_criteria"]) == (3 * TOKENS, ["done"])
    for config in ({"reasoning_depth": 1}, {"max_steps": 1}):
        flat = ScriptedModel({"steps": [step(1)]})
        assert len((await ask(planner(flat, "hierarchical_plan", **config)))["steps"]) == 1
        assert len(flat.requests) == 1


async def test_a_known_problem_costs_nothing() -> None:
    model = ScriptedModel(lambda _: PLAN)
    agent = planner(model)
    first, second = await ask(agent), await ask(agent)
    assert second == first | {"tokens_used": 0, "cached": True}
    assert len(model.requests) == 1
    for number in range(CACHED_PLANS):
        await ask(agent, f"problem {number}")
    assert "cached" not in await ask(agent)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_every_strategy_asks_a_model_and_its_failure_is_the_calls(strategy: str) -> None:
    model = ScriptedModel(lambda _: "no plan at all")
    with pytest.raises(ModelUnavailableError):
        await ask(planner(model, strategy))
    assert model.requests


async def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="input: is empty"):
        await ask(planner(ScriptedModel(PLAN)), "")
