"""The role react: what goes to the model, and what its failures become. No network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.exceptions import ModelRateLimitError as ProviderRateLimit
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from aixgo.agents.factory import build_agent
from aixgo.agents.react import ReactAgent, to_model_history
from aixgo.agents.text import text_of
from aixgo.contract import AgentConfig, ModelConfig, PromptConfig, SecretFile
from aixgo.message import Message
from aixgo.runtime.errors import (
    AgentLoadError,
    InvalidRequestError,
    ModelRateLimitError,
    ModelUnavailableError,
    ModelUnreachableError,
)
from aixgo.session import FileBackend, Manager, session_scope

TEST_MODEL = ModelConfig(provider="test", name="t")


def say(text: str, kind: str = "user") -> Message:
    return Message.new(kind, {"text": text})


def react(model: ModelConfig = TEST_MODEL, **more: Any) -> ReactAgent:
    config = AgentConfig(name="a", namespace="n", model=model, **more)
    agent = build_agent(config, lambda reference: f"content of {reference.key}")
    assert isinstance(agent, ReactAgent)
    return agent


def test_answers_are_the_models_and_all_else_is_the_users() -> None:
    stored = [
        say("hello", "question"),
        say("hi", "assistant"),
        Message("1", "react_response", "plain text of Go", ""),
        Message("2", "user", '"a JSON string"', ""),
        Message("3", "user", '{"no":"text"}', ""),
    ]
    history = to_model_history(stored)
    assert [(item.kind, item.parts[0].content) for item in history] == [  # type: ignore[union-attr]
        ("request", "hello"),
        ("response", "hi"),
        ("response", "plain text of Go"),
        ("request", "a JSON string"),
        ("request", '{"no":"text"}'),
    ]


async def test_the_model_gets_prompt_settings_history_and_input(tmp_path: Path) -> None:
    seen: list[tuple[list[ModelMessage], AgentInfo]] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        seen.append((messages, info))
        return ModelResponse(parts=[TextPart("fine")])

    model = TEST_MODEL.changed(temperature=0.25, max_tokens=9)
    agent = react(model, prompt=PromptConfig(secret=SecretFile(secret="s", key="prompt")))
    await agent.start()
    async with Manager(FileBackend(tmp_path)) as sessions:
        session = await sessions.create("a")
        await session.append_messages([say("one"), say("two", "assistant")])
        with session_scope(session), agent._agent.override(model=FunctionModel(answer)):
            output = await agent.execute(say("three"))
    assert (output.type, text_of(output)) == ("assistant", "fine")
    messages, info = seen[0]
    contents = [part.content for item in messages for part in item.parts]  # type: ignore[union-attr]
    assert contents == ["one", "two", "three"]
    assert info.instructions == "content of prompt"
    assert info.model_settings is not None
    assert (info.model_settings["temperature"], info.model_settings["max_tokens"]) == (0.25, 9)


async def test_the_test_provider_answers_and_streams_without_a_network() -> None:
    agent = react()
    assert not agent.ready()
    await agent.start()
    assert agent.ready()
    whole = text_of(await agent.execute(say("x")))
    parts = [text_of(part) async for part in agent.execute_stream(say("x"))]
    assert "".join(parts) == whole
    assert len(parts) > 1
    await agent.stop()
    assert not agent.ready()


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (ModelConnectionError("m", "10.0.0.1 refused"), ModelUnreachableError, "not reachable"),
        (ModelHTTPError(401, "m", {"key": "sk-1"}), ModelUnavailableError, "HTTP status 401"),
        (ProviderRateLimit("m", "sk-1", retry_after=7.0), ModelRateLimitError, "rate limit"),
        (UnexpectedModelBehavior("sk-1"), ModelUnavailableError, "no usable answer"),
    ],
)
async def test_failures_of_the_provider(error: Exception, expected: type[Exception], text: str) -> None:
    def fail(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise error

    agent = react()
    with agent._agent.override(model=FunctionModel(fail)), pytest.raises(expected, match=text) as caught:
        await agent.execute(say("x"))
    assert "sk-1" not in str(caught.value)
    assert "10.0.0.1" not in str(caught.value)
    if isinstance(error, ProviderRateLimit):
        assert caught.value.retry_after == 7.0  # type: ignore[attr-defined]


def test_a_provider_without_its_key_is_an_error() -> None:
    with pytest.raises(AgentLoadError, match="model provider openai needs an API key"):
        react(ModelConfig(name="m"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("a\0b", "control characters"),
        ("\x1b[2J", "control"),
        ("x" * 100_001, "longer than"),
    ],
)
async def test_what_no_model_should_see_is_refused(text: str, why: str) -> None:
    agent = react()
    with pytest.raises(InvalidRequestError, match=why):
        await agent.execute(say(text))
    with pytest.raises(InvalidRequestError, match=why):
        await anext(agent.execute_stream(say(text)))  # type: ignore[call-overload]


async def test_an_answer_has_the_form_that_is_asked_for() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"],
    }
    tries = iter(['{"city": "Bern"}', '{"city": "Bern", "people": 134000}'] * 2)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[ToolCallPart(info.output_tools[0].name, next(tries))])

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[DeltaToolCalls]:
        yield {0: DeltaToolCall(info.output_tools[0].name, next(tries))}

    agent = react(role_config={"outputSchema": schema})
    with agent._agent.override(model=FunctionModel(answer, stream_function=stream)):
        whole = await agent.execute(say("Bern?"))
        parts = [part async for part in agent.execute_stream(say("Bern?"))]
    assert json.loads(whole.payload) == {"city": "Bern", "people": 134000}
    assert [part.payload for part in parts] == [whole.payload]


@pytest.mark.parametrize(
    ("role_config", "text"),
    [
        ({"outputSchema": {"type": "array"}}, "outputSchema: a schema of type object is needed"),
        ({"outputSchema": {"type": "object", "required": 7}}, "outputSchema: 7 is not of type 'array'"),
        ({"maxRequests": 0}, "maxRequests"),
        ({"max_turns": 3}, "unknown key of role react"),
        ({"fallbackModels": [{"provider": "xai"}]}, r"fallbackModels\[0\].name"),
        ({"fallbackModels": [{"name": "g", "provider": "xai"}]}, "model provider xai needs an API key"),
    ],
)
def test_a_role_config_that_cannot_be_used(role_config: dict[str, Any], text: str) -> None:
    with pytest.raises(AgentLoadError, match=text):
        react(role_config=role_config)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_in_a_pod_loopback_is_no_place_for_a_model(host: str) -> None:
    with pytest.raises(AgentLoadError, match=r"model\.baseURL is refused: its host is a loopback address"):
        react(ModelConfig(name="m", base_url=f"http://{host}:8080/v1"))
