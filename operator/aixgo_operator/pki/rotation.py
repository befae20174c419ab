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
from aixgo_operator.pki.inspect import fingerprints, parse_certificate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime, timedelta

#: Keys of Secret ``aixgo-ca`` beside those of ``InstallationAuthority``, there only during a change.
PHASE_KEY, SINCE_KEY = "phase", "phase-since"
NEXT_CERT_KEY, NEXT_PRIVATE_KEY_KEY, PREVIOUS_CERT_KEY = "next.crt", "next.key", "previous.crt"


class Phase(StrEnum):
    """Values of ``status.tls.trustBundlePhase``."""

    STABLE = "Stable"
    DISTRIBUTING = "Distributing"
    SIGNING = "Signing"
    PRUNING = "Pruning"


@dataclass(frozen=True, slots=True)
class Peer:
    """One pod, or one holder of a client certificate, as last seen. Fingerprints are SHA-256 in hex."""

    #: Authorities that it trusts. Empty: not known.
    trusts: frozenset[str]
    #: The authority that signed the certificate it shows. None: not known.
    signed_by: str | None


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

    @property
    def trust_bundle(self) -> bytes:
        """Everyone who has to be trusted in this phase, the signer first."""
        bundle = self.signer.cert_pem
        if self.phase is Phase.DISTRIBUTING and self.successor is not None:
            bundle += self.successor.cert_pem
        if self.phase is Phase.SIGNING and self.predecessor is not None:
            bundle += self.predecessor
        return bundle

    def installation(self) -> InstallationAuthority:
        """Return what certificates are issued from in this phase."""
        return InstallationAuthority(self.signer, self.trust_bundle)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> Rotation:
        """Read the Secret's (decoded) data; without a phase it is Stable. Raises ``PKIError``."""
        signer = InstallationAuthority.from_secret(data).signer
        try:
            phase = Phase(data.get(PHASE_KEY, b"Stable").decode())
            if phase is Phase.STABLE:
                return cls(phase, signer)
            since = dt.datetime.fromisoformat(data[SINCE_KEY].decode())
            if phase is Phase.DISTRIBUTING:
                successor = load_authority(data[NEXT_CERT_KEY], data[NEXT_PRIVATE_KEY_KEY])
                return cls(phase, signer, since, successor=successor)
            parse_certificate(data[PREVIOUS_CERT_KEY])
            return cls(phase, signer, since, predecessor=data[PREVIOUS_CERT_KEY])
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
    successor, predecessor = rotation.successor, rotation.predecessor
    if rotation.phase is Phase.DISTRIBUTING and successor is not None:
        mark = _mark(successor.cert_pem)
        if all(mark in peer.trusts for peer in peers):
            return Rotation(Phase.SIGNING, successor, now, predecessor=rotation.signer.cert_pem)
    if rotation.phase is Phase.SIGNING:
        mark = _mark(rotation.signer.cert_pem)
        if all(peer.signed_by == mark for peer in peers):
            return replace(rotation, phase=Phase.PRUNING, since=now)
    if rotation.phase is Phase.PRUNING and predecessor is not None:
        mark = _mark(predecessor)
        if all(peer.trusts and mark not in peer.trusts for peer in peers):
            return Rotation(Phase.STABLE, rotation.signer)
    return rotation


def _mark(pem: bytes) -> str:
    return fingerprints(pem)[0]
