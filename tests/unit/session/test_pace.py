"""When a flush may be waited for in the event loop."""

from __future__ import annotations

from aixgo.session.file.pace import DiskPace

FAST, SLOW, STALL = 0.000_1, 0.002, 0.5


def fed(*flushes: tuple[int, float]) -> DiskPace:
    pace = DiskPace()
    for count, seconds in flushes:
        for _ in range(count):
            pace.flushed(seconds)
    return pace


def test_it_begins_with_distrust() -> None:
    assert not DiskPace().is_fast
    assert not fed((8, FAST)).is_fast
    assert fed((32, FAST)).is_fast


def test_a_slow_disk_never_is_fast() -> None:
    assert not fed((10_000, SLOW)).is_fast


def test_a_flush_that_is_slow_now_and_then_changes_nothing() -> None:
    pace = fed((32, FAST))
    for _ in range(100):
        pace.flushed(SLOW)
        assert pace.is_fast
        for _ in range(20):
            pace.flushed(FAST)


def test_a_disk_that_becomes_slow_is_noticed() -> None:
    assert not fed((10_000, FAST), (8, SLOW)).is_fast


def test_after_a_stall_it_has_to_be_steady_for_longer_each_time() -> None:
    pace = fed((32, FAST))
    needed: list[int] = []
    for _ in range(4):
        pace.flushed(STALL)
        assert not pace.is_fast
        count = 0
        while not pace.is_fast:
            pace.flushed(FAST)
            count += 1
        needed.append(count)
    assert needed == [32, 64, 128, 256]


def test_stalls_are_forgotten_after_a_long_time() -> None:
    pace = fed(
        (32, FAST), (1, STALL), (32, FAST), (1, STALL), (64, FAST), (1, STALL), (5000, FAST), (1, STALL)
    )
    assert not pace.is_fast
    for _ in range(32):
        pace.flushed(FAST)
    assert pace.is_fast
