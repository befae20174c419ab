"""The role aggregator: nine strategies, every key, and what is computed without the model."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import pytest
from tests.support.scripted_model import TOKENS, Answer, Request, ScriptedModel

from aixgo.agents.aggregation import MAX_INPUTS
from aixgo.agents.aggregator import AggregatorAgent
from aixgo.agents.errors import NoAgreementError
from aixgo.contract.role_config import AggregationStrategy, AggregatorConfig, parse_role_config
from aixgo.message import Message
from aixgo.runtime.errors import AgentLoadError, InvalidRequestError, ModelUnavailableError

STRATEGIES: tuple[str, ...] = get_args(AggregationStrategy)
VOTES = tuple(name for name in STRATEGIES if name.startswith("voting_"))
WRITTEN = tuple(name for name in STRATEGIES if name not in VOTES)
INPUTS = [
    {"agent": "a", "content": "solution A is optimal", "confidence": 0.8},
    {"agent": "b", "content": "Solution A is  optimal", "confidence": 0.7},
    {"agent": "c", "content": "nothing of that sort", "confidence": 0.9},
]
SYNTHESIS: dict[str, Any] = {"aggregated_content": "A, says the majority"}


def aggregator(
    strategy: str, model: ScriptedModel | None = None, *, prompt: str = "", **config: Any
) -> AggregatorAgent:
    settings = parse_role_config("aggregator", {"aggregation_strategy": strategy, **config})
    assert isinstance(settings, AggregatorConfig)
    return AggregatorAgent("agg", config=settings, prompt=prompt, model=model.model if model else None)


async def ask(agent: AggregatorAgent, payload: Any = INPUTS) -> dict[str, Any]:
    answer = await agent.execute(Message.new("user", payload))
    assert answer.type == "aggregation_result"
    result: dict[str, Any] = json.loads(answer.payload)
    return result


async def written(
    strategy: str, payload: Any = INPUTS, said: Answer = SYNTHESIS, **config: Any
) -> tuple[dict[str, Any], Request]:
    model = ScriptedModel(lambda request: said if request.schema else "a summary")
    return await ask(aggregator(strategy, model, **config), payload), model.last


@pytest.mark.parametrize("strategy", VOTES)
async def test_votes_need_no_model_and_say_the_same_every_time(strategy: str) -> None:
    model = ScriptedModel(SYNTHESIS)
    agreeing = [INPUTS[0], INPUTS[1]]
    results = await asyncio.gather(*(ask(aggregator(strategy, model), agreeing) for _ in range(20)))
    for result in results:
        assert result | {"processing_time_ms": 0, "summary_insights": ""} == {
            "aggregated_content": "solution A is optimal",
            "sources": ["a", "b"],
            "strategy_used": strategy,
            "consensus_level": 1.0,
            "consensus_reached": True,
            "summary_insights": "",
            "tokens_used": 0,
            "processing_time_ms": 0,
        }
        assert result["summary_insights"]
    assert model.requests == []


async def test_each_vote_counts_its_own_way() -> None:
    contents = {
        name: (await ask(aggregator(name)))["aggregated_content"] for name in VOTES if "unan" not in name
    }
    assert contents == {
        "voting_majority": "solution A is optimal",
        "voting_weighted": "solution A is optimal",
        "voting_confidence": "nothing of that sort",
    }
    with pytest.raises(NoAgreementError, match="unanimous vote failed: c disagrees with a"):
        await ask(aggregator("voting_unanimous"))
    heavy = await ask(aggregator("voting_weighted", source_weights={"c": 9}))
    assert (heavy["aggregated_content"], heavy["consensus_level"]) == (
        "nothing of that sort",
        pytest.approx(9 / 10.5),
    )


async def test_alike_texts_are_one_option_with_semantic_deduplication() -> None:
    inputs = [
        {"agent": "a", "content": "take the red train"},
        {"agent": "b", "content": "the red train: take it"},
        {"agent": "c", "content": "walk", "confidence": 0.9},
        {"agent": "d", "content": "walk slowly"},
    ]
    exact = await ask(aggregator("voting_majority"), inputs)
    assert exact["aggregated_content"] == "walk"
    alike = await ask(
        aggregator("voting_majority", deduplication_method="semantic", semantic_similarity_threshold=0.8),
        inputs,
    )
    assert (alike["aggregated_content"], alike["consensus_level"]) == ("take the red train", 0.5)


async def test_the_conflict_rule_breaks_ties_of_a_vote() -> None:
    tied = [INPUTS[0] | {"confidence": 0.9}, INPUTS[2] | {"confidence": 0.1}]
    config = {"source_weights": {"c": 5}, "conflict_resolution": "highest_weight_wins"}
    assert (await ask(aggregator("voting_majority"), tied))["aggregated_content"] == "solution A is optimal"
    assert (await ask(aggregator("voting_majority", **config), tied))[
        "aggregated_content"
    ] == "nothing of that sort"


@pytest.mark.parametrize("strategy", WRITTEN)
async def test_the_model_writes_and_the_code_measures(strategy: str) -> None:
    conflict = {
        "topic": "which",
        "conflicting_sources": ["a", "c", "nobody"],
        "resolution": "A",
        "reasoning": "two of three",
    }
    said = SYNTHESIS | {"conflicts_resolved": [conflict], "summary_insights": "lively"}
    result, request = await written(strategy, said=said, prompt="About code.")
    assert result["aggregated_content"] == "A, says the majority"
    assert result["strategy_used"] == strategy
    assert result["sources"] == ["a", "b", "c"]
    assert result["conflicts_resolved"] == [conflict | {"conflicting_sources": ["a", "c"]}]
    assert 0 < result["consensus_level"] < 0.7
    assert result["consensus_reached"] is False
    assert result["tokens_used"] == TOKENS * (2 if strategy == "hierarchical" else 1)
    assert result["processing_time_ms"] >= 0
    assert "summary_insights" not in result
    assert ("semantic_clusters" in result) is (strategy == "semantic")
    assert "About code." in request.instructions
    assert (request.settings["temperature"], request.settings["max_tokens"]) == (0.5, 1500)
    assert request.schema["required"] == ["aggregated_content"]


@pytest.mark.parametrize("strategy", WRITTEN)
async def test_agreement_is_complete_when_all_say_the_same(strategy: str) -> None:
    result, request = await written(strategy, INPUTS[:2])
    assert (result["consensus_level"], result["consensus_reached"]) == (1.0, True)
    assert "say where they disagree" not in request.prompt
    result, request = await written(strategy, INPUTS, consensus_threshold=0.01)
    assert result["consensus_reached"] is True
    assert "say where they disagree" not in request.prompt
    result, request = await written(strategy, INPUTS, consensus_threshold=1.0)
    assert "say where they disagree" in request.prompt


@pytest.mark.parametrize("strategy", WRITTEN)
def test_a_strategy_that_writes_needs_a_model(strategy: str) -> None:
    with pytest.raises(AgentLoadError, match=f"the aggregation strategy {strategy} needs a model"):
        aggregator(strategy)


async def test_weights_are_shown_heaviest_first_and_count_in_the_agreement() -> None:
    even, request = await written("weighted")
    assert request.prompt.index("Agent c [weight 0.90]") < request.prompt.index("Agent a [weight 0.80]")
    result, request = await written("weighted", source_weights={"a": 2, "b": 3, "c": 0})
    assert request.prompt.index("Agent b [weight 3.00]") < request.prompt.index("Agent a [weight 2.00]")
    assert (result["consensus_level"], even["consensus_level"] < 1) == (1.0, True)


async def test_semantic_clusters_are_computed_and_shown() -> None:
    result, request = await written("semantic")
    assert result["semantic_clusters"] == [
        {
            "cluster_id": "cluster_0",
            "member_agents": ["a", "b"],
            "core_concept": "solution optimal is",
            "avg_similarity": 1.0,
        },
        {
            "cluster_id": "cluster_1",
            "member_agents": ["c"],
            "core_concept": "nothing sort that",
            "avg_similarity": 1.0,
        },
    ]
    assert result["consensus_level"] == pytest.approx(1 / 3, abs=0.2)
    assert "cluster_0: solution optimal is" in request.prompt
    assert "semantic clusters" in request.instructions


async def test_embeddings_of_the_senders_decide_what_is_alike() -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0], [0.99, 0.1]]
    inputs = [item | {"embedding": vector} for item, vector in zip(INPUTS, vectors, strict=True)]
    result, _ = await written("semantic", inputs)
    assert [cluster["member_agents"] for cluster in result["semantic_clusters"]] == [["a", "c"], ["b"]]


async def test_the_hierarchy_summarises_groups_of_three() -> None:
    inputs = [{"agent": f"a{n}", "content": f"content {n}"} for n in range(7)]
    model = ScriptedModel(
        lambda request: SYNTHESIS if request.schema else f"sum of {request.prompt.count('Agent')}"
    )
    result = await ask(aggregator("hierarchical", model), inputs)
    assert result["tokens_used"] == 4 * TOKENS
    assert "Group 1 (a0, a1, a2): sum of 3" in model.last.prompt
    assert "Group 3 (a6): sum of 1" in model.last.prompt
    assert len(result["sources"]) == 7


async def test_passages_are_numbered_and_chosen_by_the_question() -> None:
    payload = {
        "question": "when does the train leave",
        "inputs": [
            {"agent": "cook", "content": "soup is ready", "confidence": 1.0},
            {"agent": "rail", "content": "the train does leave at nine"},
        ],
    }
    result, request = await written("rag_based", payload, max_input_sources=1)
    assert result["sources"] == ["rail"]
    assert "Question: when does the train leave" in request.prompt
    assert "[1] (rail): the train does leave at nine" in request.prompt
    result, _ = await written("consensus", payload, max_input_sources=1)
    assert result["sources"] == ["cook"]


@pytest.mark.parametrize(
    ("method", "shown"), [("none", 2), ("exact", 1), ("exact_match", 1), ("semantic", 1)]
)
async def test_duplicates_are_shown_once_with_all_who_say_so(method: str, shown: int) -> None:
    result, request = await written("consensus", deduplication_method=method)
    assert request.prompt.casefold().count("solution a is") == shown
    assert ("Agent a, b [weight 1.50]" in request.prompt) is (shown == 1)
    assert result["sources"] == ["a", "b", "c"]


async def test_insights_and_the_rule_for_conflicts_are_asked_for() -> None:
    said = SYNTHESIS | {"summary_insights": "lively"}
    result, request = await written(
        "consensus", said=said, summarization_enabled=True, conflict_resolution="ask c"
    )
    assert result["summary_insights"] == "lively"
    assert "Fill summary_insights." in request.instructions
    assert "Where inputs contradict: ask c." in request.instructions
    _, request = await written("consensus", conflict_resolution="majority_wins")
    assert "Where inputs contradict: what more agents say is right." in request.instructions


async def test_any_other_payload_is_one_input() -> None:
    for payload, content in [({"text": "hello"}, "hello"), ("plain", "plain"), ({"x": 1}, '{"x":1}')]:
        result = await ask(aggregator("voting_majority"), payload)
        assert (result["aggregated_content"], result["sources"]) == (content, ["input"])


async def test_one_input_may_stand_alone() -> None:
    result = await ask(aggregator("voting_majority"), INPUTS[2])
    assert (result["aggregated_content"], result["sources"]) == ("nothing of that sort", ["c"])


async def test_contents_may_be_texts_json_or_empty() -> None:
    assert (await ask(aggregator("voting_majority"), ["x", "y", "x"]))["aggregated_content"] == "x"
    objects = [{"agent_name": name, "content": {"b": 1}} for name in "ab"]
    assert (await ask(aggregator("voting_unanimous"), objects))["aggregated_content"] == '{"b":1}'
    empty = [{"source": name, "content": ""} for name in "ab"]
    assert (await ask(aggregator("voting_majority"), empty))["aggregated_content"] == ""


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ([], "input: no inputs to aggregate"),
        ([{"agent": "a"}], r"input\[0\].content: Field required"),
        ([INPUTS[0], {"content": "x"}], r"input\[1\].agent_name: Field required"),
        (
            [INPUTS[0] | {"confidence": 1.5}],
            r"input\[0\].confidence: Input should be less than or equal to 1",
        ),
        ([3], r"input\[0\]: Input should be"),
        ([{"agent": "a", "content": "x\0"}], r"input\[0\].content: has control characters"),
        (["x"] * (MAX_INPUTS + 1), f"more than {MAX_INPUTS} inputs"),
    ],
)
async def test_malformed_inputs_are_named(payload: Any, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=text):
        await ask(aggregator("voting_majority"), payload)


async def test_an_empty_answer_of_the_model_is_none() -> None:
    with pytest.raises(ModelUnavailableError, match="no usable answer"):
        await written("consensus", said={"aggregated_content": ""})


async def test_a_failing_group_fails_the_call_and_nothing_is_left_running() -> None:
    def script(request: Request) -> Answer:
        if "content 4" in request.prompt:
            raise RuntimeError("model broke")
        return SYNTHESIS if request.schema else "sum"

    inputs = [{"agent": f"a{n}", "content": f"content {n}"} for n in range(30)]
    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError, match="model broke"):
        await ask(aggregator("hierarchical", ScriptedModel(script)), inputs)
    assert asyncio.all_tasks() == before
