"""Memory and descriptors of processes over time, and whether they grow."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

#: The time is cut into so many pieces; the least of each counts: what is only borrowed is given back in it.
PIECES = 24


class Footprint:
    """Samples of several processes. A process that is replaced begins anew."""

    def __init__(self) -> None:
        #: Name and pid -> (seconds, MiB, descriptors).
        self.samples: dict[tuple[str, int], list[tuple[float, float, float]]] = {}

    async def watch(self, processes: Callable[[], dict[str, int]], every: float) -> None:
        """Take samples until cancelled."""
        while True:
            now = time.monotonic()
            for name, pid in processes().items():
                if pid and (sample := _sample(pid)) is not None:
                    self.samples.setdefault((name, pid), []).append((now, *sample))
            await asyncio.sleep(every)

    def growth(self, name: str, pid: int, warm_up: float) -> tuple[float, float]:
        """Return by how many MiB and descriptors a process grew after its warm-up (a share of the time)."""
        samples = self.samples[name, pid]
        rest = samples[int(len(samples) * warm_up) :]
        memory = growth([(sample[0], sample[1]) for sample in rest])
        descriptors = growth([(sample[0], sample[2]) for sample in rest])
        return memory, descriptors

    def last(self, name: str, pid: int) -> tuple[float, float]:
        """Return the newest MiB and descriptors."""
        return self.samples[name, pid][-1][1:]


def growth(samples: list[tuple[float, float]]) -> float:
    """Return the growth over the whole time along the median of all slopes (Theil and Sen)."""
    size = max(1, len(samples) // PIECES)
    pieces = [samples[first : first + size] for first in range(0, len(samples), size)]
    points = [(piece[0][0], min(value for _, value in piece)) for piece in pieces]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2)]
    return statistics.median(slopes) * (points[-1][0] - points[0][0]) if slopes else 0.0


def _sample(pid: int) -> tuple[float, float] | None:
    directory = Path(f"/proc/{pid}")
    try:
        status = (directory / "status").read_text().splitlines()
        memory = next((int(line.split()[1]) for line in status if line.startswith("VmRSS:")), 0)
        descriptors = sum(1 for _ in (directory / "fd").iterdir())
    except OSError:
        return None  # it has just ended
    return memory / 1024, float(descriptors)
