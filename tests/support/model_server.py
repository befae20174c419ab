"""A language model for tests: speaks the OpenAI protocol on loopback, answers by a script, keeps requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

#: Gets the messages of a request and returns the answer's text.
Script = Callable[[list[dict[str, Any]]], str]


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
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
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

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.received.set()
        if self.fail_with is not None:
            error = {"error": {"message": "no, sk-secret at 10.0.0.1", "type": "scripted"}}
            return web.json_response(error, status=self.fail_with)
        text = self.script(body["messages"])
        if body.get("stream"):
            return await self._stream(request, body["model"], text)
        await self.go_on.wait()
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return web.json_response(_frame("chat.completion", body["model"], choice))

    async def _stream(self, request: web.Request, model: str, text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, word in enumerate(text.split(" ")):
            if number == 1:
                await self.go_on.wait()
            delta = {"role": "assistant", "content": word if number == 0 else f" {word}"}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            await response.write(_event(_frame("chat.completion.chunk", model, choice)))
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await response.write(_event(_frame("chat.completion.chunk", model, last)))
        await response.write(b"data: [DONE]\n\n")
        return response


def _frame(kind: str, model: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": "scripted", "object": kind, "created": 1, "model": model, "choices": [choice]}


def _event(frame: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(frame)}\n\n".encode()
