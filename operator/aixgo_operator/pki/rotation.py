"""Changing the certificate authority without a refused call: a state machine over data that one Secret keeps.

============  =====  ==========  =========================================
phase         signs  is trusted  goes on when
============  =====  ==========  =========================================
Stable        A      A           a change begins
Distributing  A      A, B        everyone trusts B
Signing       B      B, A        everyone shows a certificate of B
Pruning       B      B           nobody trusts A any more: Stable, with B
============  =====  ==========  =========================================

Nobody ever meets a certificate of an authority that it does not trust yet or does not trust any more. Every
step is one write of the Secret; a crash between two steps resumes where it was. A pod that cannot be asked
holds the change up: that costs nothing, going on would cost its calls.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from aixgo_operator.pki.authority import (
    BACKDATE,
    Authority,
    InstallationAuthority,
    create_authority,
    load_authority,
)
from aixgo_operator.pki.errors import PKIError
from aixgo_operator.pki.inspect import fingerprints, parse_certificate, remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime, timedelta

#: Keys of Secret ``aixgo-ca`` beside those of ``InstallationAuthority``, there only during a change.
PHASE_KEY, SINCE_KEY = "phase", "phase-since"
NEXT_CERT_KEY, NEXT_PRIVATE_KEY_KEY, PREVIOUS_CERT_KEY = "next.crt", "next.key", "previous.crt"

#: With less than this part of the old authority's life left, pods are not waited for any more.
LAST_PART_OF_LIFE = 10


class Phase(StrEnum):
    """Values of ``status.tls.trustBundlePhase``."""

    STABLE = "Stable"
    DISTRIBUTING = "Distributing"
    SIGNING = "Signing"
    PRUNING = "Pruning"


@dataclass(frozen=True, slots=True)
class Peer:
    """One pod, or one holder of a client certificate, as last seen. Fingerprints are SHA-256 in hex."""

    #: Authorities that it trusts. Empty: not known. None: it checks nobody's certificate.
    trusts: frozenset[str] | None
    #: The authority that signed the certificate it shows. None: not known.
    signed_by: str | None
    #: Whether it shows a certificate at all.
    shows: bool = True


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where the change is."""

    phase: Phase
    signer: Authority
    #: Beginning of the phase, an aware time; None while Stable.
    since: datetime | None = None
    #: Distributing: who will sign next.
    successor: Authority | None = None
    #: Signing and Pruning: the certificate (PEM) of who signed before.
    predecessor: bytes | None = None
    #: Further certificates (PEM) that somebody put into the trust bundle: they stay in it.
    others: bytes = b""

    @property
    def trust_bundle(self) -> bytes:
        """Everyone who has to be trusted in this phase, the signer first."""
        bundle = self.signer.cert_pem
        if self.phase is Phase.DISTRIBUTING and self.successor is not None:
            bundle += self.successor.cert_pem
        if self.phase is Phase.SIGNING and self.predecessor is not None:
            bundle += self.predecessor
        return bundle + self.others

    def installation(self) -> InstallationAuthority:
        """Return what certificates are issued from in this phase."""
        return InstallationAuthority(self.signer, self.trust_bundle)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> Rotation:
        """Read the Secret's (decoded) data; without a phase it is Stable. Raises ``PKIError``."""
        stored = InstallationAuthority.from_secret(data)
        signer, bundle = stored.signer, stored.trust_bundle
        try:
            phase = Phase(data.get(PHASE_KEY, b"Stable").decode())
            if phase is Phase.STABLE:
                return cls(phase, signer, others=without(bundle, signer.cert_pem))
            since = dt.datetime.fromisoformat(data[SINCE_KEY].decode())
            if phase is Phase.DISTRIBUTING:
                successor = load_authority(data[NEXT_CERT_KEY], data[NEXT_PRIVATE_KEY_KEY])
                others = without(bundle, signer.cert_pem, successor.cert_pem)
                return cls(phase, signer, since, successor=successor, others=others)
            predecessor = data[PREVIOUS_CERT_KEY]
            others = without(bundle, signer.cert_pem, predecessor)
            return cls(phase, signer, since, predecessor=predecessor, others=others)
        except KeyError as error:
            raise PKIError(f"key {error.args[0]} is missing") from error
        except ValueError as error:
            raise PKIError("the phase of the authority's change cannot be read") from error

    def to_secret(self) -> dict[str, bytes]:
        """Return the whole of the Secret's (decoded) data: keys that are not in it have to go."""
        data = self.installation().to_secret()
        if self.since is not None:
            data |= {PHASE_KEY: self.phase.encode(), SINCE_KEY: self.since.isoformat().encode()}
        if self.successor is not None:
            data |= {NEXT_CERT_KEY: self.successor.cert_pem, NEXT_PRIVATE_KEY_KEY: self.successor.key_pem}
        if self.predecessor is not None:
            data[PREVIOUS_CERT_KEY] = self.predecessor
        return data


def change_due_at(authority: Authority) -> datetime:
    """Return when two thirds of an authority's life are over."""
    certificate = parse_certificate(authority.cert_pem)
    issued = min(certificate.not_before + BACKDATE, certificate.not_after)
    return issued + (certificate.not_after - issued) * 2 / 3


def begin(rotation: Rotation, *, now: datetime, duration: timedelta) -> Rotation:
    """Begin a change with a new authority that lives for ``duration``. During a change: no effect."""
    if rotation.phase is not Phase.STABLE:
        return rotation
    successor = create_authority(now=now, duration=duration)
    return replace(rotation, phase=Phase.DISTRIBUTING, since=now, successor=successor)


def advance(rotation: Rotation, peers: Collection[Peer], *, now: datetime, overlap: timedelta) -> Rotation:
    """Return the next step if everyone is ready for it, else the same.

    Args:
        rotation: Where the change is.
        peers: Everyone who calls or is called, each pod on its own. One that could not be asked is a ``Peer``
            that is not known, never left out.
        now: An aware time.
        overlap: Shortest time of each phase, for holders that cannot be asked, such as clients outside the
            cluster: how long they may take to fetch their renewed Secret.
    """
    if rotation.since is None or now < rotation.since + overlap:
        return rotation
    is_behind = behind(rotation)
    if any(is_behind(peer) for peer in peers):
        return rotation
    if rotation.phase is Phase.DISTRIBUTING and rotation.successor is not None:
        return replace(
            rotation,
            phase=Phase.SIGNING,
            signer=rotation.successor,
            since=now,
            successor=None,
            predecessor=rotation.signer.cert_pem,
        )
    if rotation.phase is Phase.SIGNING:
        return replace(rotation, phase=Phase.PRUNING, since=now)
    return Rotation(Phase.STABLE, rotation.signer, others=rotation.others)


def behind(rotation: Rotation) -> Callable[[Peer], bool]:
    """Return what tells whether a peer is not ready for the step after this phase."""
    if rotation.phase is Phase.DISTRIBUTING and rotation.successor is not None:
        wanted = _mark(rotation.successor.cert_pem)
        return lambda peer: peer.trusts is not None and wanted not in peer.trusts
    if rotation.phase is Phase.SIGNING:
        signer = _mark(rotation.signer.cert_pem)
        return lambda peer: peer.shows and peer.signed_by != signer
    if rotation.phase is Phase.PRUNING and rotation.predecessor is not None:
        old = _mark(rotation.predecessor)
        return lambda peer: peer.trusts is not None and (not peer.trusts or old in peer.trusts)
    return lambda peer: False


def may_wait(rotation: Rotation, *, now: datetime) -> bool:
    """Whether there is time to wait for a pod: the old authority has a tenth of its life left, or more."""
    old = rotation.signer.cert_pem if rotation.predecessor is None else rotation.predecessor
    certificate = parse_certificate(old)
    life = certificate.not_after - certificate.not_before
    return now < certificate.not_after - life / LAST_PART_OF_LIFE


def without(bundle: bytes, *certificates: bytes) -> bytes:
    """Return the certificates of a bundle that are none of these. Raises ``UnparsableError``."""
    return remaining(bundle, {_mark(certificate) for certificate in certificates})


def _mark(pem: bytes) -> str:
    return fingerprints(pem)[0]
