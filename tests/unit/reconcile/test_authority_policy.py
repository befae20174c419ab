"""Who a change of the authority waits for, and for how long."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.inspect import fingerprints
from aixgo_operator.pki.rotation import Peer, Phase, Rotation, begin
from aixgo_operator.reconcile.authority import SETTLE, counts, overlap_of
from aixgo_operator.reconcile.gate import Gate
from aixgo_operator.reconcile.holders import Holder

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
YEAR = 365 * dt.timedelta(days=1)
CA = create_authority(now=NOW, duration=YEAR)
ROTATION = begin(Rotation(Phase.STABLE, CA), now=NOW, duration=YEAR)
UNKNOWN = Peer(frozenset(), None)
LATE = NOW + dt.timedelta(seconds=180)
NEAR_THE_END = NOW + YEAR * 0.95


def pod(**changes: bool) -> Holder:
    return Holder("Pod n/p", UNKNOWN, is_pod=True, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("holder", "now", "waited_for"),
    [
        (Holder("Secret n/s", UNKNOWN), NEAR_THE_END, True),
        (pod(), LATE, True),
        (pod(), NEAR_THE_END, False),
        (pod(idle=True), LATE - dt.timedelta(seconds=1), True),
        (pod(idle=True), LATE, False),
    ],
    ids=["a Secret always", "a pod", "a pod at the end", "a new idle pod", "an idle pod for long"],
)
def test_who_is_waited_for(holder: Holder, now: dt.datetime, waited_for: bool) -> None:
    assert counts(holder, ROTATION, now) is waited_for


def test_clients_get_time_and_pods_need_little() -> None:
    settings = OperatorSettings()
    assert overlap_of(settings, clients=True) == dt.timedelta(hours=8)
    assert overlap_of(settings, clients=False) == SETTLE


def test_certificates_that_were_brought_along_stay_in_the_bundle() -> None:
    other = create_authority(now=NOW, duration=YEAR).cert_pem
    data = Rotation(Phase.STABLE, CA).to_secret()
    data["trust-bundle.crt"] += other
    rotation = begin(Rotation.from_secret(data), now=NOW, duration=YEAR)
    assert fingerprints(other)[0] in fingerprints(rotation.trust_bundle)
    assert Rotation.from_secret(rotation.to_secret()) == rotation


async def test_a_step_is_taken_while_nobody_writes_certificates() -> None:
    gate, order = Gate(), []

    async def write(name: str, go: asyncio.Event) -> None:
        async with gate.shared():
            order.append(f"{name} begins")
            await go.wait()
            order.append(f"{name} ends")

    async def step() -> None:
        async with gate.alone():
            order.append("step")

    first, second = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(write("first", first))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(step()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second.set()
    tasks.append(asyncio.create_task(write("second", second)))  # comes after the step, which waits
    await asyncio.sleep(0)
    first.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)
    assert order == ["first begins", "first ends", "step", "second begins", "second ends"]
