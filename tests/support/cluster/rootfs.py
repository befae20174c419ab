"""Debian root file systems as tar archives, made by mmdebstrap once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.cluster.cache import cache_dir, content_hash, locked, progress, work_folder
from tests.support.cluster.commands import run

if TYPE_CHECKING:
    from pathlib import Path

SUITE = "bookworm"
# Nobody reads documentation in a container.
_LEAVE_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
)


@dataclass(frozen=True)
class RootFs:
    """A tree to be made: `variant` as mmdebstrap has it, plus packages."""

    name: str
    packages: tuple[str, ...]
    variant: str = "essential"

    @property
    def hash(self) -> str:
        """Changes with what is asked for; not with newer versions of the same packages."""
        return content_hash(SUITE, self.variant, *_LEAVE_OUT, *self.packages)

    def ensure(self) -> Path:
        """The archive's path; made if the cache does not have it (root, a minute, a Debian mirror)."""
        path = cache_dir() / "rootfs" / f"{self.name}-{self.hash}.tar"
        if path.exists():
            return path
        with locked(f"rootfs-{self.name}"):
            if not path.exists():
                with work_folder(path) as folder:
                    part = folder / "rootfs.tar"
                    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEAVE_OUT]
                    options += [f"--variant={self.variant}", f"--include={','.join(self.packages)}"]
                    run(
                        ["mmdebstrap", "--quiet", *options, SUITE, part],
                        timeout=1200,
                        saying=f"making the Debian file system '{self.name}'",
                    )
                    part.replace(path)
                progress(f"made {path.name}, {path.stat().st_size / 1e6:.0f} MB")
        return path


NODE = RootFs(
    "node",
    (
        *("systemd", "dbus", "bash", "hostname", "procps", "util-linux", "mount", "kmod", "jq", "curl"),
        *("conntrack", "iptables", "nftables", "ebtables", "ethtool", "iproute2", "socat"),
        *("containerd", "runc", "containernetworking-plugins", "libseccomp2", "pigz", "e2fsprogs"),
        "ca-certificates",
    ),
    variant="apt",
)
NETWORK = RootFs("network", ("nftables", "iproute2"))
PYTHON = RootFs("python", ("python3", "python3-venv", "ca-certificates", "libgomp1", "libstdc++6"))
REDIS = RootFs("redis", ("redis-server",))
