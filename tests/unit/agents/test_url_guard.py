"""Which addresses agents may ask, told by the address and by nothing else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.agents.url_guard import LOCAL, AddressPolicy, RefusedAddressError, check_url, refusal, resolve

POD = AddressPolicy()
PUBLIC_ONLY = AddressPolicy(private=False)
EVERYTHING = AddressPolicy(loopback=True, private=True)

NEVER = [
    "0.0.0.0",  # noqa: S104 - it is looked at, nobody listens
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2::254%1",
    "fd20:ce::254",
    # The same in the clothes of IPv6.
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "fd00::5efe:169.254.169.254",
]


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_refused_under_every_policy(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), EVERYTHING) is not None
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(RefusedAddressError) as caught:
        check_url(f"http://{host}/v1", EVERYTHING)
    assert address not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_loopback_is_for_local_mode(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), POD) == "a loopback address"
    assert refusal(ipaddress.ip_address(address), LOCAL) is None


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.254",
        "fd12::1",
        "::ffff:10.0.0.1",
        "2002:0a00:0001::1",
    ],
)
def test_private_addresses_are_where_services_of_a_cluster_are(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), POD) is None
    assert refusal(ipaddress.ip_address(address), PUBLIC_ONLY) == "a private address"


@pytest.mark.parametrize("address", ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "11.0.0.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), PUBLIC_ONLY) is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_means_the_same_inside_ipv6(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.ip_address(f"::ffff:{address}")
    for policy in (POD, LOCAL, PUBLIC_ONLY, EVERYTHING):
        assert refusal(mapped, policy) == refusal(address, policy)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://2130706433/", "hides an address"),
        ("http://0177.0.0.1/", "hides an address"),
        ("http://0x7f.1/", "hides an address"),
        ("http://0x7f000001/", "hides an address"),
        ("http://127.1/", "hides an address"),
        ("http://127.0.0.1./", "hides an address"),
        ("http://1e2.1.1.1.1./", None),
        ("http://localhost:11434/v1", "a loopback address"),
        ("http://LOCALHOST./v1", "a loopback address"),
        ("http://model.localhost/v1", "a loopback address"),
        ("ftp://model/v1", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("http:///v1", "no usable host"),
        ("http://user:sk-1@model/v1", "belong into a Secret"),
        ("http://model\\@evil/v1", "no usable host"),
        ("http://mod el/v1", "no usable host"),
        ("http://model:99999/v1", "cannot be read"),
        ("http://[::1/v1", "cannot be read"),
        ("http://model.team.svc.cluster.local:8080/v1", None),
        ("https://api.example.com/v1", None),
        ("http://10.1.2.3:8080/v1", None),
    ],
)
def test_what_a_url_gives_away(url: str, text: str | None) -> None:
    if text is None:
        check_url(url, POD)
        return
    with pytest.raises(RefusedAddressError, match=text) as caught:
        check_url(url, POD)
    assert "sk-1" not in str(caught.value)


async def test_a_name_is_judged_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "rebound": ["169.254.169.254"],
        "mixed": ["127.0.0.1", "10.0.0.7"],
        "fine": ["10.0.0.7", "fd12::7", "10.0.0.7"],
    }

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if host not in answers:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(RefusedAddressError, match="link-local"):
        await resolve("rebound", 80, EVERYTHING)
    assert await resolve("mixed", 80, POD) == ["10.0.0.7"]
    assert await resolve("fine", 80, POD) == ["10.0.0.7", "fd12::7"]
    with pytest.raises(RefusedAddressError, match="hides an address"):
        await resolve("2130706433", 80, POD)
    with pytest.raises(OSError, match="no such name"):
        await resolve("unknown", 80, POD)
