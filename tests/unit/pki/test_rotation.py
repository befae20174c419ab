"""Changing the authority: at every moment every pair of peers accepts each other, also over a crash."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aixgo_operator.pki.authority import InstallationAuthority, create_authority
from aixgo_operator.pki.errors import PKIError
from aixgo_operator.pki.inspect import fingerprints, signed_by
from aixgo_operator.pki.issue import LeafRequest, issue_leaf
from aixgo_operator.pki.rotation import Peer, Phase, Rotation, advance, begin, change_due_at

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
YEAR = 365 * dt.timedelta(days=1)
NO_OVERLAP = dt.timedelta(0)
CA = create_authority(now=NOW, duration=YEAR)
STABLE = Rotation(Phase.STABLE, CA)
REQUEST = LeafRequest("pod", dt.timedelta(days=1), dns_names=("pod",))
UNKNOWN = Peer(frozenset(), None)


@dataclass
class Pod:
    """A pod reads what the operator wrote whenever it likes."""

    leaf: bytes
    bundle: bytes

    def read(self, rotation: Rotation) -> None:
        """Both files change together: Kubernetes swaps the whole folder."""
        installation = rotation.installation()
        self.leaf = issue_leaf(REQUEST, installation.signer, now=NOW).cert_pem
        self.bundle = installation.trust_bundle

    def seen(self) -> Peer:
        signer = signed_by(self.leaf, self.bundle)
        return Peer(frozenset(fingerprints(self.bundle)), signer.sha256_fingerprint if signer else None)

    def accepts(self, other: Pod) -> bool:
        return signed_by(other.leaf, self.bundle) is not None


def new_pod(rotation: Rotation) -> Pod:
    pod = Pod(b"", b"")
    pod.read(rotation)
    return pod


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["look", "crash", "all", 0, 1, 2]), max_size=40))
def test_everyone_accepts_everyone_at_every_moment(events: list[str | int]) -> None:
    """O16: in every order of steps and crashes."""
    rotation = begin(STABLE, now=NOW, duration=YEAR)
    pods = [new_pod(STABLE) for _ in range(3)]
    for event in events:
        if event == "look":
            rotation = advance(rotation, [pod.seen() for pod in pods], now=NOW, overlap=NO_OVERLAP)
        elif event == "crash":
            rotation = Rotation.from_secret(rotation.to_secret())
        else:
            for pod in pods if event == "all" else [pods[int(event)]]:
                pod.read(rotation)
        everyone = [*pods, new_pod(rotation)]
        assert all(a.accepts(b) for a in everyone for b in everyone)


def test_a_whole_change_ends_with_the_new_authority_alone() -> None:
    rotation, pod, phases = begin(STABLE, now=NOW, duration=YEAR), new_pod(STABLE), []
    for _ in range(10):
        phases.append(rotation.phase)
        pod.read(rotation)
        rotation = advance(rotation, [pod.seen()], now=NOW, overlap=NO_OVERLAP)
        if rotation.phase is Phase.STABLE:
            break
    assert phases == [Phase.DISTRIBUTING, Phase.SIGNING, Phase.PRUNING]
    assert fingerprints(rotation.trust_bundle) == fingerprints(rotation.signer.cert_pem)
    assert fingerprints(rotation.trust_bundle) != fingerprints(CA.cert_pem)
    assert set(rotation.to_secret()) == {"ca.crt", "ca.key", "trust-bundle.crt"}


def stages() -> list[Rotation]:
    """One rotation in each phase of a change."""
    found = [begin(STABLE, now=NOW, duration=YEAR)]
    for _ in range(2):
        found.append(advance(found[-1], [], now=NOW, overlap=NO_OVERLAP))
    return found


EACH_STAGE = pytest.mark.parametrize("rotation", stages(), ids=lambda rotation: rotation.phase)


@EACH_STAGE
def test_one_pod_that_cannot_be_asked_holds_the_change_up(rotation: Rotation) -> None:
    ready = [new_pod(rotation).seen()] * 3
    assert advance(rotation, ready, now=NOW, overlap=NO_OVERLAP) != rotation
    assert advance(rotation, [*ready, UNKNOWN], now=NOW, overlap=NO_OVERLAP) == rotation


@EACH_STAGE
def test_each_phase_lasts_at_least_the_overlap(rotation: Rotation) -> None:
    hour = dt.timedelta(hours=1)
    assert advance(rotation, [], now=NOW + hour - dt.timedelta(seconds=1), overlap=hour) == rotation
    assert advance(rotation, [], now=NOW + hour, overlap=hour) != rotation


@EACH_STAGE
def test_each_phase_survives_its_secret_and_names_no_key(rotation: Rotation) -> None:
    assert Rotation.from_secret(rotation.to_secret()) == rotation
    assert InstallationAuthority.from_secret(rotation.to_secret()) == rotation.installation()
    assert "PRIVATE" not in repr(rotation)


@EACH_STAGE
def test_a_second_beginning_changes_nothing(rotation: Rotation) -> None:
    assert begin(rotation, now=NOW, duration=YEAR) == rotation


def test_without_a_beginning_nothing_changes() -> None:
    assert advance(STABLE, [], now=NOW + YEAR, overlap=NO_OVERLAP) == STABLE


def test_a_secret_of_before_is_stable() -> None:
    assert Rotation.from_secret(InstallationAuthority(CA, CA.cert_pem).to_secret()) == STABLE


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"phase": b"Unheard"}, "cannot be read"),
        ({"phase-since": b"yesterday"}, "cannot be read"),
        ({"phase-since": None}, "phase-since is missing"),
        ({"next.key": None}, "next.key is missing"),
        ({"next.key": CA.key_pem}, "does not belong"),
    ],
)
def test_a_damaged_secret_is_an_error(change: dict[str, bytes | None], text: str) -> None:
    data = begin(STABLE, now=NOW, duration=YEAR).to_secret() | change
    with pytest.raises(PKIError, match=text):
        Rotation.from_secret({key: value for key, value in data.items() if value is not None})


def test_a_change_is_due_after_two_thirds_of_the_authority_s_life() -> None:
    assert change_due_at(CA) == NOW + YEAR * 2 / 3
