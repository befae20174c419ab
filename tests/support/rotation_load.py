"""Calls of every kind without a pause, each of them accounted for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
from tests.support.rotation_agents import PARTS
from tests.support.rotation_fleet import Kill

from aixgo.message import Message
from aixgo.rpc.client import AgentClient, ExecuteResult, RpcError
from aixgo.session import Manager

#: A killed server's turn is over when its lease has run out.
CALL_TIMEOUT = 40.0
#: How often a call is made until a live server answers it.
ATTEMPTS = 4
#: Seconds within which the client has heard that a connection is gone.
NOTICED = 0.3
AGENT = "count"


@dataclass
class Failure:
    """A call that failed."""

    kind: str
    began: float
    ended: float
    code: grpc.StatusCode
    text: str
    detail: str


@dataclass
class Account:
    """What became of the calls."""

    kills: list[Kill]
    answered: Counter[str] = field(default_factory=Counter)
    #: Calls whose server was killed while they ran; each was answered by another one afterwards.
    cut_off: Counter[str] = field(default_factory=Counter)
    unexplained: list[Failure] = field(default_factory=list)
    #: Session id -> number of turns that were acknowledged.
    turns: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def failed(self, failure: Failure) -> None:
        """Note a failed attempt."""
        if any(_explains(kill, failure) for kill in self.kills):
            self.cut_off[failure.kind] += 1
        else:
            self.unexplained.append(failure)


def _explains(kill: Kill, failure: Failure) -> bool:
    """Say whether a call ran on a replica when that was killed."""
    if not (failure.began <= kill.gone + NOTICED and failure.ended >= kill.began):
        return False
    if failure.kind == "relay" and kill.name.startswith("back"):
        # The runtime in the middle lives and says so; the one behind it was killed.
        return failure.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
    if not kill.name.startswith("front") or failure.code is not grpc.StatusCode.UNAVAILABLE:
        return False
    others = "127.0.0.1:" in failure.detail and f"127.0.0.1:{kill.port}" not in failure.detail
    return not others


class Load:
    """Clients that call until they are told to stop."""

    def __init__(self, client: AgentClient, sessions: Manager, account: Account) -> None:
        self._client = client
        self._sessions = sessions
        self._account = account
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let every call that runs end, and make no more."""
        self._stop.set()

    async def run(self, clients: int) -> None:
        """Run so many clients of each kind."""
        kinds = (self._echo, self._parts, self._relay, self._turns)
        async with asyncio.TaskGroup() as group:
            for kind in kinds:
                for number in range(clients):
                    group.create_task(kind(number))

    async def _echo(self, number: int) -> None:
        await self._repeat("echo", lambda text: self._whole("echo", text), number)

    async def _relay(self, number: int) -> None:
        await self._repeat("relay", lambda text: self._whole("relay", text), number)

    async def _parts(self, number: int) -> None:
        await self._repeat("stream", self._streamed, number)

    async def _repeat(self, kind: str, call: Callable[[str], Awaitable[None]], number: int) -> None:
        count = 0
        while not self._stop.is_set():
            text = f"{kind} {number} {count}"
            await self._until_answered(kind, lambda text=text: call(text))  # type: ignore[misc]
            count += 1

    async def _whole(self, agent: str, text: str) -> None:
        answer = (await self._client.execute(agent, text, timeout=CALL_TIMEOUT)).text
        if answer != text:
            raise AssertionError(f"{agent} answered {answer!r} instead of {text!r}")

    async def _streamed(self, text: str) -> None:
        result: ExecuteResult | None = None
        async for event in self._client.execute_stream("parts", text, timeout=CALL_TIMEOUT):
            if isinstance(event, ExecuteResult):
                result = event
        if result is None or result.text != text * PARTS:
            raise AssertionError("a stream ended without all of its parts")

    async def _turns(self, number: int) -> None:
        session = await self._sessions.get_or_create(AGENT, f"user-{number}")
        while not self._stop.is_set():
            turn = self._account.turns[session.id]
            message = Message.new("user", {"text": f"turn {turn}"})

            async def call(message: Message = message, turn: int = turn) -> None:
                result = await self._client.execute(
                    AGENT,
                    message,
                    session_id=session.id,
                    user_id=session.user_id,
                    idempotency_key=f"turn-{turn}",
                    timeout=CALL_TIMEOUT,
                )
                if result.session_version != 2 * (turn + 1):
                    raise AssertionError(f"turn {turn}: version {result.session_version}")

            await self._until_answered("session", call)
            self._account.turns[session.id] += 1

    async def _until_answered(self, kind: str, call: Callable[[], Awaitable[None]]) -> None:
        """Make a call, and make it again when it failed: in the end a live server answers."""
        for attempt in range(1, ATTEMPTS + 1):
            began = time.monotonic()
            try:
                await call()
            except RpcError as error:
                cause = error.__cause__
                detail = cause.debug_error_string() if isinstance(cause, grpc.aio.AioRpcError) else ""
                ended = time.monotonic()
                self._account.failed(Failure(kind, began, ended, error.code, error.text, detail or ""))
                if attempt == ATTEMPTS:
                    last = self._account.unexplained[-ATTEMPTS:]
                    raise AssertionError(f"{kind}: failed {ATTEMPTS} times: {last}") from error
                continue
            self._account.slowest = max(self._account.slowest, time.monotonic() - began)
            self._account.answered[kind] += 1
            return


async def check_sessions(sessions: Manager, account: Account) -> None:
    """Make sure that every acknowledged turn is in its session, in order, exactly once, and nothing else."""
    for session_id, turns in account.turns.items():
        session = await sessions.get(session_id)
        messages = await session.get_messages()
        found = [message.payload_as(dict)["text"] for message in messages[::2]]
        expected = [f"turn {turn}" for turn in range(turns)]
        if found != expected or len(messages) != 2 * turns:
            at = next(
                (n for n, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), turns
            )
            raise AssertionError(
                f"session {session_id}: {len(messages)} messages of {turns} turns, wrong at {at}"
            )
