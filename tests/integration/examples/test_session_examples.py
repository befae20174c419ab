"""The two session examples, run by the commands of their READMEs; session-react asks a real model."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("AIXGO_DEV_CACHE") or Path.home() / ".cache" / "aixgo-dev")
#: The first time the model is downloaded.
MODEL_SECONDS = 240


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the examples, beside the virtual environment, in which they may leave what they want."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    for name in ("session-basic", "session-react", "quickstart"):
        ignore = shutil.ignore_patterns("sessions", ".model")
        shutil.copytree(ROOT / "examples" / name, tmp_path / "examples" / name, ignore=ignore)
    return tmp_path


def commands(checkout: Path, example: str) -> list[str]:
    """Return the commands in the README of an example, in order."""
    text = (checkout / "examples" / example / "README.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    assert lines[0] == f"cd examples/{example}"
    return lines[1:]


def run(checkout: Path, example: str, command: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=checkout / "examples" / example,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_session_basic_does_what_its_readme_says(checkout: Path) -> None:
    program, show, verify, look = commands(checkout, "session-basic")
    first = run(checkout, "session-basic", program)
    assert "0 sessions of user-123 from earlier runs" in first
    assert "   4 messages; the joke is on another branch now\n   branch of 4 messages (current)" in first
    resumed = first.partition("5. Resume after a restart\n")[2]
    assert resumed.startswith("   user: Hello! What's your name?\n   assistant: ")
    assert "joke" not in resumed
    assert "   user-123: the same\n   user-456: another one\n" in resumed

    session_id = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", first)[0]
    assert first.rstrip().endswith(session_id)
    assert "1 sessions of user-123 from earlier runs" in run(checkout, "session-basic", program)
    assert session_id in run(checkout, "session-basic", show)
    assert "no problems" in run(checkout, "session-basic", verify)
    assert "Tell me a joke." in run(checkout, "session-basic", look)


@pytest.fixture
def model(checkout: Path) -> Iterator[int]:
    """The quickstart's model, served by the example's own script; the port. Installed once per machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    script = commands(checkout, "session-react")[0].replace("8080", str(port))
    log = checkout / "model.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {script}"],
            cwd=checkout / "examples" / "session-react",
            env={**os.environ, "MODEL_DIR": str(CACHE / "example-model")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def serving() -> bool:
        assert process.poll() is None, log.read_text()
        return "serving smollm2-135m at" in log.read_text()

    try:
        wait_until(serving, "the model is served", timeout=MODEL_SECONDS)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.timeout(MODEL_SECONDS + 120)
def test_session_react_remembers_across_a_restart(checkout: Path, model: int) -> None:
    _, program, show = commands(checkout, "session-react")
    output = run(checkout, "session-react", program.replace("8080", str(model)))
    assert "   4 messages\n3. Back to the checkpoint\n   2 messages\n" in output
    answer = output.partition("you: What is the secret word?\n")[2]
    assert "banana" in answer.lower(), output
    assert output.count("assistant:") == 3
    assert "assistant" in run(checkout, "session-react", show)
