"""A language model for tests: speaks the protocols of OpenAI and Anthropic on loopback, answers by a script,
keeps requests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class ToolCall:
    """An answer of the model: call this tool."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    #: What the model says before.
    text: str = ""


#: Gets the messages of a request and returns the answer's text, or a tool to call.
Script = Callable[[list[dict[str, Any]]], str | ToolCall]


def echo(messages: list[dict[str, Any]]) -> str:
    """Answer with the last message and how many came before it."""
    return f"{messages[-1]['content']} ({len(messages) - 1} before)"


class ModelServer:
    """``async with ModelServer() as model:``; ``model.base_url`` goes into the configuration."""

    def __init__(self, script: Script = echo) -> None:
        self.script = script
        #: The JSON bodies of all requests, oldest first.
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        #: While cleared, requests wait (streams: after their first part).
        self.go_on = asyncio.Event()
        self.go_on.set()
        #: Set while at least one request has been received since it was cleared.
        self.received = asyncio.Event()
        #: Answer with this HTTP status instead.
        self.fail_with: int | None = None
        #: Answer with these first: HTTP status and headers. Status 0 cuts the connection.
        self.failures: list[tuple[int, dict[str, str]]] = []
        #: Answer with this JSON instead, as a server that is not what it says.
        self.answer_with: object = ...
        #: Headers and paths of all requests, oldest first.
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        #: Set when a caller has gone away before its answer was complete.
        self.abandoned = asyncio.Event()
        application = web.Application()
        application.router.add_post("/v1/messages", self._message)
        application.router.add_post("/{where:.*}/chat/completions", self._complete)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        self.base_url = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go_on.set()
        await self._runner.cleanup()

    @property
    def last_messages(self) -> list[tuple[str, str]]:
        """Role and content of the messages of the newest request."""
        return [(message["role"], message["content"]) for message in self.requests[-1]["messages"]]

    def tools(self) -> list[str]:
        """Return the names of the tools that the newest request offers."""
        return [tool["function"]["name"] for tool in self.requests[-1].get("tools", [])]

    async def _keep(self, request: web.Request) -> web.Response | None:
        """Keep a request, and return the failure that it gets, if any."""
        self.requests.append(await request.json())
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.headers.append(dict(request.headers))
        self.paths.append(request.path)
        self.received.set()
        status, headers = (self.fail_with, {}) if not self.failures else self.failures.pop(0)
        if status == 0 and request.transport is not None:
            request.transport.abort()
        if status is None and self.answer_with is not ...:
            return web.json_response(self.answer_with)
        if status is None:
            return None
        error = {"error": {"message": "no, sk-secret at 10.0.0.1", "type": "scripted"}}
        return web.json_response(error, status=status or 500, headers=headers)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if (failure := await self._keep(request)) is not None:
            return failure
        body = self.requests[-1]
        said = self.script(body["messages"])
        try:
            if body.get("stream"):
                return await self._stream(request, body["model"], said)
            await self.go_on.wait()
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned.set()
            raise
        if isinstance(said, ToolCall):
            message = {"role": "assistant", "content": said.text or None, "tool_calls": [_call(said)]}
            choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return web.json_response(_frame("chat.completion", body["model"], choice) | {"usage": usage})

    async def _message(self, request: web.Request) -> web.StreamResponse:
        """Answer in the protocol of Anthropic."""
        if (failure := await self._keep(request)) is not None:
            return failure
        body = self.requests[-1]
        said = self.script(body["messages"])
        if isinstance(said, ToolCall):
            content = {"type": "tool_use", "id": "toolu_1", "name": said.name, "input": said.arguments}
        else:
            content = {"type": "text", "text": said}
        return web.json_response(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": body["model"],
                "content": [content],
                "stop_reason": "tool_use" if isinstance(said, ToolCall) else "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        )

    async def _stream(self, request: web.Request, model: str, said: str | ToolCall) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        text = said.text if isinstance(said, ToolCall) else said
        for number, word in enumerate(text.split(" ") if text else ()):
            if number == 1:
                await self.go_on.wait()
            delta = {"role": "assistant", "content": word if number == 0 else f" {word}"}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            await response.write(_event(_frame("chat.completion.chunk", model, choice)))
        if isinstance(said, ToolCall):
            delta = {"role": "assistant", "tool_calls": [{"index": 0, **_call(said)}]}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            await response.write(_event(_frame("chat.completion.chunk", model, choice)))
        reason = "tool_calls" if isinstance(said, ToolCall) else "stop"
        last = {"index": 0, "delta": {}, "finish_reason": reason}
        await response.write(_event(_frame("chat.completion.chunk", model, last)))
        await response.write(b"data: [DONE]\n\n")
        return response


def _call(said: ToolCall) -> dict[str, Any]:
    function = {"name": said.name, "arguments": json.dumps(said.arguments)}
    return {"id": "call_1", "type": "function", "function": function}


def _frame(kind: str, model: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": "scripted", "object": kind, "created": 1, "model": model, "choices": [choice]}


def _event(frame: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(frame)}\n\n".encode()
