"""The network namespace in which the nodes of a cluster live.

Bridge, firewall rules and port forwards are inside, and there is no default route: no packet of a node or pod
can leave this machine, this machine's own rules and forwarding stay as they are, and deleting the namespace
removes everything. This machine reaches nodes, and NodePorts on any of them, by a route to their network.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster.commands import CommandError, run, succeeds

if TYPE_CHECKING:
    from tests.support.cluster.site import Site

# The namespace's end of the link.
_INNER = "host0"


def namespace(site: Site) -> Path:
    """Where the namespace can be entered while it exists."""
    return Path("/run/netns") / site.name


def create(site: Site) -> None:
    """Make namespace, link and route; what is there already is kept."""
    if not namespace(site).exists():
        _ip("netns", "add", site.name)
    if not succeeds(["ip", "link", "show", site.name], timeout=10):
        _ip("link", "add", site.name, "type", "veth", "peer", "name", _INNER, "netns", site.name)
        _ip("addr", "add", f"{site.host_address}/30", "dev", site.name)
        _ip("link", "set", site.name, "up")
    inside = ["-n", site.name]
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "addr", "replace", f"{site.api_address}/30", "dev", _INNER)
    _ip(*inside, "link", "set", _INNER, "up")
    # With the bridge's traffic in the firewall the control plane cannot reach itself by the API address.
    # Not every kernel has the setting.
    with contextlib.suppress(CommandError):
        _set(site, "net.bridge.bridge-nf-call-iptables=0")
    # ICMP errors are limited to one a second for each target: a refused look-up would take up to 15 seconds.
    _set(site, "net.ipv4.icmp_ratelimit=0")
    _set(site, "net.ipv4.conf.all.send_redirects=0")
    _set(site, "net.ipv4.conf.default.send_redirects=0")
    _ip("route", "replace", site.node_network, "via", site.api_address)


def delete(site: Site) -> None:
    """Remove the namespace and the link; the route goes with the link."""
    for arguments in (("link", "del", site.name), ("netns", "del", site.name)):
        with contextlib.suppress(CommandError):
            _ip(*arguments)
    folder = namespace(site).parent
    if folder.is_dir() and not any(folder.iterdir()):
        # `ip netns add` mounts the folder onto itself; the next one does it again.
        with contextlib.suppress(CommandError, OSError):
            run(["umount", folder], timeout=20)
            folder.rmdir()


def _ip(*arguments: str) -> None:
    run(["ip", *arguments], timeout=20)


def _set(site: Site, setting: str) -> None:
    run(["nsenter", f"--net={namespace(site)}", "--", "sysctl", "-qw", setting], timeout=20)
