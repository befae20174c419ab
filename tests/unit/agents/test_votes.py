"""Votes: what wins, by how much, and that nothing but the ballots counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.properties import PATIENT

from aixgo.agents.votes import (
    Ballot,
    Verdict,
    VoteError,
    majority,
    most_confident,
    normalized,
    unanimous,
    weighted,
)

VOTES: list[Callable[[list[Ballot]], Verdict]] = [majority, unanimous, weighted, most_confident]


def ballot(source: str, content: str, confidence: float = 0.5, weight: float | None = None) -> Ballot:
    return Ballot(source, content, confidence, confidence if weight is None else weight, normalized(content))


ballots = st.lists(
    st.builds(
        ballot,
        st.sampled_from("abcdef"),
        st.sampled_from(["Yes", " yes ", "no", "perhaps"]),
        st.floats(0, 1),
        st.floats(0, 10),
    ),
    min_size=1,
    max_size=8,
)


def test_the_most_frequent_wins_whatever_its_case_and_white_space() -> None:
    verdict = majority([ballot("a", "Option A"), ballot("b", "option  a\n"), ballot("c", "Option B", 1.0)])
    assert (verdict.content, verdict.agreement) == ("Option A", pytest.approx(2 / 3))
    assert verdict.explanation == "Majority vote: 2/3 agents agreed. Sources: a, b"


def test_ties_of_a_majority() -> None:
    tied = [ballot("a", "x", 0.6, 9.0), ballot("b", "y", 0.9, 1.0)]
    assert majority(tied).content == "y"
    assert "broke 2-way tie by confidence" in majority(tied).explanation
    assert majority(tied, ties_by_weight=True).content == "x"
    assert majority([ballot("a", "y"), ballot("b", "x")]).content == "x"


def test_unanimity_or_an_error_that_names_who_disagrees() -> None:
    assert unanimous([ballot("a", "Plan X"), ballot("b", "plan x")]).agreement == 1.0
    with pytest.raises(VoteError, match=r"c disagrees with a \(found 2 different opinions\)"):
        unanimous([ballot("a", "X"), ballot("b", "X"), ballot("c", "Y")])


def test_weights_beat_numbers() -> None:
    verdict = weighted(
        [ballot("a", "x", weight=0.2), ballot("b", "x", weight=0.2), ballot("c", "y", weight=0.6)]
    )
    assert (verdict.content, verdict.agreement) == ("y", pytest.approx(0.6))
    assert "c(0.60)" in verdict.explanation


def test_without_any_weight_every_ballot_counts_the_same() -> None:
    verdict = weighted([ballot("a", "x", weight=0), ballot("b", "y", weight=0), ballot("c", "y", weight=0)])
    assert (verdict.content, verdict.agreement) == ("y", pytest.approx(2 / 3))


def test_the_most_confident_wins_alone() -> None:
    verdict = most_confident([ballot("a", "x", 0.5), ballot("b", "x", 0.5), ballot("c", "y", 0.9)])
    assert (verdict.content, verdict.agreement) == ("y", pytest.approx(0.9 / 1.9))
    assert most_confident([ballot("b", "x", 0.9), ballot("a", "y", 0.9)]).content == "y"
    assert most_confident([ballot("a", "x", 0.0)]).agreement == 1.0


@pytest.mark.parametrize("vote", VOTES)
def test_one_ballot_wins_and_none_is_an_error(vote: Callable[[list[Ballot]], Verdict]) -> None:
    verdict = vote([ballot("a", "", 0.8)])
    assert (verdict.content, verdict.agreement) == ("", 1.0)
    with pytest.raises(VoteError, match="no inputs to vote on"):
        vote([])


@pytest.mark.parametrize("vote", [majority, weighted, most_confident])
@PATIENT
@given(cast=ballots)
def test_a_verdict_is_one_of_the_contents_whatever_the_order(
    vote: Callable[[list[Ballot]], Verdict], cast: list[Ballot]
) -> None:
    verdict = vote(cast)
    assert verdict.content in [item.content for item in cast]
    assert 0.0 <= verdict.agreement <= 1.0
    again = vote(cast[::-1])
    assert normalized(again.content) == normalized(verdict.content)
    assert again.agreement == pytest.approx(verdict.agreement)


@PATIENT
@given(cast=ballots)
def test_nobody_has_more_ballots_than_the_majority(cast: list[Ballot]) -> None:
    options = [item.option for item in cast]
    most = max(options.count(option) for option in options)
    assert majority(cast).agreement == pytest.approx(most / len(cast))
    assert options.count(normalized(majority(cast).content)) == most
