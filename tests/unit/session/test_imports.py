"""``import aixgo`` and ``aixgo.session`` stay light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aixgo
import aixgo.session

ROOT = Path(__file__).parents[3] / "runtime_image"
HEAVY = "redis grpc pydantic kubernetes kopf aiohttp asyncio orjson"


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import aixgo", ""),
        ("from aixgo import Message", "orjson"),
        ("import aixgo.session", "orjson asyncio"),
        ("from aixgo.session import FileBackend, RedisOptions, RedisTLS", "orjson asyncio"),
    ],
)
def test_nothing_heavy_is_imported(statement: str, allowed: str) -> None:
    heavy = sorted(set(HEAVY.split()) - set(allowed.split()))
    program = f"{statement}\nimport sys\nsys.exit(','.join(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr.strip() == ""


def test_every_public_name_exists() -> None:
    for module in (aixgo.session,):
        for name in module.__all__:
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        aixgo.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        aixgo.session.nothing  # noqa: B018
    assert set(aixgo.__all__) <= set(dir(aixgo))
    assert set(aixgo.session.__all__) <= set(dir(aixgo.session))
    assert aixgo.__version__
