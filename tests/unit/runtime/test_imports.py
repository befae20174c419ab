"""What is loaded when: a process pays only for what it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("grpc", "aiohttp", "redis", "pydantic_ai", "prometheus_client", "uvloop", "rich")


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import aixgo", ()),
        ("from aixgo import Message, Runtime, TLSConfig, agent", ()),
        ("from aixgo import DistributedRuntime", ("grpc",)),
        ("import aixgo.server.main", ("grpc", "uvloop")),
    ],
)
def test_only_what_is_needed_is_imported(statement: str, allowed: tuple[str, ...]) -> None:
    loaded = f"print([name for name in {HEAVY} if name in sys.modules])"
    code = f"{statement}\nimport sys\n{loaded}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(eval(done.stdout)) <= set(allowed)  # noqa: S307 - our own list of names
