"""A real redis-server for tests, on a free port of the loopback; killed at the end by its id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REDIS_SERVER = shutil.which("redis-server") or "/usr/bin/redis-server"
_START_SECONDS = 10.0


@dataclass
class RedisTLSFiles:
    """What a server with TLS needs."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    #: Whether clients must show a certificate of the same CA.
    require_client: bool = False


@dataclass
class RedisServer:
    """One server.

    :meth:`start` and :meth:`kill` may be called again and again; the data stay in the directory.
    """

    directory: Path
    port: int = 0
    #: Lines of the configuration file, such as ``appendonly yes``.
    config: tuple[str, ...] = ()
    tls: RedisTLSFiles | None = None
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        """Start the server and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            self.port = self.port or free_port()
            self._start()
            if self._wait():
                return self
            self.port = 0  # somebody else took the port meanwhile
        raise RuntimeError(f"redis-server did not start:\n{self.log()}")

    def _start(self) -> None:
        lines = [
            "bind 127.0.0.1",
            f"dir {self.directory}",
            "daemonize no",
            'save ""',
            f"logfile {self.directory / 'redis.log'}",
            *self.config,
        ]
        if self.tls is None:
            lines.append(f"port {self.port}")
        else:
            lines += [
                "port 0",
                f"tls-port {self.port}",
                f"tls-ca-cert-file {self.tls.ca_file}",
                f"tls-cert-file {self.tls.cert_file}",
                f"tls-key-file {self.tls.key_file}",
                f"tls-auth-clients {'yes' if self.tls.require_client else 'no'}",
            ]
        path = self.directory / "redis.conf"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        self.process = subprocess.Popen(
            [REDIS_SERVER, str(path), *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _wait(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            time.sleep(0.01)
        return False

    def pause(self) -> None:
        """Stop the process without ending it: connections stay, nothing is answered."""
        assert self.process is not None
        os.kill(self.process.pid, 19)

    def go_on(self) -> None:
        """Undo :meth:`pause`."""
        assert self.process is not None
        os.kill(self.process.pid, 18)

    def kill(self) -> None:
        """End the process at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def log(self) -> str:
        """Return what the server logged."""
        path = self.directory / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_redis(directory: Path, **settings: object) -> Iterator[RedisServer]:
    """Run a server inside the block."""
    server = RedisServer(directory, **settings)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.kill()
