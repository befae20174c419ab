"""``aixgo conformance``: the reference runtime passes, and a checker that cannot fail would prove nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

REPOSITORY = Path(__file__).parents[3]
SERVE = f"{sys.executable} -m aixgo_cli.main serve --root {{dir}} --host 127.0.0.1"


def verdicts(result: Result) -> dict[str, tuple[str, str]]:
    assert result.stdout, result.stderr
    return {entry["name"]: (entry["verdict"], entry["reason"]) for entry in json.loads(result.stdout)}


@dataclass(frozen=True)
class Broken:
    """Defects that one process has, the checks that must find them, and some that must not mind."""

    defects: str
    failing: tuple[str, ...]
    passing: tuple[str, ...]

    def run(self) -> Result:
        command = f"{sys.executable} -m tests.support.broken_runtime {self.defects} {{dir}}"
        chosen = [argument for name in (*self.failing, *self.passing) for argument in ("--check", name)]
        env = {"PYTHONPATH": str(REPOSITORY)}
        return aixgo("conformance", "--exec", command, *chosen, "-o", "json", env=env, timeout=240)


BROKEN = (
    Broken(
        "wrong_status,anybody",
        ("refuses-unknown-agent", "errors-tell-nothing", "demands-client-certificate"),
        ("admin-live", "grpc-services", "refuses-plaintext"),
    ),
    Broken(
        "half_turns,uncounted,always_serving,hasty,lenient",
        ("session-atomic", "admin-metrics-fed", "grpc-health", "drain", "start-refused"),
        ("refuses-unknown-agent", "errors-tell-nothing", "demands-client-certificate"),
    ),
)


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Future[Result]]]:
    """All runs at once: most of their time is waiting."""
    with ThreadPoolExecutor() as pool:
        reference = pool.submit(aixgo, "conformance", "--exec", SERVE, "-o", "json", timeout=240)
        yield {"": reference} | {broken.defects: pool.submit(broken.run) for broken in BROKEN}


def test_the_reference_runtime_passes(runs: dict[str, Future[Result]]) -> None:
    result = runs[""].result()
    found = verdicts(result)
    assert {name: reason for name, (verdict, reason) in found.items() if verdict == "fail"} == {}
    not_checked = {name for name, (verdict, _) in found.items() if verdict == "not checked"}
    assert not_checked == {"keepalive-and-age", "session-serialised-replicas", "container", "redis"}
    assert len(found) > 45
    assert result.code == 0


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.defects)
def test_a_broken_runtime_fails_the_right_checks(runs: dict[str, Future[Result]], broken: Broken) -> None:
    result = runs[broken.defects].result()
    found = verdicts(result)
    expected = dict.fromkeys(broken.failing, "fail") | dict.fromkeys(broken.passing, "pass")
    assert {name: verdict for name, (verdict, _) in found.items()} == expected, found
    assert all(found[name][1] for name in broken.failing), "every failure says what happened"
    assert result.code == 1


async def test_a_running_runtime_is_checked_from_outside(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(
        runtime_json(
            [custom("recall"), custom("off", "recall", operatingMode="Suspended")],
            sessions={"type": "File", "file": {"durability": "os"}},
        )
    )
    async with RuntimeProcess(files) as runtime:
        await runtime.until(lambda s: s.agents[1].ready and s.sessions.ready, "recall is ready")
        where = (
            *("--target", f"localhost:{runtime.grpc_port}"),
            *("--admin", f"http://127.0.0.1:{runtime.admin_port}/"),
            *("--tls-dir", me.write(files.root / "me")),
        )
        result = await asyncio.to_thread(aixgo, "conformance", *where, "--agent", "recall", "-o", "json")
        found = verdicts(result)
        assert {name: reason for name, (verdict, reason) in found.items() if verdict == "fail"} == {}
        for name in ("session-serialised", "refuses-agent-not-ready", "admin-statusz-certificate"):
            assert found[name] == ("pass", "")
        assert found["drain"] == (
            "not checked",
            "needs a runtime that is started by the checker: use --exec",
        )
        silent = await asyncio.to_thread(aixgo, "conformance", *where, "--check", "session-new")
        assert "not checked" in silent.stdout, "no agent is called unless it is allowed"
        assert silent.code == 0


def test_wrong_usage_is_told() -> None:
    assert aixgo("conformance").code == 2
    assert aixgo("conformance", "--target", "localhost:1").code == 2
    assert "there is no check nonsense" in aixgo("conformance", "--exec", "x", "--check", "nonsense").stderr
    missing = aixgo("conformance", "--exec", f"{os.sep}nonexistent{os.sep}serve {{dir}}")
    assert (missing.code, "cannot run" in missing.stderr) == (2, True)
    early = aixgo("conformance", "--exec", f"{sys.executable} -c 'import sys; sys.exit(3)'")
    assert (early.code, "exit code 3" in early.stderr) == (4, True)
    for unreadable in ("aixgo 'serve", " "):
        unread = aixgo("conformance", "--exec", unreadable)
        assert (unread.code, "cannot be read as a command" in unread.stderr) == (2, True)


def test_a_runtime_that_is_not_there_breaks_nothing() -> None:
    with socket.socket() as taken, socket.socket() as free:
        for each in (taken, free):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        here, nowhere = (f"127.0.0.1:{each.getsockname()[1]}" for each in (taken, free))
        for target, admin, code in (
            (nowhere, f"http://{here}", 4),
            (here, f"http://{nowhere}", 4),
            (here, nowhere, 2),
            ("a:b", f"http://{here}", 2),
            (f"http://{here}", f"http://{here}", 2),
        ):
            result = aixgo("conformance", "--target", target, "--admin", admin, "-o", "json")
            assert (result.code, result.stdout) == (code, ""), (target, admin, result)
