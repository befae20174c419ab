"""Calling Redis: trying again, and errors that say what is wrong without a secret or an address."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hiredis import pack_command
from redis import exceptions as redis_errors

from aixgo.errors import StorageClosedError, StorageError
from aixgo.session.redis.connection import MultiplexedRedis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aixgo.session.redis.connection import Client
    from aixgo.session.redis.options import RedisOptions
    from aixgo.session.redis.scripts import Script

T = TypeVar("T")

#: The connection is lost, or the server cannot answer for the moment. The call may or may not have been
#: executed.
_LOST: Final = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.MasterDownError,
    # Also what redis-py says after 16 redirections of one command: a slot is being moved for longer.
    redis_errors.ClusterError,
    redis_errors.TryAgainError,
    redis_errors.RedisClusterException,
    OSError,
    TimeoutError,
)


class TooFewReplicasError(redis_errors.RedisError):
    """A change was executed, but not enough replicas have it yet."""


_TRANSIENT: Final = (*_LOST, TooFewReplicasError)
#: How long one WAIT lasts at most: while it lasts, nothing else is answered on the connection.
_LONGEST_WAIT_MS: Final = 250
#: Kinds of connection errors that trying again does not help.
_FINAL: Final = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
)

#: What an error reply of the server means.
_REPLIES: Final = {
    "OOM": "redis is out of memory (maxmemory)",
    "MISCONF": "redis cannot write to its disk",
    "NOREPLICAS": "redis has too few replicas",
    "READONLY": "redis is a read-only replica",
    "MASTERDOWN": "redis lost its master",
    "CLUSTERDOWN": "redis cluster is down",
    "NOPERM": "the redis user may not do this",
    "NOAUTH": "redis wants a password",
    "WRONGPASS": "redis refused the user name or the password",
    "CROSSSLOT": "redis is a cluster; say so in the options",
}

#: What redis-py's errors mean that do not have the word of their reply any more. The first that fits.
_TYPES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TooFewReplicasError, _REPLIES["NOREPLICAS"]),
    (redis_errors.RedisClusterException, "redis cluster is not reachable"),
    (redis_errors.ClusterCrossSlotError, _REPLIES["CROSSSLOT"]),
    (redis_errors.AskError, _REPLIES["CROSSSLOT"]),  # and MovedError: a cluster's client follows them
    (redis_errors.MasterDownError, _REPLIES["MASTERDOWN"]),
    (redis_errors.ClusterDownError, _REPLIES["CLUSTERDOWN"]),
    (redis_errors.ClusterError, "redis cluster is moving slots"),
    (redis_errors.TryAgainError, "redis cluster is moving slots"),
    (redis_errors.AuthenticationError, "redis refused the user name or the password"),
    (redis_errors.NoPermissionError, _REPLIES["NOPERM"]),
    (redis_errors.OutOfMemoryError, _REPLIES["OOM"]),
    (redis_errors.ReadOnlyError, _REPLIES["READONLY"]),
    (redis_errors.BusyLoadingError, "redis is loading its data"),
    (redis_errors.TimeoutError, "redis does not answer in time"),
    (TimeoutError, "redis does not answer in time"),
)


class Calls:
    """Calls to one Redis.

    A call is repeated when its answer was lost: scripts recognise what they did before.
    """

    def __init__(self, client: Client, options: RedisOptions) -> None:
        self._client = client
        self._multiplexer = client.multiplexer if isinstance(client, MultiplexedRedis) else None
        #: redis-py's client of a cluster fails calls for which it has no connection; they had better wait.
        self._room = None if self._multiplexer is not None else asyncio.Semaphore(options.pool_size)
        self._closed = False
        self._retry_timeout = options.retry_timeout
        self._min_replicas = options.min_replicas
        self._wait_ms = max(1, min(_LONGEST_WAIT_MS, int(options.read_timeout * 500)))

    def close(self) -> None:
        """Try nothing again from now on: what is on its way ends with :class:`StorageClosedError`."""
        self._closed = True

    async def run(self, script: Script, keys: Sequence[str], args: list[Any]) -> Any:
        """Run a script.

        Raises:
            StorageError: Redis did not do it, or nobody knows.
            StorageClosedError: The client was closed meanwhile.
        """
        began = time.monotonic()
        if self._multiplexer is not None and not (self._min_replicas and script.changes):
            # As below, in one coroutine instead of seven: every turn runs two scripts.
            link = self._multiplexer.link
            if link is not None:
                try:
                    return await link.send(pack_command(("EVALSHA", script.sha, len(keys), *keys, *args)))
                except (redis_errors.RedisError, OSError):
                    link = None  # told, or tried again, below
        return await self.call(lambda client, _: self.once(client, script, keys, args), began)

    async def once(self, client: Client, script: Script, keys: Sequence[str], args: list[Any]) -> Any:
        """Run a script without trying again. A change is waited for on as many replicas as options say."""
        if not self._min_replicas or not script.changes:
            return await run_script(client, script, keys, args)
        # WAIT counts the replicas that have everything that this connection's last command saw: also when the
        # script only recognised what an earlier attempt did.
        assert isinstance(client, MultiplexedRedis)  # noqa: S101 - the options refuse a cluster
        wait = {"replicas": self._min_replicas, "milliseconds": self._wait_ms}
        rest = (len(keys), *keys, *args)
        try:
            answer, replicas = await client.execute_and_wait("EVALSHA", script.sha, *rest, **wait)
        except redis_errors.NoScriptError:
            answer, replicas = await client.execute_and_wait("EVAL", script.text, *rest, **wait)
        if replicas < self._min_replicas:
            raise TooFewReplicasError
        return answer

    async def call(self, work: Callable[[Client, int], Awaitable[T]], began: float | None = None) -> T:
        """Do something with the client; ``work`` learns how often it was tried. Raises as :meth:`run`.

        ``began`` is when it was tried before, by the monotonic clock.
        """
        deadline = (time.monotonic() if began is None else began) + self._retry_timeout
        attempt = 0
        while True:
            if self._closed:
                raise StorageClosedError
            try:
                return await self._attempt(work, attempt, deadline)
            except _FINAL as error:
                raise storage_error(error) from error
            except _TRANSIENT as error:
                pause = min(1.0, 0.02 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads retries
                if _is_hopeless(error) or time.monotonic() + pause > deadline:
                    raise storage_error(error) from error
            except redis_errors.RedisError as error:
                raise storage_error(error) from error
            await asyncio.sleep(pause)
            attempt += 1

    async def _attempt(self, work: Callable[[Client, int], Awaitable[T]], attempt: int, deadline: float) -> T:
        if self._room is None:
            return await work(self._client, attempt)
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await self._room.acquire()
        try:
            return await work(self._client, attempt)
        finally:
            self._room.release()


async def run_script(client: Client, script: Script, keys: Sequence[str], args: list[Any]) -> Any:
    """Run a script by its SHA-1; send it when the server does not know it, as after a restart."""
    try:
        return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
    except redis_errors.NoScriptError:
        return await client.execute_command("EVAL", script.text, len(keys), *keys, *args)


def storage_error(error: BaseException) -> StorageError:
    """Return what a caller may read about an error of redis-py or of the network."""
    return StorageError(_describe(error))


def _describe(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"redis is not trusted: {cause.verify_message or 'certificate verify failed'}"
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "reason", None) or "handshake"
            return f"redis is not reachable: TLS failed ({reason})"
    text = str(error)
    word = text.split(" ", 1)[0].rstrip(":")
    if word in _REPLIES:
        return _REPLIES[word]
    if isinstance(error, redis_errors.AuthenticationError) and "required" in text:
        return _REPLIES["NOAUTH"]
    for known, meaning in _TYPES:
        if isinstance(error, known):
            return meaning
    if isinstance(error, redis_errors.ConnectionError | OSError):
        for cause in _causes(error):
            if isinstance(cause, OSError) and cause.strerror:
                return f"redis is not reachable: {cause.strerror}"
        return "redis is not reachable"
    for reply, meaning in _REPLIES.items():  # an error inside a script is quoted
        if f"-{reply}" in text or f" {reply} " in text:
            return meaning
    return f"redis refused: {type(error).__name__}: {text[:200]}"


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and len(causes) < 10:
        causes.append(following)
        following = following.__cause__ or following.__context__
    return causes


def _is_hopeless(error: BaseException) -> bool:
    """Say whether trying again is of no use: the server's certificate does not get better within seconds."""
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))
