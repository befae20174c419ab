"""The short form of tests/soak/runtime_rotation.py."""

from __future__ import annotations

from tests.soak.runtime_rotation import Plan, soak

#: Too short to say much about growth: caches are still being filled.
SHORT = Plan(16, rotate_every=7, kill_every=5, clients=2, memory=60, descriptors=30)


async def test_no_call_and_no_turn_is_lost_while_certificates_cas_and_replicas_change() -> None:
    report = await soak(SHORT, seed=1)
    assert "2 new CAs" in report
    assert "replicas killed: 2" in report
