"""`aixgo chat` against a real runtime process over mutual TLS, with its sessions in a real Redis."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.aixgo_command import Result, aixgo
from tests.support.pki import Authority
from tests.support.redis_server import RedisServer
from tests.support.run_process import RunProcess

SERVED = """
session: {store: redis, redis: {address: "REDIS"}}
agents:
  - {name: recall, role: custom, handler: "tests.support.custom_agents:recall", listen: ":0"}
  - {name: stream, role: custom, handler: "tests.support.custom_agents:stream"}
  - {name: wait, role: custom, handler: "tests.support.custom_agents:wait"}
"""


@dataclass
class Served:
    """A runtime to talk with."""

    address: str
    tls_dir: Path
    store: str
    gate: Path

    def arguments(self, agent: str, *more: str) -> list[str]:
        return ["chat", agent, "--address", self.address, "--tls-dir", str(self.tls_dir), *more]

    def chat(self, agent: str, said: str, *more: str, store: bool = True) -> Result:
        env = {"AIXGO_SESSION_STORE": self.store} if store else {}
        return aixgo(*self.arguments(agent, *more), stdin=said, env=env)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("chat")
    redis = RedisServer(folder / "redis").start()
    tls_dir = Authority().issue().write(folder / "tls")
    gate = folder / "gate"
    text = SERVED.replace("REDIS", redis.address)
    try:
        with RunProcess(text, "--tls-dir", tls_dir, env={"AIXGO_TEST_GATE": str(gate)}) as process:
            port = process.addresses[0].rpartition(":")[2]
            yield Served(f"127.0.0.1:{port}", tls_dir, f"redis://{redis.address}", gate)
    finally:
        redis.kill()


def test_a_conversation_is_one_session_that_can_be_resumed(served: Served) -> None:
    first = served.chat("recall", "one\n\n  two  \n")
    assert (first.code, first.stdout) == (0, "one\none | one | two\n")
    session = re.findall(r"resume with: aixgo chat recall --session (\S+)", first.stderr)[0]
    assert first.stderr.count(f"session={session}\n") == 1
    second = served.chat("recall", "three\n", "--session", session)
    assert second.stdout == "one | one | two | one | one | two | three\n"


def test_checkpoint_restore_and_history(served: Served) -> None:
    said = "one\n/checkpoint\ntwo\n/restore\n/history\nthree\n/quit\nnever said\n"
    done = served.chat("recall", said)
    assert done.code == 0, done
    lines = done.stdout.splitlines()
    checkpoint = lines[1].removeprefix("checkpoint ")
    assert lines == [
        "one",
        f"checkpoint {checkpoint}",
        "one | one | two",
        "back at 2 messages",
        "user: one",
        "recall: one",
        f"checkpoint {checkpoint} at 2 messages",
        "one | one | three",
    ]


def test_a_checkpoint_may_be_named(served: Served) -> None:
    first = served.chat("recall", "one\n/checkpoint\ntwo\n/checkpoint\n")
    session = re.findall(r"session=(\S+)", first.stderr)[0]
    checkpoint = first.stdout.splitlines()[1].removeprefix("checkpoint ")
    back = served.chat("recall", f"/restore {checkpoint}\nthree\n", "--session", session)
    assert back.stdout == "back at 2 messages\none | one | three\n"
    unknown = served.chat("recall", "/restore none\n", "--session", session)
    assert unknown.code != 0
    assert "Traceback" not in unknown.stderr


def test_without_a_store_the_history_is_what_was_said_here(served: Served) -> None:
    done = served.chat("recall", "one\n/history\n/checkpoint\n", store=False)
    assert done.code == 2
    assert done.stdout == "one\nuser: one\nrecall: one\n"
    assert "start the chat with --store" in done.stderr


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ("/nonsense\n", 2, "there is no command /nonsense"),
        ("/checkpoint\n", 1, "the conversation has not begun"),
        ("", 0, ""),
    ],
)
def test_what_cannot_be_done_is_told(served: Served, said: str, code: int, told: str) -> None:
    done = served.chat("recall", said)
    assert done.code == code
    assert told in done.stderr


def test_an_unknown_session_and_an_unknown_agent_are_not_found(served: Served) -> None:
    unknown = "3f0c2b9e-0000-4000-8000-000000000000"
    assert served.chat("recall", "hello\n", "--session", unknown).code == 3
    assert served.chat("nobody", "hello\n").code == 3


def _default_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._terminal, inside = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aixgo_cli.main", *arguments],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, "TERM": "dumb", **env},
            start_new_session=True,
            # A run in the background of a shell inherits an ignored SIGINT; a terminal's programs do not.
            preexec_fn=_default_sigint,
        )
        os.close(inside)
        self.text = ""

    def wait_for(self, text: str) -> None:
        """Read until a text has appeared since the last one; forget what came before its end."""
        end = time.monotonic() + 120
        while text not in self.text:
            assert time.monotonic() < end, f"no {text!r} in {self.text!r}"
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.text += os.read(self._terminal, 65536).decode()
        self.text = self.text.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@pytest.mark.usefixtures("hang_ups")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_conversation_and_leaves_nothing_of_a_call(
    served: Served, number: signal.Signals
) -> None:
    terminal = Terminal(served.arguments("stream"), {"AIXGO_SESSION_STORE": served.store})
    try:
        terminal.wait_for("> ")
        served.gate.touch()
        terminal.type("one\n")
        terminal.wait_for("first second")
        terminal.wait_for("> ")
        served.gate.unlink()
        terminal.type("two\n")
        terminal.wait_for("first")
        terminal.process.send_signal(number)
        terminal.wait_for("resume with: aixgo chat stream --session ")
        session = terminal.text or ""
        assert terminal.process.wait(60) == 128 + number
    finally:
        served.gate.unlink(missing_ok=True)
        terminal.close()
    resumed = served.chat("stream", "/history\n", "--session", session.split()[0])
    assert resumed.stdout.splitlines() == ["user: one", "stream: first second"]


def test_on_a_terminal_errors_and_ctrl_c_do_not_end_the_conversation(served: Served) -> None:
    terminal = Terminal(served.arguments("stream"), {"AIXGO_SESSION_STORE": served.store})
    try:
        terminal.wait_for("Talking with stream. /help shows the commands.")
        terminal.wait_for("> ")
        terminal.type("/nonsense\n")
        terminal.wait_for("there is no command /nonsense")
        terminal.wait_for("> ")
        terminal.type("go\n")
        terminal.wait_for("first")  # the answer streams: its second part waits for the gate
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("broken off; nothing of it is in the session")
        terminal.wait_for("> ")
        served.gate.touch()
        terminal.type("go\n")
        terminal.wait_for("first second")
        terminal.wait_for("> ")
        terminal.type("/history\n")
        terminal.wait_for("user: go")
        terminal.wait_for("stream: first second")
        assert "go" not in terminal.text, "the broken off turn is not there"
        terminal.wait_for("> ")
        terminal.type("\x04")
        terminal.wait_for("resume with: aixgo chat stream --session")
        assert terminal.process.wait(60) == 0
    finally:
        served.gate.unlink(missing_ok=True)
        terminal.close()
