"""The role react: what goes to the model, and what its failures become. No network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.exceptions import ModelRateLimitError as ProviderRateLimit
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from aixgo.agents.factory import build_agent
from aixgo.agents.react import ReactAgent, to_model_history
from aixgo.agents.text import text_of
from aixgo.contract import AgentConfig, ModelConfig
from aixgo.message import Message
from aixgo.runtime.errors import (
    AgentLoadError,
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

    model = TEST_MODEL.model_copy(update={"temperature": 0.25, "max_tokens": 9})
    agent = react(model, prompt={"secret": {"secret": "s", "key": "prompt"}})
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
