"""Votes on contents: deterministic, without a model (Go: internal/aggregation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: What an input without a confidence counts (Go).
DEFAULT_CONFIDENCE: Final = 0.5


class VoteError(ValueError):
    """A vote without a result; the text says why."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote."""

    source: str
    content: str
    #: From 0 to 1.
    confidence: float
    #: What it counts in a weighted vote.
    weight: float
    #: Ballots of the same option are for the same thing.
    option: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a vote decided (Go: VotingResult)."""

    content: str
    #: The winner's share, from 0 to 1.
    agreement: float
    explanation: str


def normalized(content: str) -> str:
    """Return a content without what does not count in a comparison: case and the amount of white space."""
    return " ".join(content.casefold().split())


def majority(ballots: Sequence[Ballot], *, ties_by_weight: bool = False) -> Verdict:
    """Return the option with the most ballots.

    Ties go to the highest average confidence (or the highest weight), then to the first in the alphabet.

    Raises:
        VoteError: there are no ballots.
    """
    options = _options(ballots)

    def strength(option: str) -> tuple[float, float]:
        mine = options[option]
        second = _sum(mine, _weight) if ties_by_weight else _sum(mine, _confidence) / len(mine)
        return len(mine), round(second, 9)

    winner = _best(options, strength)
    mine = options[winner]
    text = f"Majority vote: {len(mine)}/{len(ballots)} agents agreed. Sources: {_names(mine)}"
    tied = sum(len(other) == len(mine) for other in options.values())
    if tied > 1:
        text += f" (broke {tied}-way tie by {'weight' if ties_by_weight else 'confidence'})"
    return Verdict(mine[0].content, len(mine) / len(ballots), text)


def unanimous(ballots: Sequence[Ballot]) -> Verdict:
    """Return the option that all ballots are for.

    Raises:
        VoteError: there are no ballots, or not all are for the same.
    """
    options = _options(ballots)
    first = ballots[0]
    for ballot in ballots:
        if ballot.option != first.option:
            raise VoteError(
                f"unanimous vote failed: {ballot.source} disagrees with {first.source}"
                f" (found {len(options)} different opinions)"
            )
    text = f"All {len(ballots)} agents agreed unanimously. Sources: {_names(ballots)}"
    return Verdict(first.content, 1.0, text)


def weighted(ballots: Sequence[Ballot]) -> Verdict:
    """Return the option with the highest sum of weights; ties go to the first in the alphabet.

    If nothing has a weight, every ballot counts the same.

    Raises:
        VoteError: there are no ballots.
    """
    options = _options(ballots)
    weight: Callable[[Ballot], float] = _weight if _sum(ballots, _weight) > 0 else _one
    winner = _best(options, lambda option: (round(_sum(options[option], weight), 9),))
    mine = options[winner]
    won, total = _sum(mine, weight), _sum(ballots, weight)
    sources = ", ".join(f"{ballot.source}({weight(ballot):.2f})" for ballot in mine)
    text = f"Weighted vote: {won:.2f}/{total:.2f} ({won / total:.0%} of total weight). Sources: {sources}"
    return Verdict(mine[0].content, min(1.0, won / total), text)


def most_confident(ballots: Sequence[Ballot]) -> Verdict:
    """Return the ballot with the highest confidence; ties go to the first source in the alphabet.

    Its agreement is its option's share of all confidence.

    Raises:
        VoteError: there are no ballots.
    """
    options = _options(ballots)
    best = min(ballots, key=lambda ballot: (-ballot.confidence, ballot.source, ballot.option))
    total = _sum(ballots, _confidence)
    agreement = min(1.0, _sum(options[best.option], _confidence) / total) if total > 0 else 1.0
    text = f"Confidence vote: {best.source} has the highest confidence, {best.confidence:.2f}"
    tied = sum(ballot.confidence == best.confidence for ballot in ballots)
    if tied > 1:
        text += f" (broke {tied}-way tie by name)"
    return Verdict(best.content, agreement, text)


def _options(ballots: Sequence[Ballot]) -> dict[str, list[Ballot]]:
    if not ballots:
        raise VoteError("no inputs to vote on")
    options: dict[str, list[Ballot]] = {}
    for ballot in ballots:
        options.setdefault(ballot.option, []).append(ballot)
    return options


def _best(options: dict[str, list[Ballot]], strength: Callable[[str], tuple[float, ...]]) -> str:
    return min(options, key=lambda option: (*(-value for value in strength(option)), option))


def _names(ballots: Sequence[Ballot]) -> str:
    return ", ".join(ballot.source for ballot in ballots)


def _sum(ballots: Sequence[Ballot], value: Callable[[Ballot], float]) -> float:
    return sum(value(ballot) for ballot in ballots)


def _weight(ballot: Ballot) -> float:
    return ballot.weight


def _confidence(ballot: Ballot) -> float:
    return ballot.confidence


def _one(_: Ballot) -> float:
    return 1.0
