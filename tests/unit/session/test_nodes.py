"""The messages of a log in memory: it makes no difference whether they come one by one or several at once."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from aixgo.identifiers import new_id
from aixgo.session.nodes import ROOT, NodeTable

_NIL = "00000000-0000-0000-0000-000000000000"
#: Of each commit how many messages, whether it goes on at an older one, and what their ids are like.
_COMMITS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.one_of(st.none(), st.integers(0, 1000)),
        st.sampled_from(["uuid", "text", "nil", "upper"]),
    ),
    max_size=12,
)


def _id(kind: str, number: int) -> str:
    own = {"text": f"m-{number}", "nil": _NIL, "upper": new_id().upper()}
    return new_id() if kind == "uuid" or number % 3 else own[kind]


def _seen(table: NodeTable) -> list[object]:
    nodes = range(len(table))
    return [
        [(table.at(node), table.entry_id(node), table.depth(node), table.chain(node)) for node in nodes],
        [table.place(node) for node in nodes],
        [table.find(table.entry_id(node)) for node in nodes],
        [table.runs(node, limit) for node in nodes for limit in (None, 1, 3)],
        table.ends(),
    ]


@given(_COMMITS, st.booleans())
def test_messages_of_a_commit_are_what_they_are_one_by_one(
    commits: list[tuple[int, int | None, str]], resumed: bool
) -> None:
    several, single, asked = NodeTable(), NodeTable(), NodeTable()
    tables, leaf, place = (several, single, asked), ROOT, 0
    if resumed:
        first = new_id()
        for table in tables:
            leaf = table.resume(first, 40, "ab" * 20, 7, 50)
    for count, older, kind in commits:
        if older is not None:
            leaf = older % (len(single) + 1) - 1
        added = []
        for number in range(count):
            chain = hashlib.sha1(bytes([place % 256]), usedforsecurity=False).hexdigest()
            added.append((_id(kind, number), place, place + 10 + number, chain))
            place += 10 + number
        begin = leaf
        assert several.follow(begin, added) == asked.follow(begin, added)
        for entry_id, start, end, chain in added:
            leaf = single.add(entry_id, leaf, start, end, chain)
        assert several.at(leaf) == single.at(leaf)
        assert _seen(asked) == _seen(single)  # also while the newest ones are not packed yet
    assert _seen(several) == _seen(single)
