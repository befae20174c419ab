"""When the cluster is read a second time: when a start is over, and not in the middle of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.reconcile import engine as module
from aixgo_operator.reconcile.engine import Engine
from aixgo_operator.reconcile.keys import Key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO = Key("AgentRuntime", "n", "one"), Key("AgentRuntime", "n", "two")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(module, "_ASK_AGAIN", 0.0)
    nobody: Any = None
    return Engine(nobody, OperatorSettings(), pods=nobody, backends=nobody, now=lambda: NOW)


async def turns() -> None:
    """Let everything else go on that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_has_just_begun_is_waited_for(engine: Engine) -> None:
    unsettled = engine._context.unsettled
    unsettled[ONE] = NOW - timedelta(hours=1)
    unsettled[TWO] = NOW - timedelta(seconds=5)
    waiting = asyncio.create_task(engine._until_started(60.0))
    await turns()
    assert not waiting.done()
    del unsettled[TWO]
    await asyncio.wait_for(waiting, 5.0)


@pytest.mark.parametrize("began", [None, timedelta(seconds=31)], ids=["all-settled", "broken-for-long"])
async def test_nobody_is_waited_for_who_does_not_start(engine: Engine, began: timedelta | None) -> None:
    if began is not None:
        engine._context.unsettled[ONE] = NOW - began
    await asyncio.wait_for(engine._until_started(60.0), 5.0)


async def test_it_is_not_waited_for_ever(engine: Engine) -> None:
    engine._context.unsettled[ONE] = NOW
    await asyncio.wait_for(engine._until_started(0.01), 5.0)


async def test_keys_that_wait_for_a_worker_are_waited_for(engine: Engine) -> None:
    engine.queue.add(ONE)  # no worker was started
    waiting = asyncio.create_task(engine._until_started(60.0))
    await turns()
    assert not waiting.done()
    waiting.cancel()
