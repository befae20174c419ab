"""A client of runtimes that accounts for each of its calls. Runs as a pod, out of a ConfigMap.

It is told over HTTP what to call and says there what became of it: a test reaches it through the API server.
Of the project it uses what every program has that calls agents: ``aixgo.rpc.client``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aixgo.rpc.client import AgentClient, ExecuteResult, RpcError

PORT = 9000
#: Longest time for a short call, with all that may come between.
CALL_TIMEOUT = 20.0
#: Seconds between two short calls of a worker.
PAUSE = 0.05
#: How much longer than its own length a stream may take.
STREAM_MARGIN = 30.0
#: How long DNS may not know all pods that are ready, in seconds.
RESOLVED_WITHIN = 20.0
#: How many failures are kept, the first ones.
KEPT = 50


@dataclass
class Stream:
    """One long call."""

    runtime: str
    seconds: float
    #: The pod that answers, when its first part is there.
    pod: str = ""
    state: str = "running"
    took: float = 0.0
    error: str = ""


@dataclass
class Account:
    """What became of the calls."""

    #: By kind of call.
    answered: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    #: The longest time of a short call, by kind.
    slowest: dict[str, float] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)


class Caller:
    """Its clients, its workers and its account."""

    def __init__(self, tls: Path) -> None:
        self._tls = tls
        self._clients: dict[tuple[str, str], AgentClient] = {}
        self._streams: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.account = Account()

    def client(self, runtime: str, namespace: str, address: str) -> AgentClient:
        """Return the one client of an address."""
        known = self._clients.get((runtime, address))
        if known is None:
            known = AgentClient(address, self._tls, f"{runtime}.{namespace}.svc")
            self._clients[runtime, address] = known
        return known

    def call(self, client: AgentClient, kind: str, runtime: str, function: str, workers: int) -> None:
        """Let workers call without an end, each the next time when it is answered."""
        for number in range(workers):
            work = self._turns if function == "count" else self._calls
            _start(self._workers, work(client, kind, f"{runtime}-{function}", f"user-{number}"))

    def stream(self, client: AgentClient, runtime: str, seconds: float, every: float) -> None:
        """Begin a call of so many seconds again and again."""
        _start(self._workers, self._begin_streams(client, runtime, seconds, every))

    async def stop(self) -> None:
        """Begin no more calls, and wait for the short ones that run."""
        self._stopping.set()
        if self._workers:
            await asyncio.wait(self._workers)
        self._workers.clear()
        self._stopping.clear()

    async def reset(self) -> None:
        """Give up every call, and begin a new account."""
        for task in (*self._workers, *self._streams):
            task.cancel()
        await asyncio.gather(*self._workers, *self._streams, return_exceptions=True)
        self._workers.clear()
        self._streams.clear()
        self.account = Account()

    async def _calls(self, client: AgentClient, kind: str, agent: str, user: str) -> None:
        while not self._stopping.is_set():
            await self._one(kind, client.execute(agent, "hello", user_id=user, timeout=CALL_TIMEOUT))
            await asyncio.sleep(PAUSE)

    async def _turns(self, client: AgentClient, kind: str, agent: str, user: str) -> None:
        """Have a conversation: each turn must find every one before it."""
        session = "new"
        for turn in itertools.count():
            if self._stopping.is_set():
                return
            call = client.execute(agent, "hello", session_id=session, user_id=user, timeout=CALL_TIMEOUT)
            result = await self._one(kind, call)
            if result is None:
                return
            session = result.session_id
            if (result.text, result.session_version) != (str(2 * turn), 2 * turn + 2):
                self._failed(f"{kind}: turn {turn} saw {result.text}, version {result.session_version}")
                return
            await asyncio.sleep(PAUSE)

    async def _one(self, kind: str, call: Coroutine[Any, Any, ExecuteResult]) -> ExecuteResult | None:
        began = time.monotonic()
        try:
            result = await call
        except RpcError as error:
            took = time.monotonic() - began
            self._failed(f"{kind}: {error} ({error.reason or 'no reason'}) after {took:.2f} s: {why(error)}")
            return None
        took = time.monotonic() - began
        account = self.account
        account.answered[kind] = account.answered.get(kind, 0) + 1
        account.slowest[kind] = max(account.slowest.get(kind, 0.0), took)
        return result

    async def _begin_streams(self, client: AgentClient, runtime: str, seconds: float, every: float) -> None:
        while not self._stopping.is_set():
            entry = Stream(runtime, seconds)
            self.account.streams.append(entry)
            _start(self._streams, self._stream(client, entry))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), every)

    async def _stream(self, client: AgentClient, entry: Stream) -> None:
        text, began = "", time.monotonic()
        try:
            timeout = entry.seconds + STREAM_MARGIN
            async for event in client.execute_stream(
                f"{entry.runtime}-ticks", str(entry.seconds), timeout=timeout
            ):
                if isinstance(event, ExecuteResult):
                    entry.state = "complete" if text == event.text and in_order(text) else "wrong"
                else:
                    text += event.payload_as(dict)["text"]
                    entry.pod = entry.pod or text.partition(" ")[0]
            if entry.state == "running":
                entry.state = "cut"
        except RpcError as error:
            entry.state, entry.error = "failed", f"{error} ({why(error)})"
        entry.took = time.monotonic() - began

    def _failed(self, text: str) -> None:
        self.account.failed += 1
        if len(self.account.failures) < KEPT:
            self.account.failures.append(f"{time.strftime('%X')} {text}")


def _start(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    tasks.add(asyncio.create_task(work))


def in_order(text: str) -> bool:
    """Say whether a stream has its numbers, from 0 on, each once."""
    return [int(word) for word in text.split()[1:]] == list(range(text.count(" ")))


def why(error: RpcError) -> str:
    """Return gRPC's own words."""
    said = getattr(error.__cause__, "debug_error_string", None)
    return said() if callable(said) else ""


class Door(BaseHTTPRequestHandler):
    """What a test is answered on :data:`PORT`; the caller lives in the event loop, not in this thread."""

    caller: Caller
    loop: asyncio.AbstractEventLoop

    def do_GET(self) -> None:
        """Give the account."""
        self._answer(self.path == "/account", self._account())

    def do_POST(self) -> None:
        """Do what the path says, with the parameters in the body."""
        work = {"/calls": self._call, "/streams": self._stream, "/stop": self._stop, "/reset": self._reset}
        wanted = json.loads(self._body())
        if self.path in work:
            asyncio.run_coroutine_threadsafe(work[self.path](wanted), self.loop).result()
        self._answer(self.path in work, {})

    def log_message(self, *_: object) -> None:
        """Say nothing of what went well."""

    async def _call(self, wanted: dict[str, Any]) -> None:
        caller, client = self.caller, await self._client(wanted)
        caller.call(client, wanted["kind"], wanted["runtime"], wanted["function"], wanted["count"])

    async def _stream(self, wanted: dict[str, Any]) -> None:
        client = await self._client(wanted)
        self.caller.stream(client, wanted["runtime"], wanted["seconds"], wanted["every"])

    async def _stop(self, _: dict[str, Any]) -> None:
        await self.caller.stop()

    async def _reset(self, _: dict[str, Any]) -> None:
        await self.caller.reset()

    def _body(self) -> bytes:
        """Read the body: the API server's proxy sends it in chunks."""
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    async def _client(self, wanted: dict[str, Any]) -> AgentClient:
        _, found, rest = wanted["address"].partition("dns:///")
        if found:
            await self._resolved(rest.rpartition(":")[0], wanted["pods"])
        return self.caller.client(wanted["runtime"], wanted["namespace"], wanted["address"])

    async def _resolved(self, host: str, pods: int) -> None:
        """Wait until DNS knows so many pods: a client that found fewer asks again only when it loses one."""
        end = time.monotonic() + RESOLVED_WITHIN
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                found = await self.loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                if len({address[0] for *_, address in found}) >= pods:
                    return
            await asyncio.sleep(0.2)

    def _account(self) -> dict[str, Any]:
        async def copy() -> dict[str, Any]:
            return asdict(self.caller.account)

        return asyncio.run_coroutine_threadsafe(copy(), self.loop).result()

    def _answer(self, known: bool, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def main() -> None:
    """Serve until the pod is deleted."""
    Door.caller, Door.loop = Caller(Path(sys.argv[1])), asyncio.get_running_loop()
    server = ThreadingHTTPServer(("", PORT), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
