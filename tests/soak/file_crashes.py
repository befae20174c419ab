"""Kill a writer of a file store often: ``python -m tests.soak.file_crashes --rounds 200 --seed 1``.

Ends with an error at the first acknowledged entry that is lost, torn, doubled or out of order; the message
has the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.support.crash_rounds import CrashRounds

#: Durability, whether unflushed pages are lost, size of the log.
VARIANTS = (
    ("fsync", True, 16 * 1024),
    ("fsync", True, 256 * 1024),
    ("fsync", False, 64 * 1024),
    ("os", False, 64 * 1024),
)


async def run(rounds: int, seed: int) -> None:
    done = 0
    while done < rounds:
        durability, power, log_size = VARIANTS[seed % len(VARIANTS)]
        with tempfile.TemporaryDirectory() as directory:
            crashes = CrashRounds(
                Path(directory) / "sessions", seed, durability=durability, power=power, log_size=log_size
            )
            begin = time.monotonic()
            for _ in range(min(10, rounds - done)):
                await crashes.round()
                done += 1
            sys.stdout.write(
                f"seed {seed}: {durability}{', power cut' if power else ''}, log of {log_size} bytes: "
                f"{crashes.acknowledged} acknowledged, 0 lost, {crashes.repairs} repairs, "
                f"{done}/{rounds} rounds, {time.monotonic() - begin:.1f} s\n"
            )
            sys.stdout.flush()
        seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(run(options.rounds, options.seed))


if __name__ == "__main__":
    main()
