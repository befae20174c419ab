"""Where an agent's own HTTP requests may go: model endpoints and MCP servers (Go: pkg/security/ssrf.go).

The rule is about addresses, not names: a name is resolved, every address is judged, and the judged address is
the one that is dialled. What a name means a moment later is of no interest then.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aixgo.errors import AixgoError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Credential services of clouds that are in no special range, or in one that may be allowed.
METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "168.63.129.16",  # Azure WireServer
        "100.100.100.200",  # Alibaba Cloud
        "192.0.0.192",  # Oracle Cloud Classic
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS Pod Identity
        "fd20:ce::254",  # Google Cloud
        "fd00:42::42",  # Scaleway
    )
)
#: Never somebody's service, whatever the policy allows.
NEVER: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this host": Linux connects to itself
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "192.0.0.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "::/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
PRIVATE: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
#: IPv6 ranges that a gateway turns into the IPv4 address in their last 32 bits.
EMBEDDING: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
#: What C takes for an address and a person for a name: ``2130706433``, ``0x7f.1``, ``0177.0.0.1``.
NUMERIC_HOST: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)


class RefusedAddressError(AixgoError):
    """A URL or an address that agents must not ask. The text names the rule, never the address."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What is allowed beyond public addresses.

    In a pod: the private ranges, for that is where the services of a cluster are, and no loopback, for that
    is where the runtime's own ports and those of its sidecars are.
    """

    loopback: bool = False
    private: bool = True


#: For a process that listens on loopback itself: ``aixgo run``, ``aixgo up``, tests.
LOCAL: Final = AddressPolicy(loopback=True)


def refusal(address: IPAddress, policy: AddressPolicy) -> str | None:
    """Return the rule by which ``address`` is refused; None if it is allowed.

    An IPv4 address inside an IPv6 address is judged, too.
    """
    if isinstance(address, ipaddress.IPv6Address):
        # A zone only says through which interface.
        address = ipaddress.IPv6Address(int(address))
        if address == ipaddress.IPv6Address("::1"):
            return None if policy.loopback else "a loopback address"
        for inner in _embedded(address):
            if (rule := refusal(inner, policy)) is not None:
                return rule
    if address in METADATA:
        return "a metadata service"
    if any(address in network for network in NEVER):
        return "a link-local, multicast or reserved address"
    if any(address in network for network in LOOPBACK):
        return None if policy.loopback else "a loopback address"
    if any(address in network for network in PRIVATE):
        return None if policy.private else "a private address"
    return None


def check_url(url: str, policy: AddressPolicy) -> None:
    """Refuse what can be seen without asking the name service. Names are judged when they are dialled.

    Raises:
        RefusedAddressError: no http or https, a user in the URL, a host that hides an address, or an address
            that the policy refuses.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedAddressError("it cannot be read as a URL") from error
    if parts.scheme not in ("http", "https"):
        raise RefusedAddressError("only http and https are allowed")
    if not host or any(ord(letter) <= 0x20 or letter in "\\%" for letter in parts.netloc.partition("%25")[0]):
        raise RefusedAddressError("it has no usable host")
    if "@" in parts.netloc:
        raise RefusedAddressError("credentials belong into a Secret, not into the URL")
    address = literal(host)
    if address is None:
        if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
            address = ipaddress.ip_address("127.0.0.1")
        elif NUMERIC_HOST.fullmatch(host):
            raise RefusedAddressError("its host is a number that hides an address")
        else:
            return
    if (rule := refusal(address, policy)) is not None:
        raise RefusedAddressError(f"its host is {rule}")


def literal(host: str) -> IPAddress | None:
    """Return the address that ``host`` spells in the usual form; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


async def resolve(host: str, port: int, policy: AddressPolicy) -> list[str]:
    """Return the addresses of ``host`` that may be dialled, in the name service's order.

    Raises:
        RefusedAddressError: it has addresses, and none is allowed.
        OSError: the name cannot be resolved.
    """
    if (address := literal(host)) is not None:
        found: list[IPAddress] = [address]
    else:
        if NUMERIC_HOST.fullmatch(host):
            raise RefusedAddressError("its host is a number that hides an address")
        loop = asyncio.get_running_loop()
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(ipaddress.ip_address(answer[4][0]) for answer in answers))
    rules = {candidate: refusal(candidate, policy) for candidate in found}
    allowed = [str(candidate) for candidate, rule in rules.items() if rule is None]
    if not allowed:
        raise RefusedAddressError(f"its host is {next(iter(rules.values()))}")
    return allowed


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that a packet to ``address`` may reach."""
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in EMBEDDING):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"):  # ISATAP
        inner.append(ipaddress.IPv4Address(address.packed[12:]))
    return [candidate for candidate in inner if candidate is not None]
