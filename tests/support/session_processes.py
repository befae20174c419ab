"""Starting the processes of :mod:`tests.support.session_worker`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def worker(job: str, store: dict[str, Any], *arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a worker inside the block; what is left of it is killed at the end."""
    command = [sys.executable, "-m", "tests.support.session_worker"]
    process = subprocess.Popen(
        [*command, *map(json.dumps, (job, store, *arguments))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT / "runtime_image")},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a worker writes."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    """Return what a worker wrote, once it has ended."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    process.wait(30)
    return lines
