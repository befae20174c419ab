"""Plans: an order in which the steps can be done, or an error that a model understands."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.properties import PATIENT

from aixgo.agents.plans import (
    PlanError,
    PlanStep,
    critical_path,
    in_order,
    parallel_groups,
    splice,
    success_probability,
)


def step(number: int, *before: int, parallel: bool = False, confidence: float = 0.5) -> PlanStep:
    return PlanStep(
        step_number=number,
        action=f"do {number}",
        prerequisites=list(before),
        can_parallelize=parallel,
        confidence=confidence,
    )


def shape(steps: list[PlanStep]) -> list[tuple[int, list[int], str]]:
    return [(item.step_number, item.prerequisites, item.action) for item in steps]


DIAMOND = [step(1), step(2, 1, parallel=True), step(3, 1, parallel=True), step(4, 2, 3)]


def test_steps_are_numbered_anew_in_an_order_that_works() -> None:
    backwards = [step(10, 20, 20), step(20, 30), step(30)]
    assert shape(in_order(backwards, 3)) == [(1, [], "do 30"), (2, [1], "do 20"), (3, [2], "do 10")]
    assert shape(in_order(DIAMOND, 4)) == shape(DIAMOND)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([], "a plan has 1 to 3 steps, not 0"),
        ([step(n) for n in range(4)], "a plan has 1 to 3 steps, not 4"),
        ([step(1), step(1)], "every step needs a step_number of its own"),
        ([step(1, 7)], "step 1 has the prerequisite 7, which is no step"),
        ([step(1, 1)], "the prerequisites go in a circle: 1 -> 1"),
        ([step(1, 2), step(2, 1)], "the prerequisites go in a circle"),
    ],
)
def test_what_is_no_plan_is_said(steps: list[PlanStep], text: str) -> None:
    with pytest.raises(PlanError, match=text):
        in_order(steps, 3)


def test_critical_path_and_parallel_groups_of_a_diamond() -> None:
    assert critical_path(DIAMOND) == [1, 2, 4]
    assert parallel_groups(DIAMOND) == [[2, 3]]
    assert parallel_groups([step(1, parallel=True), step(2, 1, parallel=True)]) == []
    assert parallel_groups([step(1), step(2)]) == []


def test_all_steps_must_succeed() -> None:
    assert success_probability([step(1, confidence=0.5), step(2, confidence=0.8)]) == pytest.approx(0.4)


def test_a_plan_takes_the_place_of_each_step_of_the_outline() -> None:
    outline = [step(1), step(2, 1)]
    parts = [[step(1), step(2)], [step(1), step(2, 1)]]
    assert [(s.step_number, s.prerequisites) for s in splice(outline, parts)] == [
        (1, []),
        (2, []),
        (3, [1, 2]),
        (4, [3]),
    ]


@st.composite
def plans(draw: st.DrawFn) -> list[PlanStep]:
    numbers = draw(st.permutations(range(draw(st.integers(1, 8)))))
    steps = []
    for place, number in enumerate(numbers):
        before = draw(st.sets(st.sampled_from(numbers[:place]))) if place else set()
        steps.append(step(number, *before, parallel=draw(st.booleans())))
    return draw(st.permutations(steps))


@PATIENT
@given(plans())
def test_every_step_comes_after_what_it_needs(steps: list[PlanStep]) -> None:
    ordered = in_order(steps, 8)
    assert [item.step_number for item in ordered] == list(range(1, len(steps) + 1))
    assert sorted(item.action for item in ordered) == sorted(item.action for item in steps)
    old = {item.action: item for item in steps}
    action = {item.step_number: item.action for item in ordered}
    for item in ordered:
        assert all(number < item.step_number for number in item.prerequisites)
        wanted = {f"do {number}" for number in old[item.action].prerequisites}
        assert {action[number] for number in item.prerequisites} == wanted


def everything_before(steps: list[PlanStep]) -> dict[int, set[int]]:
    before: dict[int, set[int]] = {}
    for item in steps:
        before[item.step_number] = set(item.prerequisites).union(*(before[n] for n in item.prerequisites))
    return before


@PATIENT
@given(plans())
def test_no_group_holds_steps_that_need_each_other(steps: list[PlanStep]) -> None:
    ordered = in_order(steps, 8)
    before = everything_before(ordered)
    for group in parallel_groups(ordered):
        assert len(group) > 1
        assert not any(before[number] & set(group) for number in group)
    path = critical_path(ordered)
    assert all(first in before[second] for first, second in pairwise(path))


@PATIENT
@given(plans(), st.data())
def test_a_spliced_plan_is_a_plan(steps: list[PlanStep], data: st.DataObject) -> None:
    outline = in_order(steps, 8)
    parts = [in_order(data.draw(plans()), 8) for _ in outline]
    whole = splice(outline, parts)
    assert [item.step_number for item in whole] == list(range(1, sum(map(len, parts)) + 1))
    assert shape(in_order(whole, len(whole))) == shape(whole)
    before = everything_before(whole)
    ends = [sum(map(len, parts[: place + 1])) for place in range(len(parts))]
    for outer, end, part in zip(outline, ends, parts, strict=True):
        mine = set(range(end - len(part) + 1, end + 1))
        for number in outer.prerequisites:
            needed = set(range(ends[number - 1] - len(parts[number - 1]) + 1, ends[number - 1] + 1))
            assert all(needed <= before[item] for item in mine)
