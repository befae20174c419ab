"""Names and label values: always legal, the same for the same owner, different for different owners."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo_operator.domain import naming

DNS_1035 = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

_part = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True)
#: Every legal name of a custom resource: a DNS-1123 subdomain.
names = st.lists(_part, min_size=1, max_size=4).map(".".join).filter(lambda name: len(name) <= 253)
suffixes = st.sampled_from(
    ["", "-pods", "-config", "-tls", "-redis", "-redis-auth", "-sessions", "-client-" + "c" * 40]
)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (naming.runtime_workload("agents"), "agents"),
        (naming.runtime_pods_service("agents"), "agents-pods"),
        (naming.runtime_config_map("agents"), "agents-config"),
        (naming.runtime_tls_secret("agents"), "agents-tls"),
        (naming.client_secret("agents", "cli"), "agents-client-cli"),
        (naming.session_auth_secret("agents"), "agents-session-auth"),
        (naming.redis_workload("sessions"), "sessions-redis"),
        (naming.redis_auth_secret("sessions"), "sessions-redis-auth"),
        (naming.redis_tls_secret("sessions"), "sessions-redis-tls"),
        (naming.sessions_claim("sessions"), "sessions-sessions"),
    ],
)
def test_ordinary_names_are_kept(made: str, expected: str) -> None:
    assert made == expected


@given(names, suffixes)
def test_child_names_are_legal_names_of_services(owner: str, suffix: str) -> None:
    """O18: for every legal name of a custom resource."""
    name = naming.child_name(owner, suffix)
    assert len(name) <= 63
    assert DNS_1035.fullmatch(name)
    assert name == naming.child_name(owner, suffix)


@given(names)
def test_names_of_stateful_sets_leave_room_for_the_revision_label(owner: str) -> None:
    assert len(naming.redis_workload(owner)) <= 52


@given(st.sets(names, min_size=2, max_size=8), suffixes)
def test_different_owners_have_different_children(owners: set[str], suffix: str) -> None:
    """O18: no two meet."""
    assert len({naming.child_name(owner, suffix) for owner in owners}) == len(owners)


@given(names)
def test_children_of_one_owner_differ(owner: str) -> None:
    made = [
        naming.runtime_pods_service(owner),
        naming.runtime_config_map(owner),
        naming.runtime_tls_secret(owner),
        naming.session_auth_secret(owner),
        naming.client_secret(owner, "a"),
        naming.client_secret(owner, "b"),
        naming.agent_secret_copy(owner, "x", "y"),
        naming.agent_secret_copy(owner, "x", "z"),
    ]
    assert len(set(made)) == len(made)


def test_long_names_with_a_common_beginning_do_not_meet() -> None:
    first, second = "a" * 100 + "1", "a" * 100 + "2"
    assert naming.runtime_workload(first) != naming.runtime_workload(second)
    assert naming.label_value(first) != naming.label_value(second)


def test_dots_and_leading_digits_are_replaced() -> None:
    assert re.fullmatch(r"x1-prod-[0-9a-f]{8}-pods", naming.runtime_pods_service("1.prod"))


@given(names)
def test_label_values_are_legal(name: str) -> None:
    """O18: 63 characters, and which."""
    value = naming.label_value(name)
    assert len(value) <= 63
    assert LABEL_VALUE.fullmatch(value)
    if len(name) <= 63:
        assert value == name


def test_an_empty_label_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        naming.label_value("")
