"""Certificates, CAs and replicas change under full load: ``python -m tests.soak.runtime_rotation``.

The first part is rotation alone, in which no call at all may fail. In the rest a replica is killed now and
then: only calls that ran on it may fail, and each is answered by another one when it is made again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tests.support.grpc_at_fork  # noqa: F401 - before gRPC
import uvloop
from tests.support.footprint import Footprint
from tests.support.redis_server import running_redis
from tests.support.rotation_fleet import RENEW_SECONDS, Fleet, Replica, running_fleet
from tests.support.rotation_load import Account, Load, check_sessions

from aixgo.rpc.client import AgentClient
from aixgo.session import Manager, RedisBackend

#: The share of the time in which nobody is killed.
CALM = 0.3
#: The share of a process's life that does not count for its growth.
WARM_UP = 0.3
US = "client"


@dataclass(frozen=True)
class Plan:
    """How long, and how often what happens. All in seconds."""

    seconds: float
    rotate_every: float = 20.0
    kill_every: float = 30.0
    #: Clients of each of the four kinds.
    clients: int = 4
    #: By how many MiB and descriptors a process may grow after its warm-up.
    memory: float = 8.0
    descriptors: float = 4.0


async def soak(plan: Plan, seed: int) -> str:
    """Run it and return the report.

    Raises:
        AssertionError: a call failed that should not have, a turn is lost or doubled, or something grows.
    """
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    with tempfile.TemporaryDirectory(prefix="rotation-") as name:
        root = Path(name)
        with running_redis(root / "redis") as redis:
            async with (
                running_fleet(root, redis) as fleet,
                AgentClient(
                    fleet.address, fleet.client_files, "front.team.svc", renew_seconds=RENEW_SECONDS
                ) as client,
                Manager(RedisBackend(redis.address)) as sessions,
            ):
                account, footprint = Account(fleet.kills), Footprint()
                await _run(plan, fleet, Load(client, sessions, account), footprint, chance)
                await check_sessions(sessions, account)
                report = _report(plan, fleet, account, footprint)
    if account.unexplained:
        raise AssertionError(f"calls failed that should not have: {account.unexplained[:10]}\n{report}")
    return report


async def _run(plan: Plan, fleet: Fleet, load: Load, footprint: Footprint, chance: random.Random) -> None:
    def processes() -> dict[str, int]:
        return {US: os.getpid(), **{replica.name: replica.pid for replica in fleet.replicas}}

    end = time.monotonic() + plan.seconds
    calls = asyncio.create_task(load.run(plan.clients))
    watching = asyncio.create_task(footprint.watch(processes, every=plan.seconds / 600))
    changing = asyncio.create_task(_change(plan, fleet, end, chance))
    try:
        await asyncio.wait([calls, changing], return_when=asyncio.FIRST_COMPLETED)
        load.stop()
        for task in (changing, calls):
            if task.done():
                task.result()  # the first error is the interesting one
        await changing
        await calls
    finally:
        for task in (calls, watching, changing):
            task.cancel()
        await asyncio.gather(calls, watching, changing, return_exceptions=True)


async def _change(plan: Plan, fleet: Fleet, end: float, chance: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_rotate(plan, fleet, end, chance))
        group.create_task(_kill(plan, fleet, end))


async def _rotate(plan: Plan, fleet: Fleet, end: float, chance: random.Random) -> None:
    """Replace the CA, half a period later only the certificates, and so on."""
    while (begin := time.monotonic()) + plan.rotate_every < end:
        await fleet.rotate(chance)
        await _sleep_until(begin + plan.rotate_every / 2)
        await fleet.renew(chance)
        await _sleep_until(begin + plan.rotate_every)
    await _sleep_until(end)


async def _kill(plan: Plan, fleet: Fleet, end: float) -> None:
    """Kill all but the first of each runtime, in turn."""
    victims: list[Replica] = [*fleet.front[1:], *fleet.back[1:]]
    due = time.monotonic() + plan.seconds * CALM
    while due + plan.kill_every / 2 < end:
        await _sleep_until(due)
        await victims[len(fleet.kills) % len(victims)].kill(fleet.kills)
        due += plan.kill_every
    await _sleep_until(end)


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - time.monotonic()))


def _report(plan: Plan, fleet: Fleet, account: Account, footprint: Footprint) -> str:
    """Return what happened, and check what grew: of processes that lived all the time."""
    lines = [
        f"{plan.seconds:.0f} s: {fleet.rotations} new CAs, {fleet.renewals} times only new certificates",
        f"replicas killed: {len(fleet.kills)}",
        f"answered: {dict(account.answered)}, slowest {account.slowest:.1f} s",
        f"cut off by a kill and answered by another replica: {dict(account.cut_off)}",
        f"failed without a reason: {len(account.unexplained)}",
        f"turns, each there exactly once: {account.turns.total()} in {len(account.turns)} sessions",
    ]
    grown = []
    steady = [(US, os.getpid()), *((each.name, each.pid) for each in (fleet.front[0], fleet.back[0]))]
    for name, pid in steady:
        memory, descriptors = footprint.growth(name, pid, WARM_UP)
        now = footprint.last(name, pid)
        lines.append(
            f"{name}: {now[0]:.0f} MiB ({memory:+.1f}), {now[1]:.0f} descriptors ({descriptors:+.1f})"
        )
        if memory > plan.memory or descriptors > plan.descriptors:
            grown.append(name)
    report = "\n".join(lines)
    if grown:
        raise AssertionError(f"these grow: {', '.join(grown)}\n{report}")
    return report


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.runtime_rotation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    print(uvloop.run(soak(Plan(arguments.seconds), arguments.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
