"""Killed writers and power cuts, the short form. ``make soak`` runs the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.crash_rounds import CrashRounds


@pytest.mark.parametrize(
    ("durability", "power", "log_size", "rounds"),
    [
        ("fsync", True, 16 * 1024, 7),  # the log is full every few appends
        ("fsync", False, 8 << 20, 4),
        ("os", False, 8 << 20, 4),
    ],
    ids=["power cut, small log", "killed, fsync", "killed, os"],
)
async def test_nothing_acknowledged_is_lost(
    tmp_path: Path, durability: str, power: bool, log_size: int, rounds: int
) -> None:
    crashes = CrashRounds(tmp_path / "sessions", 7, durability=durability, power=power, log_size=log_size)
    for _ in range(rounds):
        await crashes.round()
    assert crashes.acknowledged > 10 * rounds
