"""Certificates and keys of the caller. They stay in memory; nothing here is ever printed or written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aixgo.contract.paths import TLS_CA, TLS_CERT, TLS_KEY
from aixgo_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate with its key, and the CA certificates that a server must be signed by. All PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes


def from_directory(directory: Path) -> Identity:
    """Read ``tls.crt``, ``tls.key`` and ``ca.crt``. Raises CliError when one cannot be read."""
    parts = {}
    for name in (TLS_CERT, TLS_KEY, TLS_CA):
        try:
            parts[name] = (directory / name).read_bytes()
        except OSError as error:
            raise CliError(
                f"cannot read {name}: {error.strerror}",
                where=str(directory),
                then=f"--tls-dir needs the files {TLS_CERT}, {TLS_KEY} and {TLS_CA}",
                code=ExitCode.USAGE,
            ) from error
    return from_mapping(parts, str(directory))


def from_mapping(data: Mapping[str, bytes], where: str) -> Identity:
    """Take the parts from a Secret or from files by name. Raises CliError when one is missing."""
    missing = [name for name in (TLS_CERT, TLS_KEY, TLS_CA) if not data.get(name)]
    if missing:
        raise CliError(
            f"no {', '.join(missing)}", where=where, then="wait until the operator has issued the certificate"
        )
    return Identity(certificate=data[TLS_CERT], key=data[TLS_KEY], ca=data[TLS_CA])
