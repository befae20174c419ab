"""Debian packages that the tests need on this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster.cache import locked
from tests.support.cluster.commands import ClusterError, CommandError, find_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator

# package: a file or program that shows that it is there
ENGINE = {
    "podman": "podman",
    "conmon": "conmon",
    "netavark": "/usr/lib/podman/netavark",
    "runc": "runc",
    "containerd": "containerd",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "nftables": "nft",
    "iproute2": "ip",
    "systemd": "systemctl",  # enables units in the node's file system; it need not run here
}
REDIS = {"redis-server": "redis-server"}


def missing(packages: dict[str, str]) -> list[str]:
    """Those of `packages` that are not installed."""
    return [name for name, proof in packages.items() if not _there(proof)]


def require(packages: dict[str, str], *, what_for: str) -> None:
    """Install what is missing when that is possible here (root on Debian).

    Raises:
        ClusterError: something is missing and cannot be installed; the message has the command to do it.
    """
    if not missing(packages):
        return
    with locked("packages"):
        names = missing(packages)
        if not names:
            return
        command = f"apt-get install --no-install-recommends {' '.join(names)}"
        if find_program("apt-get") is None or os.geteuid() != 0:
            raise ClusterError(f"{what_for} needs packages that are not installed; as root: {command}")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
        said = f"installing Debian packages: {' '.join(names)}"
        try:
            # A package's service must not start: redis-server would listen on the usual port.
            with _no_services():
                try:
                    run(install, timeout=900, env=env, saying=said)
                except CommandError:
                    run(
                        ["apt-get", "update", "-q"],
                        timeout=600,
                        env=env,
                        saying="updating the list of packages",
                    )
                    run(install, timeout=900, env=env, saying=said)
        except CommandError as error:
            raise ClusterError(f"{what_for}: `{command}` failed\n{error.output[-1500:]}") from error


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """While this holds, Debian's package scripts start no service."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def _there(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else find_program(proof) is not None
