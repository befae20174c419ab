"""What a call and a process of the runtime cost in counts, and starts beside what they cannot do without."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from benchmarks.common.machine import ROOT, clean_environment
from benchmarks.runtime import starts
from benchmarks.runtime.servers import (
    aixgo_command,
    bare_command,
    configure,
    events_of_ours,
    file_backend,
    until_ready,
)
from benchmarks.sessions.redis_counter import counting_proxy
from tests.support.redis_server import running_redis

from aixgo import Message, agent
from aixgo.contract import SessionConfig
from aixgo.runtime.turns import TurnRequest, TurnRunner
from aixgo.session import FileBackend, Manager, RedisBackend, current_session

#: A start may take so many times as long as the goal says: a busy machine must not fail a test.
TOLERANCE = 2.0


@agent("assistant")
async def assistant(message: Message) -> str:
    """Read the newest messages, and answer."""
    del message
    return str(len(await current_session().get_messages(limit=20)))


async def warm_turn(manager: Manager) -> Callable[[], Awaitable[int]]:
    """Return a function that takes a turn in a session that this process knows."""
    runner = TurnRunner(manager)
    session = await manager.create("assistant", user_id="user-1")

    async def take_turn() -> int:
        request = TurnRequest("assistant", Message.new("user", {}), session.id, "user-1")
        return (await runner.run(assistant, request, SessionConfig())).session_version

    await take_turn()
    return take_turn


async def test_a_turn_on_redis_is_two_round_trips(tmp_path: Path) -> None:
    """One to begin it, one to commit it and give the lease back; the history is known already."""
    with running_redis(tmp_path / "redis") as server:
        async with (
            counting_proxy(server.port) as counter,
            Manager(RedisBackend(f"127.0.0.1:{counter.port}")) as manager,
        ):
            take_turn = await warm_turn(manager)
            before = counter.commands
            assert await take_turn() == 4
            assert counter.commands - before == 2


async def test_a_turn_on_files_goes_through_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Any] = []
    submit = ThreadPoolExecutor.submit

    def counted(self: ThreadPoolExecutor, work: Any, *rest: Any, **more: Any) -> Any:
        submitted.append(work)
        return submit(self, work, *rest, **more)

    async with Manager(FileBackend(tmp_path / "s", durability="os")) as manager:
        take_turn = await warm_turn(manager)
        monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)
        assert await take_turn() == 4
        assert not submitted


#: Python functions that a turn on files enters, from the runner on; 169 when this was written, 217 before.
MOST_STEPS = 185


async def test_a_turn_on_files_takes_few_steps_and_is_never_suspended(tmp_path: Path) -> None:
    async with Manager(FileBackend(tmp_path / "s", durability="os")) as manager:
        take_turn = await warm_turn(manager)
        await take_turn()
        entered = 0

        def count(frame: FrameType, event: str, _: object) -> None:
            nonlocal entered
            entered += event == "call"

        turns = 20  # now and then one has more to do
        for _ in range(turns):
            turn = take_turn().__await__()
            sys.setprofile(count)
            try:
                with pytest.raises(StopIteration):
                    next(turn)
            finally:
                sys.setprofile(None)
        assert entered / turns <= MOST_STEPS


_SERVE = """
import asyncio, json, sys
from pathlib import Path
from aixgo import Message
from aixgo.contract import RuntimePaths
from aixgo.rpc.client import AgentClient
from aixgo.server.app import RuntimeServer
from aixgo.server.configuration import load_configuration

async def main():
    paths = RuntimePaths.under(Path(sys.argv[1]))
    server = RuntimeServer(paths, load_configuration(paths.config), "127.0.0.1")
    await server.start()
    while not (server.statusz().sessions.ready and all(agent.ready for agent in server.statusz().agents)):
        await asyncio.sleep(0.01)
    async with AgentClient(f"127.0.0.1:{server.grpc_port}", None) as client:
        result = await client.execute("remember", "hello", session_id="new")
        assert result.session_version == 2
    await server.close()

asyncio.run(main())
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def modules(*command: str) -> set[str]:
    """Return the modules that a program says it has loaded."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_a_runtime_with_sessions_in_files_loads_no_redis(tmp_path: Path) -> None:
    files = configure(tmp_path / "r", file_backend("fsync"))
    loaded = modules(sys.executable, "-c", _SERVE, str(files.root))
    assert "grpc" in loaded
    assert not loaded & {"redis", "hiredis", "kopf", "kubernetes", "pydantic_ai", "rich", "mcp"}


#: Says at its end what it has loaded.
_COMMAND = """
import atexit, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
atexit.register(lambda: print("loaded", *sorted(sys.modules), file=sys.stderr))
from aixgo_cli.main import main
main()
"""
#: What a runtime with plain settings does without until something needs it: each is time and memory of every
#: pod.
NOT_AT_THE_START = {
    *("redis", "hiredis", "aixgo.session.redis.backend"),
    *("pydantic", "pydantic_ai", "openai", "anthropic", "httpx", "mcp", "jsonschema"),
    *("typer", "click", "rich", "aixgo_cli.app", "aixgo_operator", "aixgo.config"),
    *("aiohttp", "http.server", "http.client", "urllib.request", "email", "importlib.metadata"),
    *("prometheus_client", "opentelemetry", "cryptography", "yaml", "multiprocessing"),
    *("kopf", "kubernetes"),
}
#: Modules beside those of a bare gRPC server. There were 170 when this was written.
MOST_MODULES = 190


def loaded_until_ready(command: list[str], events: tuple[str, ...]) -> set[str]:
    """Start a server, end it when it is ready, and return the modules that it says it has loaded."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        until_ready(process.stdout, events)
        process.terminate()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    return set(next(line for line in errors.splitlines() if line.startswith("loaded ")).split()[1:])


def test_a_runtime_loads_only_what_it_serves_with(tmp_path: Path) -> None:
    files = configure(tmp_path / "r", file_backend("fsync"))
    options = ("serve", "--root", str(files.root), "--host", "127.0.0.1")
    ready = events_of_ours(sessions=True)
    ours = loaded_until_ready([sys.executable, "-c", _COMMAND, *options], ready)
    code = _COMMAND.replace(
        "from aixgo_cli.main import main\nmain()",
        "import runpy\nrunpy.run_module('benchmarks.runtime.bare', run_name='__main__')",
    )
    arguments = bare_command()[-1:]
    bare = loaded_until_ready([sys.executable, "-c", code, *arguments], ("listening",))
    assert {"grpc", "aixgo.session.file.engine", "aixgo.server.http"} <= ours
    assert not ours & NOT_AT_THE_START
    assert len(ours - bare) <= MOST_MODULES, sorted(ours - bare)


def test_a_runtime_starts_in_about_the_time_of_a_bare_server(tmp_path: Path) -> None:
    files = configure(tmp_path / "r", file_backend("fsync"))
    took = medians(
        {
            "bare": (bare_command(), ("listening",)),
            "aixgo": (aixgo_command(files), events_of_ours(sessions=True)),
        },
        rounds=5,
    )
    assert took["aixgo"]["ms"] <= 1.5 * TOLERANCE * took["bare"]["ms"]
    assert took["aixgo"]["rss"] <= took["bare"]["rss"] + 20


_CLIENTS = {"kubernetes_asyncio", "pykube", "lightkube", "kr8s", "openshift"}


def test_the_operator_loads_one_kubernetes_client(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("{}\n")
    code = starts.OPERATOR + "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = modules(sys.executable, "-c", code, str(settings))
    assert {"kopf", "kubernetes"} <= loaded
    assert not loaded & _CLIENTS
    assert not loaded & {"grpc", "pydantic_ai"}


def medians(
    commands: dict[str, tuple[list[str], tuple[str, ...]]], rounds: int
) -> dict[str, dict[str, float]]:
    """Start processes in turn; return the medians of what each took."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (command, events) in commands.items():
            found[name].append(starts.time_to(command, events))
    return {
        name: {key: statistics.median(each[key] for each in numbers) for key in ("ms", "rss")}
        for name, numbers in found.items()
    }


def test_the_command_starts_as_fast_as_python_can() -> None:
    took = medians(
        {
            "bare": (starts.to_its_end("import asyncio"), ()),
            "--version": (starts.cli("--version"), ()),
            "--help": (starts.cli("--help"), ()),
        },
        rounds=5,
    )
    for name in ("--version", "--help"):
        assert took[name]["ms"] <= 3 * TOLERANCE * took["bare"]["ms"]
        assert took[name]["rss"] <= 3 * took["bare"]["rss"]


def test_the_operator_starts_as_fast_as_its_libraries(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("{}\n")
    took = medians(
        {
            "bare": (starts.program("import kopf, kubernetes.aio"), ("there",)),
            "operator": (starts.operator_program(settings), ("there",)),
        },
        rounds=3,
    )
    assert took["operator"]["ms"] <= 1.3 * TOLERANCE * took["bare"]["ms"]
    assert took["operator"]["rss"] <= 1.5 * took["bare"]["rss"]
