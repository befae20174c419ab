"""The command `aixgo` as a user runs it: a process of its own, with what it printed and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What one run of the command did."""

    code: int
    stdout: str
    stderr: str


def aixgo(
    *arguments: str | Path,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    kubeconfig: str | Path = "/nonexistent",
    timeout: float = 60,
) -> Result:
    """Run the command. Without `kubeconfig` it finds no cluster, whatever this machine has."""
    done = subprocess.run(
        [sys.executable, "-m", "aixgo_cli.main", *(str(argument) for argument in arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "COLUMNS": "200", **(env or {})},
    )
    return Result(done.returncode, done.stdout, done.stderr)
