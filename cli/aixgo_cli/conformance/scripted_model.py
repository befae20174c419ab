"""A language model that does as it is told: speaks the OpenAI protocol on loopback.

The newest message of a request decides: ``fail <status>`` answers with that HTTP status and echoes the API
key, as some providers do; ``wait`` answers when it is released; ``long <length>`` answers with so many
characters. Everything else is answered with the number of messages of the conversation and the newest one.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from types import TracebackType

FAIL, WAIT, LONG = "fail ", "wait", "long "


class ScriptedModel:
    """``async with ScriptedModel() as model:``; ``model.base_url`` goes into the configuration."""

    def __init__(self) -> None:
        #: What was said in each request, oldest request first; without the system prompt.
        self.conversations: list[list[str]] = []
        self.system_prompts: list[str] = []
        self.keys: list[str] = []
        self.waiting = 0
        self.base_url = ""
        self._release = asyncio.Event()
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        await self._runner.cleanup()

    def release(self) -> None:
        """Let all requests that wait be answered; later ones wait again."""
        self._release.set()
        self._release = asyncio.Event()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        messages = [(message["role"], _text(message.get("content"))) for message in body["messages"]]
        said = [text for role, text in messages if role not in ("system", "developer")]
        self.conversations.append(said)
        self.system_prompts.append(
            " ".join(text for role, text in messages if role in ("system", "developer"))
        )
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.keys.append(key)
        newest = said[-1] if said else ""
        if newest.startswith(FAIL):
            text = f"refused: {key} at 10.1.2.3 in /srv/model"
            return web.json_response({"error": {"message": text}}, status=int(newest.removeprefix(FAIL)))
        if newest.startswith(WAIT):
            release = self._release
            self.waiting += 1
            try:
                await release.wait()
            finally:
                self.waiting -= 1
        text = f"{len(said)}: {newest[:200]}"
        if newest.startswith(LONG):
            text = "x" * int(newest.removeprefix(LONG))
        return await (self._stream(request, body, text) if body.get("stream") else self._whole(body, text))

    async def _whole(self, body: dict[str, Any], text: str) -> web.StreamResponse:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response({**_frame("chat.completion", body), "choices": [choice], "usage": usage})

    async def _stream(self, request: web.Request, body: dict[str, Any], text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": part} for part in (text[:2], text[2:]) if part]
        for delta in [*deltas, None]:
            choice = {"index": 0, "delta": delta or {}, "finish_reason": None if delta else "stop"}
            frame = {**_frame("chat.completion.chunk", body), "choices": [choice]}
            await response.write(f"data: {json.dumps(frame)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _frame(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "conformance", "object": kind, "created": 1, "model": body.get("model", "")}
