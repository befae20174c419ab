"""Starts the servers, and measures every row of every operation round by round."""

from __future__ import annotations

import os
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.machine import say
from benchmarks.common.results import Results
from benchmarks.common.workers import WorkerError, WorkerProcess
from benchmarks.runtime import servers, starts
from benchmarks.runtime.plan import PARTS, STEPS, Step
from tests.support.pki import Authority
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runtime.servers import Served


@dataclass(frozen=True)
class Cores:
    """Which core does what."""

    server: int
    client: int
    redis: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Share out the cores: the client has one of its own, Redis too if there is a third."""
        cores = sorted(os.sched_getaffinity(0))
        client = cores[1 % len(cores)]
        return cls(cores[0], client, cores[2] if len(cores) > 2 else client)


def run(directory: Path, rounds: int, seconds: float, samples: int, cores: Cores) -> Results:
    """Measure everything.

    Args:
        directory: For files and logs of this run.
        rounds: How often.
        seconds: How long a part of an operation of a row lasts.
        samples: How often a process is started per round.
        cores: Where the processes run.
    """
    results = Results()
    with ExitStack() as stack:
        client = WorkerProcess(
            Path(sys.executable),
            "benchmarks.runtime.client",
            {"core": cores.client, "loop": "uvloop"},
            directory / "client.log",
        )
        stack.enter_context(client)
        _open_all(stack, directory, cores, client)
        for number in range(rounds):
            for step in STEPS:
                say(f"round {number + 1}/{rounds}: {step.name}")
                _one_round(step, number, seconds, client, results)
    # Nothing else is running now.
    commands = _starts(directory)
    _one_round_of_starts(commands, 1, Results())  # compiles what has not been compiled yet
    for number in range(rounds):
        say(f"round {number + 1}/{rounds}: start")
        _one_round_of_starts(commands, samples, results)
    return results


def _open_all(stack: ExitStack, directory: Path, cores: Cores, client: WorkerProcess) -> None:
    authority = Authority()
    leaf = authority.runtime("r", "team")
    tls = leaf.write(directory / "server-tls")
    client_tls = authority.client("me", "team").write(directory / "client-tls")
    redis = stack.enter_context(
        running_redis(directory / "redis", config=("appendonly yes", "appendfsync everysec"))
    )
    assert redis.process is not None
    os.sched_setaffinity(redis.process.pid, {cores.redis})

    def serve(
        row: str,
        commands: Sequence[list[str]],
        events: Sequence[str],
        core: int | None = cores.server,
        *,
        mtls: bool = False,
        connections: int = 1,
    ) -> Served:
        say(f"starting {row}")
        log = directory / f"{row}.log"
        served = stack.enter_context(servers.serving(commands, events, log, core))
        target: dict[str, Any] = {"port": served.port, "pids": served.pids, "connections": connections}
        client.ask(do="open", row=row, target={**target, "tls": str(client_tls) if mtls else None})
        return served

    stateless, stateful = servers.events_of_ours(sessions=False), servers.events_of_ours(sessions=True)
    serve("bare", [servers.bare_command()], ["listening"])
    serve("bare-tuned", [servers.bare_command(tuned=True)], ["listening"])
    serve("bare-mtls", [servers.bare_command(tls)], ["listening"], mtls=True)
    plain = servers.configure(directory / "aixgo", None)
    serve("aixgo", [servers.aixgo_command(plain)], stateless)
    mutual = servers.configure(directory / "aixgo-mtls", None, leaf)
    serve("aixgo-mtls", [servers.aixgo_command(mutual)], stateless, mtls=True)
    backends = {
        "file-os": servers.file_backend("os"),
        "file-fsync": servers.file_backend("fsync"),
        "redis": servers.redis_backend(redis.port),
    }
    for row, backend in backends.items():
        files = servers.configure(directory / row, backend)
        serve(row, [servers.aixgo_command(files)], stateful)
    for row, count in (("one-process", 1), ("two-processes", 2)):
        commands = servers.shared_port_commands(directory / row, count)
        serve(row, commands, stateless, core=None, connections=16)


def _one_round(step: Step, number: int, seconds: float, client: WorkerProcess, results: Results) -> None:
    samples: dict[str, list[dict[str, Any]]] = {}
    for part in range(PARTS):
        turn = (number + part) % len(step.rows)
        for row in step.rows[turn:] + step.rows[:turn]:
            key = f"{row}: {step.name}"
            if key in results.errors:
                continue
            try:
                sample = client.ask(
                    do="measure", row=row, kind=step.kind_of(row), clients=step.clients, seconds=seconds
                )
            except WorkerError as error:
                results.errors[key] = str(error)
                continue
            samples.setdefault(row, []).append(sample)
    for row in step.rows:
        if f"{row}: {step.name}" not in results.errors:
            results.add(step.name, row, _numbers(samples[row]))


def _numbers(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of one round: times in microseconds, ``cpu`` of the server in microseconds."""
    times = sorted(value for sample in samples for value in sample["times"])
    count = sum(sample["count"] for sample in samples)
    numbers = {
        "n": len(times),
        "p50": times[len(times) // 2],
        "p99": times[min(len(times) - 1, len(times) * 99 // 100)],
        "ops": count / sum(sample["elapsed"] for sample in samples),
        "cpu": sum(sample["cpu"] for sample in samples) / count * 1e6,
    }
    if "messages" in samples[0]:
        numbers["messages"] = statistics.median(sample["messages"] for sample in samples)
    return numbers


def _starts(directory: Path) -> dict[str, tuple[list[str], tuple[str, ...]]]:
    """Return command and events of every row."""
    files = servers.configure(directory / "start", servers.file_backend("fsync"))
    settings = directory / "settings.yaml"
    settings.write_text("{}\n")
    there = ("there",)
    return {
        "bare server": (servers.bare_command(), ("listening",)),
        "aixgo serve": (servers.aixgo_command(files), servers.events_of_ours(sessions=True)),
        "import asyncio": (starts.to_its_end("import asyncio"), ()),
        "aixgo --version": (starts.cli("--version"), ()),
        "aixgo --help": (starts.cli("--help"), ()),
        "import kopf, kubernetes.aio": (starts.program("import kopf, kubernetes.aio"), there),
        "operator": (starts.operator_program(settings), there),
    }


def _one_round_of_starts(
    commands: dict[str, tuple[list[str], tuple[str, ...]]], samples: int, results: Results
) -> None:
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(samples):
        for row, (command, events) in commands.items():
            key = f"{row}: start"
            if key in results.errors:
                continue
            try:
                found.setdefault(row, []).append(starts.time_to(command, events))
            except RuntimeError as error:
                results.errors[key] = str(error)
    for row, numbers in found.items():
        if f"{row}: start" not in results.errors:
            medians = {key: statistics.median(each[key] for each in numbers) for key in numbers[0]}
            results.add("start", row, medians)
