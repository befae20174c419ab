"""Issuing leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aixgo_operator.pki.authority import BACKDATE, Authority, private_key_pem
from aixgo_operator.pki.errors import AuthorityExpiredError, UnparsableError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

#: Longest common name that X.509 allows. Peers look at the SANs only; the name is for people.
_MAX_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What a certificate has to say. The order of the names does not matter."""

    common_name: str
    duration: timedelta
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    #: Whether it may serve, and whether it may call.
    server: bool = True
    client: bool = True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A leaf certificate and its private key, both PEM."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)


def issue_leaf(request: LeafRequest, authority: Authority, *, now: datetime) -> KeyPair:
    """Issue a certificate with a new key (ECDSA P-256). It never outlives the authority.

    Raises:
        AuthorityExpiredError: the authority has expired.
        ValueError: the request has neither a DNS name nor a URI, or no usage, or an impossible name.
    """
    if not (request.dns_names or request.uris):
        raise ValueError("a certificate needs a DNS name or a URI")
    usages = _usages(request)
    if not usages:
        raise ValueError("a certificate needs a usage")
    now = now.replace(microsecond=0)  # X.509 has whole seconds
    issuer, issuer_key = _load_authority(authority)
    if now >= issuer.not_valid_after_utc:
        raise AuthorityExpiredError("the certificate authority has expired")
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in request.dns_names]
    names += [x509.UniformResourceIdentifier(uri) for uri in request.uris]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_subject(request.common_name))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(leaf_not_after(request, issuer.not_valid_after_utc, now=now))
        # X.509 wants the SANs critical where there is no subject.
        .add_extension(x509.SubjectAlternativeName(names), critical=not request.common_name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_LEAF_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_identifier(issuer), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private_key_pem(key))


def leaf_not_after(request: LeafRequest, authority_not_after: datetime, *, now: datetime) -> datetime:
    """Return when a leaf that is issued now expires: never after its authority."""
    return min(now + request.duration, authority_not_after)


def _subject(common_name: str) -> x509.Name:
    cut = common_name[:_MAX_COMMON_NAME]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cut)] if cut else [])


def _usages(request: LeafRequest) -> list[x509.ObjectIdentifier]:
    usages = []
    if request.server:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    if request.client:
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return usages


def _authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _load_authority(
    authority: Authority,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(authority.cert_pem)
        key = serialization.load_pem_private_key(authority.key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise UnparsableError("the certificate authority cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise UnparsableError("the certificate authority's key is neither ECDSA nor RSA")
    return certificate, key


_LEAF_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=False,
    crl_sign=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
