"""``aixgo conformance``: the reference runtime passes, and a checker that cannot fail would prove nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

REPOSITORY = Path(__file__).parents[3]
SERVE = f"{sys.executable} -m aixgo_cli.main serve --root {{dir}} --host 127.0.0.1"
BROKEN = f"{sys.executable} -m tests.support.broken_runtime {{defects}} {{{{dir}}}}"


def verdicts(result: Result) -> dict[str, tuple[str, str]]:
    assert result.stdout, result.stderr
    return {entry["name"]: (entry["verdict"], entry["reason"]) for entry in json.loads(result.stdout)}


def test_the_reference_runtime_passes() -> None:
    result = aixgo("conformance", "--exec", SERVE, "-o", "json", timeout=180)
    found = verdicts(result)
    assert {name: reason for name, (verdict, reason) in found.items() if verdict == "fail"} == {}
    not_checked = {name for name, (verdict, _) in found.items() if verdict == "not checked"}
    assert not_checked == {"keepalive-and-age", "session-serialised-replicas", "container", "redis"}
    assert len(found) > 45
    assert result.code == 0


@pytest.mark.parametrize(
    ("defects", "failing", "passing"),
    [
        (
            "wrong_status,anybody",
            ["refuses-unknown-agent", "errors-tell-nothing", "demands-client-certificate"],
            ["admin-live", "grpc-services", "refuses-plaintext"],
        ),
        (
            "half_turns,uncounted,always_serving,hasty,lenient",
            ["session-atomic", "admin-metrics-fed", "grpc-health", "drain", "start-refused"],
            ["refuses-unknown-agent", "errors-tell-nothing", "demands-client-certificate"],
        ),
    ],
)
def test_a_broken_runtime_fails_the_right_checks(
    defects: str, failing: list[str], passing: list[str]
) -> None:
    chosen = [argument for name in (*failing, *passing) for argument in ("--check", name)]
    result = aixgo(
        "conformance",
        "--exec",
        BROKEN.format(defects=defects),
        *chosen,
        "-o",
        "json",
        env={"PYTHONPATH": str(REPOSITORY)},
        timeout=180,
    )
    found = verdicts(result)
    expected = dict.fromkeys(failing, "fail") | dict.fromkeys(passing, "pass")
    assert {name: verdict for name, (verdict, _) in found.items()} == expected, found
    assert all(found[name][1] for name in failing), "every failure says what happened"
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
