"""What goes to model providers over the wire: real HTTP servers stand for the vendors."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.support.model_server import ModelServer

from aixgo.agents import language_model
from aixgo.agents.factory import build_agent
from aixgo.agents.react import ReactAgent
from aixgo.agents.services import AgentServices
from aixgo.agents.text import text_of
from aixgo.agents.url_guard import LOCAL, AddressPolicy
from aixgo.contract import AgentConfig, ModelConfig
from aixgo.message import Message
from aixgo.runtime.call_context import call_context
from aixgo.runtime.errors import (
    AgentLoadError,
    ModelRateLimitError,
    ModelUnavailableError,
    ModelUnreachableError,
)
from aixgo.server.model_probe import connection_error

PROVIDERS = ("openai", "anthropic", "google", "xai", "huggingface")
KEYS = {provider: f"sk-of-{provider}" for provider in PROVIDERS}
#: What libraries read when they are left alone.
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-environment",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/elsewhere",
    "OPENAI_ORG_ID": "org-environment",
    "OPENAI_PROJECT_ID": "project-environment",
    "OPENAI_ADMIN_KEY": "sk-environment",
    "OPENAI_CUSTOM_HEADERS": "X-Sent: environment",
    "ANTHROPIC_API_KEY": "sk-environment",
    "ANTHROPIC_AUTH_TOKEN": "sk-environment",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/elsewhere",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Sent: environment",
    "GOOGLE_API_KEY": "sk-environment",
    "GEMINI_API_KEY": "sk-environment",
    "XAI_API_KEY": "sk-environment",
    "HF_TOKEN": "sk-environment",
}


def say(text: str) -> Message:
    return Message.new("user", {"text": text})


@asynccontextmanager
async def react(model: dict[str, Any], **more: Any) -> AsyncIterator[ReactAgent]:
    config = AgentConfig(name="a", namespace="n", model=ModelConfig.from_document(model), **more)
    agent = build_agent(config, lambda ref: KEYS.get(ref.key, "sk-other"), AgentServices(policy=LOCAL))
    assert isinstance(agent, ReactAgent)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


def key_of(provider: str) -> dict[str, str]:
    return {"secret": "llm", "key": provider}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_key_goes_to_its_provider_and_to_nobody_else(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R11: every vendor has a server of its own here, and only the right one hears anything."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with ModelServer() as right, ModelServer() as wrong:
        urls = {
            name: server.base_url.removesuffix("/v1") if name == "anthropic" else server.base_url
            for name in PROVIDERS
            for server in [right if name == provider else wrong]
        }
        monkeypatch.setattr(language_model, "DEFAULT_BASE_URLS", urls)
        async with react({"provider": provider, "name": "m", "apiKey": key_of(provider)}) as agent:
            assert text_of(await agent.execute(say("hi"))) != ""
    assert (len(right.requests), wrong.requests) == (1, [])
    path = "/v1/messages" if provider == "anthropic" else "/v1/chat/completions"
    assert right.paths == [path]
    assert right.authorizations == [f"Bearer {KEYS[provider]}"]
    headers = {name.lower(): value for name, value in right.headers[0].items()}
    assert not headers.keys() & {"x-api-key", "x-goog-api-key", "openai-organization", "openai-project"}
    assert "environment" not in str(headers)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_provider_honours_a_base_url_and_needs_no_key_there(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with (
        ModelServer() as server,
        react({"provider": provider, "name": "m", "baseURL": server.base_url}) as agent,
    ):
        assert "hi" in text_of(await agent.execute(say("hi")))
    assert "sk-" not in str(server.headers)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_missing_key_is_an_error(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AgentLoadError, match=f"model provider {provider} needs an API key"):
        async with react({"provider": provider, "name": "m"}):
            pass


async def test_a_key_that_no_header_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEYS, "openai", "sk-1\nHost: elsewhere")
    with pytest.raises(AgentLoadError, match="empty or no API key") as caught:
        async with react({"name": "m", "apiKey": key_of("openai")}):
            pass
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/v1", "http://0.0.0.0/v1", "http://2130706433/v1", "http://[fd00:ec2::254]/"],
)
async def test_a_refused_address_is_an_error_at_once(url: str) -> None:
    with pytest.raises(AgentLoadError, match=r"model\.baseURL is refused"):
        async with react({"name": "m", "baseURL": url}):
            pass


async def test_the_address_that_was_judged_is_the_one_that_is_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that means something else at every question: the first answer counts, or none."""
    async with ModelServer() as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        asked: list[str] = []

        async def rebinding(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            address = "169.254.169.254" if len(asked) == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        async with react({"name": "m", "baseURL": f"http://rebound.test:{port}/v1"}) as agent:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
            with call_context("a", 0.01), pytest.raises(ModelUnreachableError):
                await agent.execute(say("hi"))
            assert (asked, server.requests) == (["rebound.test"], [])
            assert text_of(await agent.execute(say("hi"))).startswith("hi")
        assert asked == ["rebound.test"] * 2
        assert server.headers[0]["Host"] == f"rebound.test:{port}"


async def test_the_probe_dials_only_what_agents_may() -> None:
    async with ModelServer() as server:
        host, port = "127.0.0.1", int(server.base_url.split(":")[2].split("/")[0])
        assert await connection_error((host, port), LOCAL) is None
        refused = await connection_error((host, port), AddressPolicy())
        assert refused == "model endpoint 127.0.0.1 is refused: its host is a loopback address"
        assert "is refused" in (await connection_error(("169.254.169.254", 80), LOCAL) or "")
        assert "hides an address" in (await connection_error(("2130706433", port), LOCAL) or "")


async def test_a_proxy_is_used_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ModelServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "near.test")
        async with react({"name": "m", "baseURL": "http://far.test/v1"}) as agent:
            assert text_of(await agent.execute(say("hi"))).startswith("hi")
        assert proxy.headers[0]["Host"] == "far.test"
        async with react({"name": "m", "baseURL": "http://near.test/v1"}) as agent:
            with call_context("a", 0.01), pytest.raises(ModelUnreachableError):
                await agent.execute(say("hi"))
        assert len(proxy.requests) == 1


async def test_redirects_take_nothing_to_another_server() -> None:
    async with ModelServer() as thief:

        async def redirect(_: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(thief.base_url + "/chat/completions")

        application = web.Application()
        application.router.add_post("/v1/chat/completions", redirect)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            async with react({"name": "m", "baseURL": url, "apiKey": key_of("openai")}) as agent:
                with pytest.raises(ModelUnavailableError):
                    await agent.execute(say("hi"))
        finally:
            await runner.cleanup()
        assert thief.requests == []


@pytest.mark.parametrize(
    "failures",
    [
        [(429, {"Retry-After": "0"}), (503, {})],
        [(500, {}), (529, {"Retry-After-Ms": "1"})],
        [(0, {}), (0, {})],
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_what_may_succeed_a_little_later_is_tried_again(
    provider: str, failures: list[tuple[int, dict[str, str]]]
) -> None:
    async with (
        ModelServer() as server,
        react({"provider": provider, "name": "m", "baseURL": server.base_url}) as agent,
    ):
        server.failures = list(failures)
        assert "hi" in text_of(await agent.execute(say("hi")))
        assert len(server.requests) == 3


async def test_retry_after_is_honoured() -> None:
    async with ModelServer() as server, react({"name": "m", "baseURL": server.base_url}) as agent:
        server.failures = [(429, {"Retry-After": "1"})]
        began = time.monotonic()
        await agent.execute(say("hi"))
        assert time.monotonic() - began >= 1
        assert len(server.requests) == 2


async def test_a_wait_beyond_the_deadline_is_the_callers_business() -> None:
    async with ModelServer() as server, react({"name": "m", "baseURL": server.base_url}) as agent:
        server.failures = [(429, {"Retry-After": "30"})]
        began = time.monotonic()
        with call_context("a", 5), pytest.raises(ModelRateLimitError) as caught:
            await agent.execute(say("hi"))
        assert time.monotonic() - began < 2
        assert (caught.value.retry_after, len(server.requests)) == (30, 1)


async def test_what_stays_wrong_is_reported_after_a_few_tries() -> None:
    async with ModelServer() as server, react({"name": "m", "baseURL": server.base_url}) as agent:
        server.failures = [(503, {"Retry-After": "0"})] * 9
        with pytest.raises(ModelUnavailableError, match="HTTP status 503") as caught:
            await agent.execute(say("hi"))
        assert len(server.requests) == 3
        server.failures = [(400, {})]
        with pytest.raises(ModelUnavailableError, match="HTTP status 400"):
            await agent.execute(say("hi"))
        assert len(server.requests) == 4
    assert "sk-secret" not in str(caught.value)


async def test_fallback_models_are_asked_in_order_each_with_its_own_key() -> None:
    async with ModelServer() as first, ModelServer() as second:
        first.fail_with = 400
        config = {
            "fallbackModels": [
                "cheaper",
                {"name": "other", "provider": "anthropic", "baseURL": second.base_url},
            ]
        }
        model = {"name": "best", "baseURL": first.base_url, "apiKey": key_of("openai")}
        async with react(model, role_config=config) as agent:
            assert "hi" in text_of(await agent.execute(say("hi")))
            assert [request["model"] for request in first.requests] == ["best", "cheaper"]
            assert first.authorizations == ["Bearer sk-of-openai"] * 2
            assert [request["model"] for request in second.requests] == ["other"]
            assert "sk-of-openai" not in str(second.headers)
            second.fail_with = 400
            with pytest.raises(ModelUnavailableError, match="HTTP status 400"):
                await agent.execute(say("hi"))


@pytest.mark.parametrize("answer", [{}, [], None, {"choices": []}, {"content": None, "usage": None}])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_an_answer_that_is_none_is_the_models_failure_and_the_next_one_is_asked(
    provider: str, answer: object
) -> None:
    if answer == {"choices": []}:
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    async with ModelServer() as broken, ModelServer() as sound:
        broken.answer_with = answer
        model = {"provider": provider, "name": "m", "baseURL": broken.base_url}
        async with react(model) as agent:
            with pytest.raises(ModelUnavailableError, match="gave no usable answer"):
                await agent.execute(say("hi"))
        others = {"fallbackModels": [{"name": "other", "baseURL": sound.base_url}]}
        async with react(model, role_config=others) as agent:
            assert "hi" in text_of(await agent.execute(say("hi")))


async def test_a_call_that_is_given_up_closes_its_request() -> None:
    async with ModelServer() as server, react({"name": "m", "baseURL": server.base_url}) as agent:
        server.go_on.clear()
        call = asyncio.create_task(agent.execute(say("hi")))
        await server.received.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await server.abandoned.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_stream_that_is_given_up_closes_its_request() -> None:
    async with ModelServer() as server, react({"name": "m", "baseURL": server.base_url}) as agent:
        server.go_on.clear()
        stream = agent.execute_stream(say("one two three"))
        assert text_of(await anext(stream)) == "one"
        await stream.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            await server.abandoned.wait()
