"""Where a runtime finds its files (runtime contract v1). ``aixgo serve --root`` moves them for local runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """The directories of one runtime. Every one is replaced by an atomic symlink swap when it changes."""

    config: Path
    tls: Path
    secrets: Path
    session_tls: Path
    sessions: Path

    @classmethod
    def in_pod(cls) -> RuntimePaths:
        """Return the paths that the contract fixes for a pod."""
        return cls(
            config=Path("/etc/aixgo/config"),
            tls=Path("/etc/aixgo/tls"),
            secrets=Path("/etc/aixgo/secrets"),
            session_tls=Path("/etc/aixgo/session-tls"),
            sessions=Path("/var/lib/aixgo/sessions"),
        )

    @classmethod
    def under(cls, root: Path) -> RuntimePaths:
        """Return the same directories below ``root``: ``config/``, ``tls/``, ``secrets/`` and so on."""
        return cls(
            config=root / "config",
            tls=root / "tls",
            secrets=root / "secrets",
            session_tls=root / "session-tls",
            sessions=root / "sessions",
        )


#: File names inside the directories.
RUNTIME_JSON = "runtime.json"
TLS_CERT, TLS_KEY, TLS_CA = "tls.crt", "tls.key", "ca.crt"
