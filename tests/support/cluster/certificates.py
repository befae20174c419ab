"""A certificate authority for one run of the control plane; keys never leave its folder."""

from __future__ import annotations

import datetime
import ipaddress
import os
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_LIFETIME = datetime.timedelta(days=2)
_USAGES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


class Authority:
    """Issues P-256 certificates into `folder`: ``ca.crt`` and per leaf ``<name>.crt`` and ``<name>.key``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aixgo-control-plane")])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = folder / "ca.crt"
        self._write(self.certificate, _pem(builder.sign(self._key, hashes.SHA256())))

    def issue(
        self, name: str, *, organization: str | None = None, dns_names: tuple[str, ...] = ()
    ) -> tuple[Path, Path]:
        """A leaf for clients and for servers on 127.0.0.1; returns the certificate's and the key's path."""
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organization is not None:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        names += [x509.DNSName(dns_name) for dns_name in ("localhost", *dns_names)]
        builder = self._builder(x509.Name(subject), key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, key_file = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        self._write(certificate, _pem(builder.sign(self._key, hashes.SHA256())))
        self._write(key_file, private_key_pem(key))
        return certificate, key_file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + _LIFETIME)
        )

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        write_private(path, data)


def service_account_key(folder: Path) -> Path:
    """A key to sign service account tokens with; the public part is read out of the same file."""
    path = folder / "service-account.key"
    write_private(path, private_key_pem(ec.generate_private_key(ec.SECP256R1())))
    return path


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as ``EC PRIVATE KEY``, the form that every Kubernetes component reads."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
