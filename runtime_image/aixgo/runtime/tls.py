"""How a :class:`~aixgo.runtime.distributed.DistributedRuntime` is protected (Go: TLSConfig)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import os


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """Mutual TLS with three PEM files, or TLS that something outside the process does (a service mesh).

    The files are followed: a replaced certificate is used for new connections, a bad one is refused.
    """

    cert_file: Path
    key_file: Path
    ca_file: Path
    #: The name that servers' certificates must have, when it is not the one that is dialled (Go: ServerName).
    server_name: str | None = None
    #: Plaintext to a proxy beside the process (Go: ExternalTLS).
    is_external: bool = False

    def __init__(
        self,
        cert_file: str | os.PathLike[str] = "",
        key_file: str | os.PathLike[str] = "",
        ca_file: str | os.PathLike[str] = "",
        server_name: str | None = None,
        *,
        _external: bool = False,
    ) -> None:
        if not _external and not all((cert_file, key_file, ca_file)):
            raise ValueError("mutual TLS needs cert_file, key_file and ca_file")
        object.__setattr__(self, "cert_file", Path(cert_file))
        object.__setattr__(self, "key_file", Path(key_file))
        object.__setattr__(self, "ca_file", Path(ca_file))
        object.__setattr__(self, "server_name", server_name)
        object.__setattr__(self, "is_external", _external)

    @classmethod
    def external(cls) -> Self:
        """Return the mode in which a service mesh encrypts and authorises."""
        return cls(_external=True)
