"""`aixgo run` as a process of its own: its log, its ports, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

from tests.support import waiting

#: Longer than any start; a machine that runs other tests may take its time.
START_SECONDS = 120.0
REPOSITORY = Path(__file__).resolve().parents[2]
#: What a process must not inherit from the machine that the tests run on.
FOREIGN = ("_API_KEY", "_BASE_URL", "HF_TOKEN", "_ENDPOINT", "CONFIG_FILE", "GRPC_PORT", "LOG_LEVEL")


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait as long as a start may take."""
    waiting.wait_until(condition, what, timeout=START_SECONDS / waiting.PATIENCE)


class RunProcess:
    """``with RunProcess(text) as process:`` has started all agents; killed at the end if it still runs."""

    def __init__(
        self,
        configuration: str | Path,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        home: Path | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="aixgo-run-")
        folder = Path(self._folder.name)
        if isinstance(configuration, Path):
            self.file = configuration
        else:
            self.file = folder / "agents.yaml"
            self.file.write_text(configuration)
        self.home = home or folder / "home"
        self._log_file = folder / "log"
        self._arguments = [str(argument) for argument in arguments]
        inherited = {name: value for name, value in os.environ.items() if not name.endswith(FOREIGN)}
        self._env = {
            **inherited,
            "HOME": str(self.home),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "200",
            "PORT": "0",
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def launch(self) -> Self:
        """Start the process without waiting for anything."""
        self._output = self._log_file.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aixgo_cli.main", "run", "-c", self.file, *self._arguments],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._env,
        )
        return self

    def __enter__(self) -> Self:
        self.launch()
        try:
            wait_until(self._up, "all agents started")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._output is not None:
            self._output.close()
        self._folder.cleanup()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def text(self) -> str:
        """Everything that the process has written."""
        return self._log_file.read_text()

    def log(self, message: str = "") -> list[dict[str, Any]]:
        """Return the lines of the log whose message begins with a text."""
        lines = [line for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [each for line in lines if (each := json.loads(line))["message"].startswith(message)]

    @property
    def http_port(self) -> int:
        return int(self.log("all agents started")[0]["http_port"])

    @property
    def addresses(self) -> list[str]:
        """Where calls are taken."""
        return list(self.log("all agents started")[0]["listen"])

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and JSON document of an admin endpoint."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def metric(self, name: str, labels: str) -> float:
        """Return the sum of the series of a metric that have these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and labels in line
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout: float = START_SECONDS) -> int:
        """Return the exit code when the process has ended."""
        return self.process.wait(timeout)

    def alerts(self, agent: str) -> list[dict[str, Any]]:
        """Return what a logger has logged."""
        return [line for line in self.log("[ALERT]") if line["agent"] == agent]

    def wait_for_alerts(self, agent: str, count: int) -> list[dict[str, Any]]:
        """Return the first so many messages of a logger."""
        wait_until(lambda: len(self.alerts(agent)) >= count, f"{count} messages for {agent}")
        return self.alerts(agent)[:count]

    def _up(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text}"
        return bool(self.log("all agents started"))
