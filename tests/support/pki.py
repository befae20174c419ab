"""Certificates for tests: a CA, leaves with SPIFFE URI SANs, directories replaced as Kubernetes does it."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key and the CA bundle to trust, all PEM."""

    certificate: bytes
    key: bytes
    ca: bytes

    def files(self) -> dict[str, bytes]:
        return {"tls.crt": self.certificate, "tls.key": self.key, "ca.crt": self.ca}

    def write(self, directory: Path) -> Path:
        """Write plain files, as a user would keep them."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (directory / name).write_bytes(content)
        return directory

    @property
    def serial(self) -> str:
        return f"{x509.load_pem_x509_certificate(self.certificate).serial_number:x}"


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "test CA", *, valid: datetime.timedelta = 24 * HOUR) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR)
            .not_valid_after(now + valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *,
        dns: tuple[str, ...] = ("localhost",),
        uris: tuple[str, ...] = (),
        ips: tuple[str, ...] = ("127.0.0.1",),
        usages: tuple[x509.ObjectIdentifier, ...] = BOTH,
        starts: datetime.timedelta = -HOUR,
        ends: datetime.timedelta = 12 * HOUR,
        trust: bytes | None = None,
    ) -> Leaf:
        """Issue a leaf; ``trust`` replaces the CA bundle that comes with it."""
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Leaf(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            trust if trust is not None else self.pem,
        )

    def runtime(self, name: str, namespace: str, **options: object) -> Leaf:
        """Issue the certificate that a runtime has in a cluster."""
        uri = f"spiffe://cluster.local/ns/{namespace}/agentruntime/{name}"
        return self.issue(dns=("localhost", f"{name}.{namespace}.svc"), uris=(uri,), **options)  # type: ignore[arg-type]

    def client(self, name: str, namespace: str, **options: object) -> Leaf:
        """Issue the certificate of a client of a runtime."""
        uri = f"spiffe://cluster.local/ns/{namespace}/client/{name}"
        return self.issue(
            dns=(),
            ips=(),
            uris=(uri,),
            usages=(ExtendedKeyUsageOID.CLIENT_AUTH,),
            **options,  # type: ignore[arg-type]
        )
