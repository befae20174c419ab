"""Kill and stop a Redis while clients race: ``python -m tests.soak.redis_faults --rounds 50 --seed 1``.

Every round races clients of two managers on one session, with a server that writes every command to its disk
before it answers, and that is killed or stopped at random moments. Ends with an error if no order of the
operations explains what the clients saw; the message has the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.support.histories import History, race
from tests.support.redis_server import RedisServer, running_redis

from aixgo.session import Manager, RedisBackend, RedisOptions
from aixgo.session.inspect import verify


async def disturb(server: RedisServer, chance: random.Random, done: asyncio.Event) -> None:
    """Kill or stop the server now and then."""
    while not done.is_set():
        await asyncio.sleep(chance.uniform(0.0, 0.03))
        if chance.random() < 0.5:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        else:
            server.pause()
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            server.go_on()


async def round_of(server: RedisServer, seed: int) -> int:
    """Race, and check; returns how many operations there were."""
    chance = random.Random(seed)  # noqa: S311 - the same faults again for the same seed
    options = RedisOptions(read_timeout=0.2, dial_timeout=1, retry_timeout=10)
    async with (
        Manager(RedisBackend(server.address, options)) as one,
        Manager(RedisBackend(server.address, options)) as two,
    ):
        session = await one.create("assistant")
        handles = [await manager.get(session.id) for manager in (one, two, two)]
        history, done = History(), asyncio.Event()
        disturbing = asyncio.create_task(disturb(server, chance, done))
        await race(history, handles, 12, f"{seed}:")
        done.set()
        await disturbing
        await history.read(handles[0])
        history.check()
        report = await verify(one.backend)
        assert report.ok, report.problems
        return len(history.operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        config = ("appendonly yes", "appendfsync always")
        with running_redis(Path(directory), config=config) as server:
            for seed in range(arguments.seed, arguments.seed + arguments.rounds):
                try:
                    operations = asyncio.run(round_of(server, seed))
                except AssertionError as error:
                    raise SystemExit(f"seed {seed}: {error}") from error
                sys.stdout.write(f"seed {seed}: {operations} operations explained\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
