"""The process goes through its new objects seldom (docs/architecture/decisions/0016-what-a-look-costs.md)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from aixgo_operator.app import logs, process
from aixgo_operator.app.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def collector() -> Iterator[None]:
    """What the process does to the garbage collector ends with the test."""
    usual = gc.get_threshold()
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_new_objects_are_gone_through_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    young, *old = gc.get_threshold()
    seen: list[Any] = []

    class Ended:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self) -> None: ...

    def run(_: object) -> int:
        seen.append((gc.get_threshold(), gc.get_freeze_count() > 0))
        return 7

    monkeypatch.setattr(logs, "configure", lambda _: None)
    monkeypatch.setattr(process, "Process", Ended)
    monkeypatch.setattr(uvloop, "run", run)
    (tmp_path / "settings.yaml").touch()
    assert main(settings=tmp_path / "settings.yaml") == 7
    ((thresholds, frozen),) = seen
    assert thresholds[0] > 10 * young
    assert thresholds[1:] == tuple(old)
    assert frozen
