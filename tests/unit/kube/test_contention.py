"""Somebody who undoes each write: the first repairs are at once, then the pauses grow (O4)."""

from __future__ import annotations

import pytest

from aixgo_operator.kube.contention import FREE, LONGEST, Contention

WHERE = ("ConfigMap", "n", "c")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contention(clock: Clock) -> Contention:
    return Contention(clock)


def fight(contention: Contention, clock: Clock, seconds: float, wish: str = "a") -> int:
    """Undo every write at once; return how many there were."""
    writes, end = 0, clock.now + seconds
    while clock.now < end:
        if contention.wait(WHERE, wish):
            clock.now += 0.5
        else:
            contention.wrote(WHERE, wish)
            writes += 1
    return writes


def test_o04_writes_of_the_same_are_bounded(contention: Contention, clock: Clock) -> None:
    """O4: in an hour about one a minute, and never none: whoever gives up finds it repaired."""
    assert FREE + 4 < fight(contention, clock, 60) < FREE + 10
    assert 55 <= fight(contention, clock, 3600) <= 65


def test_a_few_edits_are_repaired_at_once(contention: Contention) -> None:
    for _ in range(FREE):
        assert contention.wait(WHERE, "a") == 0
        contention.wrote(WHERE, "a")
    assert contention.wait(WHERE, "a") == 1.0
    assert contention.wait(("ConfigMap", "n", "other"), "a") == 0


def test_another_wish_is_written_at_once(contention: Contention, clock: Clock) -> None:
    fight(contention, clock, 60)
    assert contention.wait(WHERE, "a") > 0
    assert contention.wait(WHERE, "b") == 0


def test_an_old_fight_is_forgotten(contention: Contention, clock: Clock) -> None:
    fight(contention, clock, 300)
    clock.now += 2 * LONGEST + 1
    assert contention.wrote(WHERE, "a") == 1


def test_few_are_remembered(contention: Contention) -> None:
    for number in range(3000):
        contention.wrote(("ConfigMap", "n", str(number)), "a")
    assert len(contention._series) <= 1000
