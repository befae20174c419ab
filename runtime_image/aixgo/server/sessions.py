"""The session backend of the process: made from the configuration, watched, replaced when its settings
change.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aixgo.contract import TLS_CA, SessionBackendConfig, SessionStatus
from aixgo.errors import AixgoError, StorageError
from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import AgentLoadError, SessionManagerNotConfiguredError
from aixgo.runtime.shared import Shared
from aixgo.server.backends import Credentials, open_backend, read_credentials
from aixgo.session import Manager

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from aixgo.contract import RuntimePaths
    from aixgo.server.backends import AnyBackend
    from aixgo.server.secret_files import SecretFiles

#: Seconds between two looks at the backend, when it is well and when it is not.
INTERVAL_SECONDS = 5.0
RETRY_SECONDS = 1.0
#: How long the backend may take to answer a look.
PING_TIMEOUT_SECONDS = 8.0

_log = get_logger("aixgo.server.sessions")


@runtime_checkable
class Reauthenticating(Protocol):
    """A backend that takes new credentials without a restart."""

    async def update_credentials(self, username: str | None, password: str | None) -> None:
        """Use these from now on."""


class _Open:
    """An opened backend with its manager and the credentials that it uses."""

    def __init__(self, backend: AnyBackend, credentials: Credentials) -> None:
        self.backend = backend
        self.manager = Manager(backend)
        self.credentials = credentials


class Sessions:
    """The one session manager of the process. For the event loop's thread only.

    A backend that is down at the start, or goes down later, is reported and tried again until it answers.
    """

    def __init__(self, paths: RuntimePaths, secrets: SecretFiles, on_change: Callable[[], None]) -> None:
        self._paths = paths
        self._secrets = secrets
        self._on_change = on_change
        self._config: SessionBackendConfig | None = None
        self._open: Shared[_Open] | None = None
        self._error: str | None = None
        self._wake = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether the backend answered when it was last looked at.

        True without a backend: nothing is missing.
        """
        return self._config is None or (self._open is not None and self._error is None)

    def status(self) -> SessionStatus:
        """Return what ``/statusz`` says of the backend."""
        kind = self._config.type if self._config is not None else "None"
        error = self._error
        if self._config is not None and self._open is None and error is None:
            error = "not connected yet"
        return SessionStatus(type=kind, ready=self.ready, error=error, trust_bundle=self._trusted(kind))

    def _trusted(self, kind: str) -> tuple[str, ...] | None:
        """Return whom a new connection to Redis would trust: the file is read for each of them."""
        if kind != "Redis":
            return None
        try:
            return _fingerprints((self._paths.session_tls / TLS_CA).read_bytes())
        except (OSError, ValueError):
            return None

    def borrow(self) -> AbstractContextManager[Manager]:
        """Use the manager for the time of the block; it stays open until the block ends.

        Raises:
            SessionManagerNotConfiguredError: the runtime has no session backend.
            StorageError: the backend cannot be opened at the moment.
        """
        if self._config is None:
            raise SessionManagerNotConfiguredError
        if self._open is None:
            raise StorageError("the session backend is not connected")
        return _Use(self._open)

    def apply(self, config: SessionBackendConfig | None) -> None:
        """Make this the backend. Nothing happens if it is already."""
        if config != self._config:
            self._config = config
            self._reopen()

    def look_now(self) -> None:
        """Look at the backend, and at its credentials, without waiting for the next time."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the backend open and the status truthful until cancelled."""
        while True:
            self._wake.clear()
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS if self.ready else RETRY_SECONDS):
                    await self._wake.wait()

    async def close(self) -> None:
        """Close the backend; what it has acknowledged is safe."""
        self._retire()
        if self._closing:
            await asyncio.wait(self._closing)

    def _reopen(self) -> None:
        self._retire()
        self._error = None
        self._wake.set()
        self._on_change()

    async def _look(self) -> None:
        config = self._config
        if config is None:
            return
        error: str | None = None
        try:
            async with asyncio.timeout(PING_TIMEOUT_SECONDS):
                await self._open_and_ping(config)
        except TimeoutError:
            error = "the session backend does not answer"
        except (AgentLoadError, StorageError) as failed:
            error = str(failed)
        except (AixgoError, OSError, ValueError) as failed:
            error = f"the session backend cannot be opened: {type(failed).__name__}"
        if config is self._config and error != self._error:
            self._error = error
            if error is None:
                _log.info("session backend is ready", type=config.type)
            else:
                _log.warning("session backend is not ready", type=config.type, error=error)
            self._on_change()

    async def _open_and_ping(self, config: SessionBackendConfig) -> None:
        credentials = read_credentials(config, self._secrets)
        if self._open is None:
            backend = open_backend(config, self._paths, credentials)
            self._open = Shared(_Open(backend, credentials), self._close_open)
            self._on_change()
        opened = self._open.value
        if credentials != opened.credentials:
            user, password = credentials.username or None, credentials.password or None
            if isinstance(opened.backend, Reauthenticating):
                await opened.backend.update_credentials(user, password)
            opened.credentials = credentials
            _log.info("session backend credentials updated", type=config.type)
        await opened.backend.ping()

    def _retire(self) -> None:
        old, self._open = self._open, None
        if old is not None:
            old.retire()

    def _close_open(self, opened: _Open) -> None:
        task = asyncio.create_task(opened.manager.close())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("session backend did not close cleanly", error=type(error).__name__)


class _Use:
    """A block that uses a manager. One is made for every turn: generators would cost a good part of it."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Shared[_Open]) -> None:
        self._shared = shared

    def __enter__(self) -> Manager:
        return self._shared.take().manager

    def __exit__(self, *_: object) -> None:
        self._shared.give_back()


@functools.lru_cache(maxsize=4)
def _fingerprints(bundle: bytes) -> tuple[str, ...]:
    # Only a backend with TLS needs it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return tuple(ca.fingerprint(hashes.SHA256()).hex() for ca in x509.load_pem_x509_certificates(bundle))
