"""How alike texts are: the cosine of their term counts, or of embeddings that came with them.

Local, deterministic and without a model. Term counts see shared words, not shared meaning: paraphrases
without a common word are unlike. Whoever needs more sends embeddings.
"""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

P = TypeVar("P")

_WORD: Final = re.compile(r"\w+")
#: How many terms name a cluster.
_CONCEPT_TERMS: Final = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """Texts that are alike, as places in the list of all texts."""

    members: tuple[int, ...]
    #: Mean similarity of all pairs of members; 1 for a single member.
    average_similarity: float
    #: The terms that set the members apart from the other texts.
    concept: str


class Similarities:
    """The similarity of every pair of texts, each from 0 (nothing in common) to 1."""

    def __init__(self, texts: Sequence[str], embeddings: Sequence[Sequence[float] | None] = ()) -> None:
        """Compare texts, by their embeddings if each has one and all are of one length."""
        self._terms = [terms(text) for text in texts]
        vectors = [vector for vector in embeddings if vector]
        if len(vectors) == len(texts) and len({len(vector) for vector in vectors}) == 1:
            self._matrix = _pairs([_unit(vector) for vector in vectors], _dot)
        else:
            self._matrix = _pairs([_unit_terms(counts) for counts in self._terms], _dot_terms)

    def __len__(self) -> int:
        return len(self._terms)

    def of(self, first: int, second: int) -> float:
        """Return the similarity of two texts."""
        return self._matrix[max(first, second)][min(first, second)]

    def agreement(self, weights: Sequence[float], clusters: Sequence[Cluster] = ()) -> float:
        """Return the mean similarity of all pairs, weighted; 1 for less than two texts.

        Texts of one cluster count as equal.
        """
        cluster_of = {member: index for index, cluster in enumerate(clusters) for member in cluster.members}
        total = alike = 0.0
        for i in range(len(self)):
            for j in range(i):
                weight = weights[i] * weights[j]
                same = i in cluster_of and cluster_of[i] == cluster_of.get(j)
                total += weight
                alike += weight * (1.0 if same else self.of(i, j))
        return round(min(1.0, alike / total), 9) if total > 0 else 1.0

    def clusters(self, threshold: float) -> list[Cluster]:
        """Group the texts: each joins the first group whose members it resembles by ``threshold`` on average.

        Every text is in exactly one group; groups are in the order of their first members.
        """
        groups: list[list[int]] = []
        for text in range(len(self)):
            for group in groups:
                if sum(self.of(text, member) for member in group) / len(group) >= threshold:
                    group.append(text)
                    break
            else:
                groups.append([text])
        everywhere = Counter(term for counts in self._terms for term in counts)
        return [
            Cluster(tuple(group), self._inside(group), self._concept(group, everywhere)) for group in groups
        ]

    def _inside(self, group: Sequence[int]) -> float:
        pairs = [self.of(i, j) for place, i in enumerate(group) for j in group[:place]]
        return sum(pairs) / len(pairs) if pairs else 1.0

    def _concept(self, group: Sequence[int], everywhere: Counter[str]) -> str:
        inside = Counter(term for text in group for term in self._terms[text])
        others = len(self) - len(group)

        def distinctive(term: str) -> float:
            outside = everywhere[term] - inside[term]
            return inside[term] / len(group) - (outside / others if others else 0.0)

        ranked = sorted(inside, key=lambda term: (-round(distinctive(term), 9), -len(term), term))
        return " ".join(ranked[:_CONCEPT_TERMS])


def terms(text: str) -> Counter[str]:
    """Return how often each word is in a text; case does not count."""
    return Counter(_WORD.findall(text.casefold()))


def nearest(query: str, texts: Sequence[str], count: int) -> list[int]:
    """Return the places of the ``count`` texts that are most like ``query``, the nearest first."""
    wanted = _unit_terms(terms(query))
    alike = [_fraction(_dot_terms(wanted, _unit_terms(terms(text)))) for text in texts]
    return sorted(range(len(texts)), key=lambda place: (-alike[place], place))[:count]


def _pairs(points: Sequence[P], dot: Callable[[P, P], float]) -> list[list[float]]:
    """Return the lower half of the matrix of all products. Equal points, empty ones too, are alike."""
    return [
        [1.0 if point == other else _fraction(dot(point, other)) for other in points[: place + 1]]
        for place, point in enumerate(points)
    ]


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length > 0 else [0.0] * len(vector)


def _unit_terms(counts: Mapping[str, int]) -> dict[str, float]:
    length = math.hypot(*counts.values())
    return {term: count / length for term, count in counts.items()}


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return float(sum(map(operator.mul, first, second)))


def _dot_terms(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    if len(first) > len(second):
        first, second = second, first
    return sum(value * second.get(term, 0.0) for term, value in first.items())


def _fraction(value: float) -> float:
    # Rounded, so that equal directions are exactly 1.
    return float(min(1.0, max(0.0, round(value, 9))))
