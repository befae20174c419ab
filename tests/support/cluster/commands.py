"""Running other programs: no shell, always a time limit, nothing left running."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import IO, TYPE_CHECKING

from tests.support.cluster.cache import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# The kernel ends the program when the thread that started it is gone, also after a kill -9 of this process.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class ClusterError(RuntimeError):
    """Something needed for a cluster is missing or did not work; the message says what and what to do."""


class CommandError(ClusterError):
    """A program ended with an error or ran into its time limit."""

    def __init__(self, argv: Sequence[str], reason: str, output: str) -> None:
        self.argv = list(argv)
        self.output = output
        tail = "\n".join(output.strip().splitlines()[-40:])
        super().__init__(f"{' '.join(self.argv[:12])}: {reason}" + (f"\n{tail}" if tail else ""))


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    saying: str | None = None,
) -> str:
    """Run a program and return its standard output.

    The program gets a process group of its own, which is killed at the time limit and when this process is
    interrupted. With `saying`, a progress line is written at the start and every 20 seconds.

    Raises:
        CommandError: it ended with another code than 0, or `timeout` seconds passed.
    """
    command = [*DIES_WITH_PARENT, *(str(part) for part in argv)]
    shown = command[len(DIES_WITH_PARENT) :]
    if saying:
        progress(saying)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=None if env is None else dict(env),
        cwd=cwd,
        start_new_session=True,
    ) as process:
        waited = 0.0
        data = stdin
        try:
            while True:
                slice_ = min(20.0, timeout - waited)
                try:
                    out, err = process.communicate(data, timeout=slice_)
                    break
                except subprocess.TimeoutExpired as late:
                    data = None
                    waited += slice_
                    if waited >= timeout:
                        kill_group(process)
                        out, err = process.communicate()
                        raise CommandError(shown, f"not done after {timeout:.0f} s", err or out) from late
                    if saying:
                        progress(f"{saying} ({waited:.0f} s)")
        except BaseException:
            kill_group(process)
            raise
    if process.returncode != 0:
        raise CommandError(shown, f"exit code {process.returncode}", err or out)
    return out


def succeeds(argv: Sequence[str | Path], *, timeout: float, env: Mapping[str, str] | None = None) -> bool:
    """Whether the program ends with code 0 within `timeout` seconds."""
    try:
        run(argv, timeout=timeout, env=env)
    except (CommandError, FileNotFoundError):
        return False
    return True


@contextlib.contextmanager
def daemon(
    argv: Sequence[str | Path], *, log: IO[bytes], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A long-running program that ends with the block, or with this process however that ends."""
    process = subprocess.Popen(
        [*DIES_WITH_PARENT, *(str(part) for part in argv)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=None if env is None else dict(env),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_group(process)
        process.wait()


def kill_group(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Kill a program started with its own session, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def find_program(name: str) -> str | None:
    """Path of a program; also looks where only root's PATH looks."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path)
