"""What a certificate, its key and its trust bundle must be like before they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from aixgo.contract import TLS_CA, TLS_CERT, TLS_KEY
from aixgo.rpc.certificates import CertificateBundle, InvalidCertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aixgo.rpc.certificates import Purpose

#: A chain longer than this is refused.
MAX_CHAIN = 8
USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def checked(
    certificate_pem: bytes, key_pem: bytes, ca_pem: bytes, purpose: Purpose, now: datetime
) -> CertificateBundle:
    """Return the bundle if it can be used. See :func:`aixgo.rpc.certificates.check_bundle`."""
    chain = _certificates(certificate_pem, TLS_CERT)
    authorities = _certificates(ca_pem, TLS_CA)
    leaf = chain[0]
    _check_key(leaf, key_pem)
    _check_dates(leaf, now, "certificate")
    _check_usage(leaf, purpose)
    _check_chain(leaf, chain[1:], authorities, now)
    return CertificateBundle(
        certificate_pem,
        key_pem,
        ca_pem,
        serial_number=f"{leaf.serial_number:x}",
        sha256_fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        trust_bundle=tuple(ca.fingerprint(hashes.SHA256()).hex() for ca in authorities),
    )


def _certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidCertificateError(f"{name} holds no readable certificate") from error


def _check_key(leaf: x509.Certificate, key_pem: bytes) -> None:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidCertificateError(f"{TLS_KEY} holds no readable private key") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise InvalidCertificateError("the private key does not belong to the certificate")


def _check_dates(certificate: x509.Certificate, now: datetime, what: str) -> None:
    if now > certificate.not_valid_after_utc:
        raise InvalidCertificateError(f"the {what} expired on {certificate.not_valid_after_utc.isoformat()}")
    if now < certificate.not_valid_before_utc:
        raise InvalidCertificateError(
            f"the {what} is valid from {certificate.not_valid_before_utc.isoformat()} only"
        )


def _check_usage(leaf: x509.Certificate, purpose: Purpose) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError as error:
        raise InvalidCertificateError("the certificate has malformed extensions") from error
    if not {USAGES[purpose], ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usages):
        raise InvalidCertificateError(f"the certificate is not for a {purpose} (extended key usage)")


def _check_chain(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    """Walk from the leaf to a trusted CA.

    What gRPC checks in a handshake is checked here before it can break one.
    """
    current = leaf
    for _ in range(MAX_CHAIN):
        if any(_issued(authority, current, now) for authority in authorities):
            return
        issuer = next((candidate for candidate in intermediates if _issued(candidate, current, now)), None)
        if issuer is None:
            break
        current = issuer
    raise InvalidCertificateError(f"the certificate is not signed by a valid CA of {TLS_CA}")


def _issued(issuer: x509.Certificate, subject: x509.Certificate, now: datetime) -> bool:
    if issuer == subject and subject.subject == subject.issuer:
        return issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc
    if not issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc:
        return False
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        subject.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return constraints.ca
