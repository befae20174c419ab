"""Names of the keys.

All keys of a session carry its id as a hash tag: they are in one slot of a Redis Cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a session's keys end with, in the order in which the scripts take them.
PARTS = ("meta", "entries", "checkpoints", "turns", "commits", "events", "lease")


class Keys:
    """The keys below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def session(self, session_id: str) -> list[str]:
        """Return the keys of a session."""
        return [f"{self.prefix}{{{session_id}}}:{part}" for part in PARTS]

    def part(self, session_id: str, part: str) -> str:
        """Return one key of a session."""
        return f"{self.prefix}{{{session_id}}}:{part}"

    def agent(self, agent_name: str) -> str:
        """Return the index of an agent's sessions."""
        return f"{self.prefix}agent:{agent_name}"

    def user(self, agent_name: str, user_id: str) -> str:
        """Return the index of a user's sessions with an agent. Agent names have no slash."""
        return f"{self.prefix}user:{agent_name}/{user_id}"

    def agents(self) -> str:
        """Return the set of agents that have sessions."""
        return f"{self.prefix}agents"

    def indexes(self, agent_name: str, user_id: str) -> list[str]:
        """Return the indexes that a session is in, in the order in which the scripts take them."""
        return [self.agent(agent_name), self.user(agent_name, user_id), self.agents()]


def ranges(text: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a text such as ``0:3,7:12``: places in the list of entries, the last exclusive."""
    for part in text.split(",") if text else ():
        first, _, last = part.partition(":")
        yield int(first), int(last)


def ranges_text(nodes: list[int]) -> str:
    """Return ascending places as such a text."""
    found: list[list[int]] = []
    for node in nodes:
        if found and found[-1][1] == node:
            found[-1][1] = node + 1
        else:
            found.append([node, node + 1])
    return ",".join(f"{first}:{last}" for first, last in found)
