"""Leases inside one process."""

from __future__ import annotations

from aixgo.session.leases import LocalLeases


async def test_tokens_of_two_processes_are_never_the_same() -> None:
    """A shared store fences with them: with equal ones two replicas would hold one session at once."""
    first, second = LocalLeases(), LocalLeases()
    tokens = {(await leases.acquire(str(n))).token for leases in (first, second) for n in range(10)}
    assert len(tokens) == 20
