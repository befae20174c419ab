"""Whether a batch has everybody who changes sessions."""

from __future__ import annotations

import time

import pytest

from aixgo.session.file.company import Company


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present time, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_who_was_alone_for_long_enough_is_the_only_one() -> None:
    company = Company()
    for _ in range(4):
        assert not company.is_only("a")
        assert company.is_complete(["a"])
    for _ in range(20):
        assert company.is_only("a")
        assert not company.is_only("b")
        assert company.is_complete(["a"])


def test_a_batch_of_all_is_complete_again_and_again() -> None:
    company = Company()
    everybody = [f"s{number}" for number in range(32)]
    for _ in range(50):
        assert company.is_complete(everybody)
        assert not company.is_only("s0")


def test_those_who_come_one_by_one_are_never_all() -> None:
    company = Company()
    company.is_complete(["s0"])
    for number in range(1, 500):
        assert not company.is_complete([f"s{number % 8}"])
        assert not company.is_only(f"s{number % 8}")


def test_two_groups_that_take_turns_are_never_all() -> None:
    company = Company()
    company.is_complete(["a", "b"])
    for _ in range(50):
        assert not company.is_complete(["c", "d"])
        assert not company.is_complete(["a", "b"])
    assert company.is_complete(["a", "b", "c", "d"])


def test_who_went_is_forgotten_after_some_batches() -> None:
    company = Company()
    for _ in range(8):
        company.is_complete(["a", "b"])
    needed = 0
    while not company.is_complete(["a"]):
        needed += 1
    assert 4 <= needed <= 8
    while not company.is_only("a"):
        company.is_complete(["a"])
        needed += 1
    assert needed <= 12


def test_who_has_been_idle_for_a_while_is_forgotten_at_once(clock: list[float]) -> None:
    company = Company()
    company.is_complete(["a", "b"])
    clock[0] += 0.01
    assert not company.is_complete(["a"])
    clock[0] += 1
    assert company.is_complete(["a"])
