"""Classifier, aggregator and planner in a real process, with a model behind a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.support.model_server import ModelServer, ToolCall
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, runtime_json

from aixgo.message import Message
from aixgo.rpc.client import AgentClient, RpcError

CODE = grpc.StatusCode
#: What the model server says that an answer costs.
TOKENS = 15
INPUTS = [
    {"agent": "a", "content": "take the train", "confidence": 0.9},
    {"agent": "b", "content": "Take  the train", "confidence": 0.6},
    {"agent": "c", "content": "walk", "confidence": 0.8},
]
CATEGORIES = {"categories": [{"name": "travel", "description": "on the way"}, {"name": "food"}]}
SYNTHESIS = {
    "aggregated_content": "the train",
    "conflicts_resolved": [
        {"topic": "how", "conflicting_sources": ["a", "c"], "resolution": "train", "reasoning": "two say so"}
    ],
    "summary_insights": "most agree",
}
STEPS = [
    {"step_number": 2, "action": "board", "prerequisites": [1], "confidence": 0.5},
    {"step_number": 1, "action": "buy a ticket", "confidence": 0.5},
]


def model_says(messages: list[dict[str, Any]]) -> str | ToolCall:
    """Answer as the question wants it, the classifier first with a category that is none."""
    system = str(messages[0]["content"])
    if "classification" in system:
        first = not any(message["role"] in ("assistant", "tool") for message in messages)
        category = "trains" if first else "travel"
        return ToolCall("answer", {"category": category, "confidence": 0.75, "reasoning": "it moves"})
    if "planning system" in system:
        # A model without tools.
        return f"Here it is:\n```json\n{json.dumps({'steps': STEPS})}\n```"
    return ToolCall("answer", SYNTHESIS)


def agents(base_url: str) -> list[dict[str, Any]]:
    model = {"name": "m", "baseURL": base_url}
    return [
        {"name": "classifier", "role": "classifier", "model": model, "roleConfig": CATEGORIES},
        {
            "name": "aggregator",
            "role": "aggregator",
            "model": {**model, "temperature": 0.9},
            "prompt": {"text": "Be brief."},
            "roleConfig": {"aggregationStrategy": "semantic", "summarizationEnabled": True, "maxTokens": 77},
        },
        {"name": "voter", "role": "aggregator", "roleConfig": {"aggregation_strategy": "voting_unanimous"}},
        {"name": "planner", "role": "planner", "model": model, "roleConfig": {"max_steps": 2}},
        {"name": "modelless", "role": "aggregator"},
    ]


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer(model_says) as server:
        yield server


async def ask(client: AgentClient, agent: str, payload: Any) -> tuple[str, dict[str, Any]]:
    output = (await client.execute(agent, Message.new("user", payload))).output
    result: dict[str, Any] = json.loads(output.payload)
    return output.type, result


async def test_roles_answer_with_what_their_model_said_and_cost(
    files: RuntimeFiles, me: Leaf, model: ModelServer
) -> None:
    files.configure(runtime_json(agents(model.base_url)))
    async with RuntimeProcess(files) as runtime:
        status = await runtime.until(
            lambda s: all(agent.error != "loading" for agent in s.agents), "all have been tried"
        )
        errors = {agent.name: agent.error for agent in status.agents if agent.error}
        assert errors == {"modelless": "the aggregation strategy consensus needs a model"}
        async with runtime.client(me) as client:
            kind, result = await ask(client, "classifier", {"text": "the 9:15 is late"})
            assert (kind, result["category"], result["accepted"]) == ("classification", "travel", True)
            assert (result["tokens_used"], len(model.requests)) == (2 * TOKENS, 2)

            kind, result = await ask(client, "aggregator", INPUTS)
            assert kind == "aggregation_result"
            assert result["processing_time_ms"] > 0
            assert {key: result[key] for key in SYNTHESIS} == SYNTHESIS
            assert (result["sources"], result["tokens_used"]) == (["a", "b", "c"], TOKENS)
            assert [c["member_agents"] for c in result["semantic_clusters"]] == [["a", "b"], ["c"]]
            assert 0.2 < result["consensus_level"] < 0.7
            request = model.requests[-1]
            # roleConfig before the model's own settings, those before the role's defaults.
            assert request["temperature"] == 0.9
            assert 77 in (request.get("max_tokens"), request.get("max_completion_tokens"))
            assert "Be brief." in request["messages"][0]["content"]

            kind, result = await ask(client, "planner", {"text": "go to the sea"})
            assert (kind, result["tokens_used"]) == ("plan", TOKENS)
            assert [step["action"] for step in result["steps"]] == ["buy a ticket", "board"]
            assert result["critical_path"] == [1, 2]

            asked = len(model.requests)
            assert (await ask(client, "planner", {"text": "go to the sea"}))[1]["cached"] is True
            kind, result = await ask(client, "voter", INPUTS[:2])
            assert (result["aggregated_content"], result["tokens_used"]) == ("take the train", 0)
            assert len(model.requests) == asked

            for agent, payload, code, text in [
                ("voter", INPUTS, CODE.FAILED_PRECONDITION, "c disagrees with a"),
                ("voter", [{"agent": "a"}], CODE.INVALID_ARGUMENT, "input[0].content: Field required"),
                ("classifier", {"text": " "}, CODE.INVALID_ARGUMENT, "input: is empty"),
            ]:
                with pytest.raises(RpcError) as caught:
                    await ask(client, agent, payload)
                assert (caught.value.code, text in str(caught.value)) == (code, True)

            model.fail_with = 503
            with pytest.raises(RpcError) as caught:
                await ask(client, "aggregator", INPUTS)
            assert caught.value.code is CODE.UNAVAILABLE


async def test_roles_work_together_by_themselves(files: RuntimeFiles, model: ModelServer) -> None:
    """R1, R2: a producer feeds two classifiers, an aggregator counts their votes, a logger shows the result.

    The two styles of naming are mixed: ``news`` is a topic, the others name each other.
    """
    known = {"name": "m", "baseURL": model.base_url}
    classifiers = [
        {
            "name": name,
            "role": "classifier",
            "model": known,
            "roleConfig": CATEGORIES,
            "inputs": ["news"],
            "outputs": ["votes"],
        }
        for name in ("one", "two")
    ]
    votes = {"aggregationStrategy": "voting_unanimous", "maxInputSources": 2, "timeoutMs": 60_000}
    pipeline = [
        {
            "name": "source",
            "role": "producer",
            "roleConfig": {"interval": "500ms", "message": "the 9:15 is late"},
            "outputs": ["news"],
        },
        *classifiers,
        {
            "name": "votes",
            "role": "aggregator",
            "roleConfig": votes,
            "inputs": ["one", "two"],
            "outputs": ["log"],
        },
        {"name": "log", "role": "logger", "inputs": ["votes"]},
    ]
    files.configure(runtime_json(pipeline))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()

        def results() -> list[dict[str, Any]]:
            return [
                json.loads(line["payload"])
                for line in runtime.log
                if line.get("agent") == "log" and "payload" in line
            ]

        await runtime.until(lambda _: len(results()) >= 2, "two results are logged", timeout=120)
        for result in results():
            assert (result["aggregated_content"], result["consensus_level"]) == ("travel", 1.0)
            assert sorted(result["sources"]) == ["one", "two"]
        line = next(line for line in runtime.log if line.get("type") == "aggregation_result")
        assert line["message"].startswith("[ALERT] aggregation_result | {")
        assert not [line for line in runtime.log if line.get("level") in ("error", "critical")]
        runtime.terminate()
        assert await runtime.exit_code() == 0
