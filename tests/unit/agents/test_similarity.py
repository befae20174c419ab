"""How alike texts are, and which belong together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.properties import PATIENT

from aixgo.agents.similarity import Similarities, nearest

TEXTS = [
    "the price of copper rises",
    "copper: the price rises!",
    "rain is expected tomorrow",
    "tomorrow, rain is expected",
    "something else entirely",
]


def test_words_count_and_nothing_else() -> None:
    alike = Similarities(["Hello,   WORLD", "world hello", "goodbye"])
    assert alike.of(0, 1) == pytest.approx(1.0)
    assert alike.of(0, 2) == alike.of(2, 0) == 0.0


def test_clusters_hold_what_is_alike_and_are_named_by_what_is_theirs() -> None:
    clusters = Similarities(TEXTS).clusters(0.8)
    assert [cluster.members for cluster in clusters] == [(0, 1), (2, 3), (4,)]
    # Four common words of five and of four.
    assert clusters[0].average_similarity == pytest.approx(4 / math.sqrt(5 * 4))
    assert clusters[2].average_similarity == 1.0
    assert "copper" in clusters[0].concept
    assert set(clusters[1].concept.split()) <= {"rain", "is", "expected", "tomorrow"}


def test_the_threshold_decides() -> None:
    alike = Similarities(["a b c d", "a b c x", "a b y z"])
    assert len(alike.clusters(0.0)) == 1
    assert len(alike.clusters(0.6)) == 2
    assert len(alike.clusters(0.99)) == 3


def test_embeddings_replace_words_when_all_texts_have_one() -> None:
    texts = ["car", "automobile", "banana"]
    vectors = [[1.0, 0.1], [0.9, 0.2], [-0.5, 1.0]]
    assert [c.members for c in Similarities(texts, vectors).clusters(0.85)] == [(0, 1), (2,)]
    assert len(Similarities(texts, [vectors[0], None, vectors[2]]).clusters(0.85)) == 3
    assert len(Similarities(texts, [[1.0], [1.0, 2.0], [1.0]]).clusters(0.85)) == 3


def test_agreement_is_weighted() -> None:
    alike = Similarities(["x y", "x y", "z"])
    assert alike.agreement([1, 1, 1]) == pytest.approx(1 / 3)
    assert alike.agreement([1, 1, 0]) == pytest.approx(1.0)
    assert alike.agreement([0, 0, 0]) == 1.0
    assert Similarities(["only"]).agreement([1]) == 1.0


def test_members_of_a_cluster_agree() -> None:
    alike = Similarities(["a b c d", "a b c x"])
    assert alike.agreement([1, 1], alike.clusters(0.5)) == 1.0
    assert alike.agreement([1, 1]) == pytest.approx(0.75)


def test_the_nearest_come_first() -> None:
    assert nearest("will it rain", TEXTS, 2) == [2, 3]
    assert nearest("", TEXTS, 9) == [0, 1, 2, 3, 4]


words = st.lists(st.text("abc ", max_size=8), min_size=1, max_size=7)


@PATIENT
@given(words, st.floats(0, 1))
def test_every_text_is_in_exactly_one_cluster(texts: list[str], threshold: float) -> None:
    alike = Similarities(texts)
    clusters = alike.clusters(threshold)
    assert sorted(member for cluster in clusters for member in cluster.members) == list(range(len(texts)))
    for cluster in clusters:
        assert 0.0 <= cluster.average_similarity <= 1.0 + 1e-9
    assert 0.0 <= alike.agreement([1.0] * len(texts), clusters) <= 1.0


@PATIENT
@given(words)
def test_similarity_is_symmetric_and_equal_texts_are_equal(texts: list[str]) -> None:
    alike = Similarities([*texts, texts[0]])
    assert alike.of(0, len(texts)) == pytest.approx(1.0)
    for i in range(len(texts)):
        for j in range(len(texts)):
            assert alike.of(i, j) == alike.of(j, i)
            assert 0.0 <= alike.of(i, j) <= 1.0
