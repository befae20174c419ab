"""What a PEM text says: certificates, bundles, whether a key belongs to a certificate, who signed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from aixgo_operator.pki.errors import UnparsableError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

#: Longest chain from a leaf to the trust bundle.
_MAX_CHAIN = 8


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What the operator wants to know of a certificate. Times are aware, in UTC."""

    #: In lower-case hexadecimal without leading zeros, as the runtime reports it.
    serial_number: str
    #: SHA-256 of the DER form, in lower-case hexadecimal.
    sha256_fingerprint: str
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    is_ca: bool
    #: Whether the extended key usage lets it serve, and lets it call. Without that extension it may do both.
    server: bool
    client: bool


def parse_certificate(pem: bytes) -> CertificateInfo:
    """Return what the first certificate of ``pem`` says: the leaf of a chain. Raises ``UnparsableError``."""
    return _info(_load(pem)[0])


def parse_bundle(pem: bytes) -> tuple[CertificateInfo, ...]:
    """Return what every certificate of ``pem`` says, in order. Raises ``UnparsableError``, also for none."""
    return tuple(_info(certificate) for certificate in _load(pem))


def fingerprints(pem: bytes) -> tuple[str, ...]:
    """Return the SHA-256 of every certificate of ``pem``, in order. Raises ``UnparsableError``."""
    return tuple(certificate.sha256_fingerprint for certificate in parse_bundle(pem))


def remaining(pem: bytes, known: Collection[str]) -> bytes:
    """Return the certificates of ``pem`` whose SHA-256 is not known. Raises ``UnparsableError``."""
    return b"".join(
        certificate.public_bytes(serialization.Encoding.PEM)
        for certificate in _load(pem)
        if certificate.fingerprint(hashes.SHA256()).hex() not in known
    )


def key_matches(cert_pem: bytes, key_pem: bytes) -> bool:
    """Tell whether the private key belongs to the first certificate. Raises ``UnparsableError``."""
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    # A key with a password gives TypeError.
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnparsableError("the private key cannot be read") from error
    return _spki(key.public_key()) == _spki(_load(cert_pem)[0].public_key())


def signed_by(cert_pem: bytes, bundle_pem: bytes) -> CertificateInfo | None:
    """Return the certificate of the bundle that vouches for the leaf, or None if none does.

    Further certificates of ``cert_pem`` are intermediates. Dates do not count.
    Raises ``UnparsableError``.
    """
    leaf, *intermediates = _load(cert_pem)
    anchors = _load(bundle_pem)
    current = leaf
    for _ in range(_MAX_CHAIN):
        anchor = _issuer(current, anchors)
        if anchor is not None:
            return _info(anchor)
        issuer = _issuer(current, intermediates)
        if issuer is None:
            return None
        intermediates.remove(issuer)
        current = issuer
    return None


def _issuer(certificate: x509.Certificate, candidates: list[x509.Certificate]) -> x509.Certificate | None:
    for candidate in candidates:
        if not _info(candidate).is_ca:
            continue
        try:
            certificate.verify_directly_issued_by(candidate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return candidate
    return None


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UnparsableError("the certificate cannot be read") from error


def _spki(key: CertificatePublicKeyTypes | PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _info(certificate: x509.Certificate) -> CertificateInfo:
    try:
        extensions = certificate.extensions
        names = _extension(extensions, x509.SubjectAlternativeName)
        constraints = _extension(extensions, x509.BasicConstraints)
        usage = _extension(extensions, x509.ExtendedKeyUsage)
        return CertificateInfo(
            serial_number=f"{certificate.serial_number:x}",
            sha256_fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
            uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
            is_ca=constraints is not None and constraints.ca,
            server=usage is None or ExtendedKeyUsageOID.SERVER_AUTH in usage,
            client=usage is None or ExtendedKeyUsageOID.CLIENT_AUTH in usage,
        )
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise UnparsableError("the certificate has parts that cannot be read") from error


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
