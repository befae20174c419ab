"""The servers that are measured, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.common.machine import ROOT, clean_environment
from benchmarks.runtime.agents import HISTORY
from tests.support.redis_server import free_port
from tests.support.runtime_process import RuntimeFiles, runtime_json

from aixgo.rpc.threads import ONE_THREAD, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.support.pki import Leaf

#: The name in the certificate of every server.
SERVER_NAME: Final = "localhost"
_START_SECONDS: Final = 60.0
#: Not an event of the log: the session backend is ready.
SESSIONS: Final = "sessions"
#: Seconds between two questions whether a session backend is ready.
_POLL_SECONDS: Final = 0.005


@dataclass
class Served:
    """Processes behind one address."""

    port: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [process.pid for process in self.processes]


def agent(name: str) -> dict[str, Any]:
    """Return an agent of runtime.json."""
    return {
        "name": name,
        "role": "custom",
        "handler": f"benchmarks.runtime.agents:{name}",
        "session": {"historyLimit": HISTORY},
    }


def file_backend(durability: str) -> dict[str, Any]:
    """Return a session backend of runtime.json."""
    return {"type": "File", "file": {"durability": durability}}


def redis_backend(port: int) -> dict[str, Any]:
    """Return a session backend of runtime.json."""
    return {"type": "Redis", "redis": {"addresses": [f"127.0.0.1:{port}"], "tls": False}}


def configure(
    root: Path, sessions: dict[str, Any] | None, leaf: Leaf | None = None, port: int = 0
) -> RuntimeFiles:
    """Write the files of a runtime."""
    files = RuntimeFiles(root)
    names = ["echo", "tokens"] if sessions is None else ["echo", "remember"]
    document = runtime_json([agent(name) for name in names], sessions=sessions)
    document["grpc"] = {"port": port}
    document["tls"] = {"mode": "Disabled" if leaf is None else "Mutual"}
    files.configure(document)
    if leaf is not None:
        files.certify(leaf)
    return files


def aixgo_command(files: RuntimeFiles) -> list[str]:
    """Return the command that serves them."""
    return [
        str(Path(sys.executable).with_name("aixgo")),
        *("serve", "--root", str(files.root), "--host", "127.0.0.1"),
    ]


def bare_command(tls: Path | None = None, *, tuned: bool = False) -> list[str]:
    """Return the command of the bare server; when ``tuned``, gRPC is set up as the runtime's is."""
    wanted = json.dumps({"tls": str(tls) if tls else None, "tuned": tuned})
    command = [sys.executable, "-m", "benchmarks.runtime.bare", wanted]
    return ["env", f"{VARIABLE}={ONE_THREAD}", *command] if tuned else command


@contextmanager
def serving(
    commands: Sequence[list[str]], events: Sequence[str], log: Path, core: int | None
) -> Iterator[Served]:
    """Run servers, and kill them in the end.

    Args:
        commands: One per process; they share a port if there are several.
        events: The messages on their standard output after which they are ready.
        log: Gets their output.
        core: The only core that they run on; None: all.
    """
    served = Served()
    try:
        for command in commands:
            with log.open("ab") as errors:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=clean_environment(),
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            served.processes.append(process)
            if core is not None:  # before it makes threads: they inherit it
                os.sched_setaffinity(process.pid, {core})
            served.port = _port(process, events, log)
        yield served
    finally:
        for process in served.processes:
            process.kill()
            process.wait()


def until_ready(output: Iterable[str], events: Sequence[str]) -> dict[str, Any]:
    """Read what a process says until it has said all ``events``; :data:`SESSIONS` is asked for after them.

    Returns:
        The fields of all that it said.

    Raises:
        RuntimeError: it ended before.
    """
    missing = [event for event in events if event != SESSIONS]
    said: dict[str, Any] = {}
    for line in output:
        event = json.loads(line)
        said |= event
        if event.get("message") in missing:
            missing.remove(event["message"])
        if not missing:
            if SESSIONS in events:
                _until_sessions(said["admin_port"])
            return said
    raise RuntimeError(f"the process ended without {missing}")


def _until_sessions(admin_port: int) -> None:
    url = f"http://127.0.0.1:{admin_port}/statusz"
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            if json.load(answer)["sessions"]["ready"]:
                return
        time.sleep(_POLL_SECONDS)


def _port(process: subprocess.Popen[str], events: Sequence[str], log: Path) -> int:
    """Wait until a server is ready. What it says later is thrown away."""
    assert process.stdout is not None
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    watchdog.start()
    try:
        port = int(until_ready(process.stdout, events)["grpc_port"])
    except RuntimeError as error:
        raise RuntimeError(f"{error}: {log.read_text(errors='replace')[-2000:]}") from error
    finally:
        watchdog.cancel()
    threading.Thread(target=_drain, args=(process,), daemon=True).start()
    return port


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for _ in process.stdout:
        pass


def events_of_ours(*, sessions: bool) -> tuple[str, ...]:
    """Return what our server says when its two agents, and its backend if it has one, are there."""
    return ("listening", "agent loaded", "agent loaded", *([SESSIONS] if sessions else []))


def shared_port_commands(directory: Path, count: int) -> list[list[str]]:
    """Return the commands of several of our servers on one port."""
    port = free_port()
    roots = [configure(directory / f"shared-{number}", None, port=port).root for number in range(count)]
    return [[sys.executable, "-m", "benchmarks.runtime.shared_port", str(root)] for root in roots]
