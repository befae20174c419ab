"""The indexes of a cluster are brought up to date in calls that nobody waits for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from aixgo.session.redis import records
from aixgo.session.redis.calls import Calls
from aixgo.session.redis.indexes import Indexes
from aixgo.session.redis.keys import Keys
from aixgo.session.redis.scripts import Script
from aixgo.session.types import SessionRecord

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class SlowCalls:
    """Remembers the scripts that were run; none ends before it is let go."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, Any]] = []
        self.go = asyncio.Event()

    async def run(self, _: Script, keys: list[str], args: list[Any]) -> int:
        self.runs.append((keys[0], args[1]))
        await self.go.wait()
        return 1


def record(session_id: str, seconds: int) -> SessionRecord:
    return SessionRecord(
        id=session_id,
        agent_name="assistant",
        user_id="ada",
        created_at=BEGIN,
        updated_at=BEGIN + timedelta(seconds=seconds),
        message_count=seconds,
        version=seconds,
        current_leaf="",
    )


async def test_a_session_that_changes_often_is_updated_once_at_a_time_and_ends_with_the_newest() -> None:
    calls = SlowCalls()
    indexes = Indexes(cast("Calls", calls), Keys("p:"), is_cluster=True)
    for seconds in range(100):
        await indexes.put(record("one", seconds), wait=False)
        await asyncio.sleep(0)
    await indexes.put(record("other", 5), wait=False)
    await asyncio.sleep(0)
    assert len(calls.runs) == 2
    calls.go.set()
    await indexes.close()
    scores = [score for key, score in calls.runs if key == "p:agent:assistant"]
    newest = -records.micros(BEGIN + timedelta(seconds=99))
    assert scores.count(newest) == 1
    assert len(scores) == 3
    assert scores.index(newest) > 0
    calls.runs.clear()
    await indexes.put(record("one", 100), wait=False)  # what was done is forgotten
    await indexes.close()
    assert len(calls.runs) == 3
