"""Whether a certificate stays or a new one has to be issued: a decision without a clock and without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from aixgo_operator.api.constants import TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY
from aixgo_operator.pki.authority import BACKDATE
from aixgo_operator.pki.errors import UnparsableError
from aixgo_operator.pki.inspect import CertificateInfo, key_matches, parse_certificate, signed_by

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aixgo_operator.pki.issue import LeafRequest


class IssueReason(StrEnum):
    """Why a new certificate has to be issued."""

    NOT_ISSUED = "NotIssued"
    UNPARSABLE = "Unparsable"
    KEY_MISMATCH = "KeyMismatch"
    CHAIN_INVALID = "ChainInvalid"
    SAN_MISMATCH = "SANMismatch"
    USAGE_MISMATCH = "UsageMismatch"
    NOT_YET_VALID = "NotYetValid"
    EXPIRED = "Expired"
    DURATION_CHANGED = "DurationChanged"
    RENEWAL_DUE = "RenewalDue"


@dataclass(frozen=True, slots=True)
class Keep:
    """The certificate is as it should be; look again at ``next_check_at``."""

    certificate: CertificateInfo
    next_check_at: datetime


@dataclass(frozen=True, slots=True)
class Issue:
    """A new certificate has to be issued."""

    reason: IssueReason


def decide(
    current: Mapping[str, bytes] | None, request: LeafRequest, signer_pem: bytes, *, now: datetime
) -> Keep | Issue:
    """Decide about the certificate in a Secret.

    Args:
        current: The Secret's (decoded) data; None if there is no Secret.
        request: What the certificate has to say.
        signer_pem: The CA certificate that signs at present. A leaf of any other has to be replaced.
        now: An aware time.

    Raises:
        UnparsableError: ``signer_pem`` is no certificate.
    """
    signer = parse_certificate(signer_pem)
    cert_pem, key_pem = ((current or {}).get(key, b"") for key in (TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY))
    if not (cert_pem and key_pem):
        return Issue(IssueReason.NOT_ISSUED)
    try:
        certificate = parse_certificate(cert_pem)
        own_key = key_matches(cert_pem, key_pem)
        trusted = signed_by(cert_pem, signer_pem) is not None
    except UnparsableError:
        return Issue(IssueReason.UNPARSABLE)
    if not own_key:
        return Issue(IssueReason.KEY_MISMATCH)
    if not trusted:
        return Issue(IssueReason.CHAIN_INVALID)
    reason = _differs(certificate, request, signer.not_after, now)
    if reason is not None:
        return Issue(reason)
    due = renewal_due_at(certificate)
    # A leaf that ends with its authority is not improved by another one of the same authority.
    if now >= due and certificate.not_after < signer.not_after:
        return Issue(IssueReason.RENEWAL_DUE)
    return Keep(certificate, due if now < due else certificate.not_after)


def renewal_due_at(certificate: CertificateInfo) -> datetime:
    """Return when two thirds of the certificate's life are over, counted from its issue."""
    issued = min(certificate.not_before + BACKDATE, certificate.not_after)
    return issued + (certificate.not_after - issued) * 2 / 3


def _differs(
    certificate: CertificateInfo, request: LeafRequest, authority_not_after: datetime, now: datetime
) -> IssueReason | None:
    if set(certificate.dns_names) != set(request.dns_names) or set(certificate.uris) != set(request.uris):
        return IssueReason.SAN_MISMATCH
    if (certificate.server, certificate.client) != (request.server, request.client):
        return IssueReason.USAGE_MISMATCH
    if now < certificate.not_before:
        return IssueReason.NOT_YET_VALID
    if now >= certificate.not_after:
        return IssueReason.EXPIRED
    # Capped by the authority's end, the life is not what was asked for, and no other leaf would be better.
    wanted = certificate.not_before + BACKDATE + request.duration
    if certificate.not_after != min(wanted, authority_not_after):
        return IssueReason.DURATION_CHANGED
    return None
