"""One timer keeps the leases of all open turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from aixgo.errors import SessionConflictError, StorageError
from aixgo.session.renewals import Renewals
from aixgo.session.types import Lease

EVERY = 0.02


class Store:
    """Counts the renewals of each lease."""

    def __init__(self, every: float = EVERY) -> None:
        self.lease_renewal = every
        self.renewed: Counter[str] = Counter()
        self.errors: dict[str, Exception] = {}
        self.heard = asyncio.Event()

    async def renew_lease(self, lease: Lease) -> None:
        self.renewed[lease.token] += 1
        self.heard.set()
        if lease.token in self.errors:
            raise self.errors[lease.token]

    async def until(self, token: str, count: int) -> None:
        async with asyncio.timeout(10):
            while self.renewed[token] < count:
                self.heard.clear()
                await self.heard.wait()


def renewals(store: Any) -> Renewals:
    return Renewals(store)


async def test_an_open_turn_keeps_its_lease_and_a_closed_one_does_not() -> None:
    store = Store()
    keeper = renewals(store)
    short, long = Lease("s", "short"), Lease("t", "long")
    keeper.add(short)
    keeper.add(long)
    keeper.discard(short)
    await store.until("long", 3)
    keeper.discard(long)
    assert store.renewed["short"] == 0
    seen = store.renewed["long"]
    await asyncio.sleep(3 * EVERY)
    assert store.renewed["long"] == seen


async def test_a_lease_that_comes_later_is_kept_too() -> None:
    store = Store()
    keeper = renewals(store)
    keeper.add(Lease("s", "first"))
    await store.until("first", 1)
    keeper.add(Lease("t", "second"))
    await store.until("second", 2)
    assert store.renewed["first"] >= 2


async def test_a_lost_lease_is_given_up_and_a_store_that_is_away_is_asked_again() -> None:
    store = Store()
    store.errors = {"lost": SessionConflictError("lost"), "away": StorageError("away")}
    keeper = renewals(store)
    keeper.add(Lease("s", "lost"))
    keeper.add(Lease("t", "away"))
    await store.until("away", 3)
    assert store.renewed["lost"] == 1


async def test_a_store_whose_leases_never_run_out_is_not_asked() -> None:
    store = Store(every=0)
    renewals(store).add(Lease("s", "token"))
    await asyncio.sleep(0.01)
    assert not store.renewed
