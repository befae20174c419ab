"""A certificate, its key and its trust bundle as three files that are replaced together, and checked before
they are used.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aixgo.contract import TLS_CA, TLS_CERT, TLS_KEY
from aixgo.errors import AixgoError
from aixgo.files import read_together, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo.files import Stamp

#: Seconds until a refused version is looked at again.
RETRY_SECONDS = 5.0

Purpose = Literal["server", "client"]


class InvalidCertificateError(AixgoError):
    """A certificate cannot be used; the text says why and names no path."""


@dataclass(frozen=True, slots=True)
class CertificateBundle:
    """A checked certificate chain with its key and the CAs to trust. All PEM."""

    certificate_pem: bytes
    key_pem: bytes
    ca_pem: bytes
    serial_number: str
    sha256_fingerprint: str
    not_before: datetime
    not_after: datetime
    #: SHA-256 of each CA certificate, in the order of the file.
    trust_bundle: tuple[str, ...]

    def __repr__(self) -> str:  # the key must not reach a log
        return (
            f"CertificateBundle(serial_number={self.serial_number!r}, not_after={self.not_after.isoformat()})"
        )


def check_bundle(
    certificate_pem: bytes, key_pem: bytes, ca_pem: bytes, purpose: Purpose, *, now: datetime | None = None
) -> CertificateBundle:
    """Return the bundle if it can be used: key and certificate match, the chain ends in the trust bundle,
    nothing has expired.

    Raises:
        InvalidCertificateError: it cannot; the text says why.
    """
    # Without mutual TLS nobody needs the library behind it.
    from aixgo.rpc.certificate_checks import checked

    return checked(certificate_pem, key_pem, ca_pem, purpose, now or datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate chain, its key and the CAs to trust are, all PEM."""

    certificate: Path
    key: Path
    ca: Path

    @classmethod
    def in_directory(cls, directory: Path) -> CertificateFiles:
        """Return the files ``tls.crt``, ``tls.key`` and ``ca.crt`` of a directory."""
        return cls(directory / TLS_CERT, directory / TLS_KEY, directory / TLS_CA)

    def stamp(self) -> Stamp:
        """Return what changes when one of the files is replaced."""
        return tuple(stamp(parent, names) for parent, names in self._by_directory().items())

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Return the content of the files; those of one directory are of one version of it.

        Raises:
            OSError: one cannot be read.
        """
        content = {
            parent / name: data
            for parent, names in self._by_directory().items()
            for name, data in read_together(parent, names).items()
        }
        return content[self.certificate], content[self.key], content[self.ca]

    def _by_directory(self) -> dict[Path, list[str]]:
        groups: dict[Path, list[str]] = {}
        for path in (self.certificate, self.key, self.ca):
            groups.setdefault(path.parent, []).append(path.name)
        return groups


def load_bundle(source: Path | CertificateFiles, purpose: Purpose = "server") -> CertificateBundle:
    """Read the files and check them. A directory stands for its ``tls.crt``, ``tls.key`` and ``ca.crt``.

    Raises:
        InvalidCertificateError: a file is missing or unreadable, or the bundle cannot be used.
    """
    files = CertificateFiles.in_directory(source) if isinstance(source, Path) else source
    try:
        certificate, key, ca = files.read()
    except OSError as error:
        name = Path(error.filename).name if error.filename else "a file"
        raise InvalidCertificateError(f"cannot read {name}: {os.strerror(error.errno or 0)}") from error
    return check_bundle(certificate, key, ca, purpose)


class CertificateStore:
    """The newest usable bundle of three files. Thread-safe: gRPC asks from threads of its own.

    A new version that cannot be used leaves the old one in place and sets :attr:`last_reload_error`.
    """

    def __init__(
        self,
        source: Path | CertificateFiles,
        on_reload: Callable[[str | None], None] | None = None,
        *,
        purpose: Purpose = "server",
    ) -> None:
        """Load the first version.

        Args:
            source: The files, or the directory that holds them.
            on_reload: Called after every new version with the reason for which it was refused, or None. May
                be called from any thread.
            purpose: What the certificate must be good for.

        Raises:
            InvalidCertificateError: the first version cannot be used.
        """
        self._files = CertificateFiles.in_directory(source) if isinstance(source, Path) else source
        self._on_reload = on_reload
        self._purpose: Purpose = purpose
        self._lock = threading.Lock()
        self._stamp = self._files.stamp()
        self._bundle = load_bundle(self._files, purpose)
        self._last_reload_error: str | None = None
        self._tried = time.monotonic()

    @property
    def bundle(self) -> CertificateBundle:
        """The bundle that new connections use, without a look at the files."""
        return self._bundle

    @property
    def last_reload_error(self) -> str | None:
        """Why the newest version of the files was refused; None if it is the one in use."""
        return self._last_reload_error

    def refresh(self) -> CertificateBundle:
        """Look at the files and return the bundle to use from now on."""
        with self._lock:
            newest = self._files.stamp()
            # A refused version may become good by itself: its time may come.
            again = self._last_reload_error is not None and time.monotonic() - self._tried > RETRY_SECONDS
            if newest == self._stamp and not again:
                return self._bundle
            error: str | None = None
            try:
                self._bundle = load_bundle(self._files, self._purpose)
            except InvalidCertificateError as refused:
                error = str(refused)
            news = newest != self._stamp or error != self._last_reload_error
            self._last_reload_error = error
            self._stamp = newest
            self._tried = time.monotonic()
            bundle = self._bundle
        if news and self._on_reload is not None:
            self._on_reload(error)
        return bundle
