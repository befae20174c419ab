"""The certificate authority of an installation and the Secret that keeps it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aixgo_operator.api.constants import CA_CERT_KEY, CA_PRIVATE_KEY_KEY, CA_TRUST_BUNDLE_KEY
from aixgo_operator.pki.errors import PKIError
from aixgo_operator.pki.inspect import key_matches, parse_bundle, parse_certificate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

#: A certificate is valid from this long before its issue, for peers whose clock is behind.
BACKDATE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate and its private key, both PEM."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)

    @property
    def not_after(self) -> datetime:
        """When the certificate expires."""
        return parse_certificate(self.cert_pem).not_after


def create_authority(*, now: datetime, duration: timedelta) -> Authority:
    """Create a self-signed CA (ECDSA P-256) that may sign leaves and no further CA.

    Its name has a part of its key in it: an old and a new CA that are trusted at the same time must not be
    mixed up. ``now`` is an aware time.
    """
    now = now.replace(microsecond=0)  # X.509 has whole seconds
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Aixgo"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Aixgo CA {identifier.digest.hex()[:12]}"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + duration)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), private_key_pem(key))


def load_authority(cert_pem: bytes, key_pem: bytes) -> Authority:
    """Return the authority of a stored certificate and key.

    Raises:
        UnparsableError: one of them is not what it should be.
        PKIError: they do not belong together, or the certificate is not a CA's.
    """
    if not parse_certificate(cert_pem).is_ca:
        raise PKIError("the certificate is not one of a certificate authority")
    if not key_matches(cert_pem, key_pem):
        raise PKIError("the certificate authority's key does not belong to its certificate")
    return Authority(cert_pem, key_pem)


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PKCS #8 without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True, slots=True)
class InstallationAuthority:
    """What Secret ``aixgo-ca`` holds: the authority that signs, and everyone who has to be trusted."""

    signer: Authority
    #: CA certificates (PEM), the signer's among them. More than one only while it is being changed.
    trust_bundle: bytes

    @classmethod
    def create(cls, *, now: datetime, duration: timedelta) -> InstallationAuthority:
        """Create the first authority of an installation."""
        signer = create_authority(now=now, duration=duration)
        return cls(signer, signer.cert_pem)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> InstallationAuthority:
        """Read the Secret's (decoded) data. Without a trust bundle (a CA brought along) its CA is trusted.

        Raises:
            PKIError: a key is missing, or its content cannot be used. The operator must then stop and say
                so: a new authority in its place would cut off every running pod.
        """
        try:
            signer = load_authority(data[CA_CERT_KEY], data[CA_PRIVATE_KEY_KEY])
        except KeyError as error:
            raise PKIError(f"key {error.args[0]} is missing") from error
        bundle = data.get(CA_TRUST_BUNDLE_KEY, signer.cert_pem)
        mark = parse_certificate(signer.cert_pem).sha256_fingerprint
        if mark not in {certificate.sha256_fingerprint for certificate in parse_bundle(bundle)}:
            raise PKIError(f"{CA_TRUST_BUNDLE_KEY} lacks the certificate in {CA_CERT_KEY}")
        return cls(signer, bundle)

    def to_secret(self) -> dict[str, bytes]:
        """Return the Secret's (decoded) data."""
        return {
            CA_CERT_KEY: self.signer.cert_pem,
            CA_PRIVATE_KEY_KEY: self.signer.key_pem,
            CA_TRUST_BUNDLE_KEY: self.trust_bundle,
        }


_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
