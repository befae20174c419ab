"""The runtime under test, seen from outside."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import grpc.aio

from aixgo.contract import Statusz
from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo_cli.conformance.check import NotCheckableError, ViolationError, require
from aixgo_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aixgo_cli.conformance.laboratory import Laboratory
    from aixgo_cli.credentials import Identity

#: How long one call or request may take, in seconds.
CALL_SECONDS = 20.0
#: How long a connection may take, in seconds.
CONNECT_SECONDS = 10.0
#: Seconds between two looks at something that is to change.
POLL_SECONDS = 0.05


@dataclass
class Subject:
    """Where the runtime is, who we are, and, if we started it ourselves, everything around it."""

    target: str
    admin: str
    identity: Identity | None = None
    server_name: str | None = None
    #: The agent that may be called; None: none, since a call may cost money.
    agent: str | None = None
    laboratory: Laboratory | None = None

    async def reach(self) -> None:
        """Connect to both ports: what is not there breaks no statement.

        Raises:
            CliError: an address is none, or nothing listens there.
        """
        await _connect("--target", "HOST:PORT", f"grpc://{self.target}", {"grpc": None})
        await _connect("--admin", "a URL with http", self.admin, {"http": 80, "https": 443})

    @asynccontextmanager
    async def channel(
        self, credentials: grpc.ChannelCredentials | None = None
    ) -> AsyncIterator[grpc.aio.Channel]:
        """Open a connection of its own with our certificate, or with other credentials."""
        options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        if credentials is None and self.identity is not None:
            identity = self.identity
            credentials = grpc.ssl_channel_credentials(identity.ca, identity.key, identity.certificate)
        if credentials is None:
            channel = grpc.aio.insecure_channel(self.target, options)
        else:
            channel = grpc.aio.secure_channel(self.target, credentials, options)
        async with channel:
            yield channel

    async def execute(
        self,
        request: pb.ExecuteRequest,
        *,
        timeout: float = CALL_SECONDS,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> pb.ExecuteResponse:
        """Call ``Execute`` on a connection of its own. Raises AioRpcError."""
        async with self.channel() as channel:
            stub: Any = pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]
            response: pb.ExecuteResponse = await stub.Execute(request, timeout=timeout, metadata=metadata)
            return response

    async def refused(self, awaitable: Awaitable[Any], *codes: grpc.StatusCode) -> grpc.aio.AioRpcError:
        """Return the error of a call that must fail with one of the codes."""
        try:
            await awaitable
        except grpc.aio.AioRpcError as error:
            if error.code() in codes:
                return error
            wanted = " or ".join(code.name for code in codes)
            raise ViolationError(
                f"answered {error.code().name} ({error.details()}) instead of {wanted}"
            ) from error
        raise ViolationError(f"the call was answered instead of {codes[0].name}")

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a GET on the admin port."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(self.admin + path) as response:
            return response.status, await response.text()

    async def document(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and JSON object of a GET on the admin port."""
        status, text = await self.get(path)
        try:
            document = json.loads(text)
        except ValueError:
            raise ViolationError(f"{path} is not JSON") from None
        require(isinstance(document, dict), f"{path} is not a JSON object")
        return status, document

    async def statusz(self) -> Statusz:
        """Return the document of /statusz."""
        _, document = await self.document("/statusz")
        return Statusz.from_document(document)

    async def until(
        self, condition: Callable[[Statusz], object], what: str, seconds: float = 30.0
    ) -> Statusz:
        """Wait until /statusz fulfils the condition."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    status = await self.statusz()
                    if condition(status):
                        return status
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ViolationError(f"not within {seconds:g} s: {what}") from None

    def callable_agent(self) -> str:
        """Return the agent that may be called."""
        if self.agent is None:
            raise NotCheckableError("calls an agent, which may cost money: allow it with --agent NAME")
        return self.agent

    async def some_agent(self) -> str:
        """Return the name of any agent; it is named in a call and not executed."""
        names = [agent.name for agent in (await self.statusz()).agents if agent.ready]
        if not names:
            raise NotCheckableError("no agent is ready")
        return names[0]

    async def with_sessions(self) -> str:
        """Return the agent that may be called if there is a session backend."""
        agent = self.callable_agent()
        if (await self.statusz()).sessions.type == "None":
            raise NotCheckableError("the runtime has no session backend")
        return agent

    def controlled(self) -> Laboratory:
        """Return everything around the runtime."""
        if self.laboratory is None:
            raise NotCheckableError("needs a runtime that is started by the checker: use --exec")
        return self.laboratory


def ask(agent: str, text: str, **fields: Any) -> pb.ExecuteRequest:
    """Return a request with a text."""
    message = pb.Message(type="user", payload=json.dumps({"text": text}))
    return pb.ExecuteRequest(agent_name=agent, input=message, **fields)


def text_of(message: pb.Message) -> str:
    """Return the text of an answer."""
    payload = json.loads(message.payload)
    return str(payload.get("text", "")) if isinstance(payload, dict) else str(payload)


async def _connect(option: str, form: str, url: str, ports: dict[str, int | None]) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or ports[parts.scheme]
    except (ValueError, KeyError):
        host = port = None
    if host is None or port is None:
        then = "see aixgo conformance --help"
        raise CliError(f"it has to be {form}", where=option, then=then, code=ExitCode.USAGE)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # TimeoutError, too
        known = error.errno is not None and error.errno > 0
        why = os.strerror(error.errno or 0) if known else "there is no such host, or it does not answer"
        raise CliError(
            f"cannot connect to {host}:{port}: {why}",
            where=option,
            then="start the runtime, and wait until it is ready",
            code=ExitCode.NOT_READY,
        ) from error
    writer.close()
