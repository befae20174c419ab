"""Who may call which agent."""

from __future__ import annotations

import pytest

from aixgo.contract import AgentConfig
from aixgo.rpc.authorization import Authorizer, identify
from aixgo.runtime.errors import CallerNotAllowedError

SAME = "spiffe://cluster.local/ns/team/client/me"
OTHER = "spiffe://cluster.local/ns/other/agentruntime/r"


def agent(*allowed: str) -> AgentConfig:
    return AgentConfig(name="a", namespace="team", allowed_caller_namespaces=allowed)


@pytest.mark.parametrize(
    ("uris", "namespace"),
    [
        ([SAME], "team"),
        (["spiffe://cluster.local/ns/team/agentruntime/r/client/me"], "team"),
        (["https://example.org/", SAME], "team"),
        ([], None),
        (["spiffe://elsewhere/ns/team/client/me"], None),
        (["spiffe://cluster.local/ns//client/me"], None),
        (["spiffe://cluster.local/ns/team"], None),
        (["spiffe://cluster.local/ns/te/am\nx"], None),
        (["spiffe://cluster.local.evil/ns/team/client/me"], None),
        ([SAME, OTHER], None),
    ],
)
def test_identity_is_the_one_uri_of_our_trust_domain(uris: list[str], namespace: str | None) -> None:
    caller = identify(uris, "cluster.local")
    assert (caller.namespace if caller else None) == namespace


@pytest.mark.parametrize(
    ("uri", "target"),
    [(SAME, agent()), (OTHER, agent("other")), (OTHER, agent("*")), (SAME, agent("other")), (SAME, None)],
)
def test_allowed(uri: str, target: AgentConfig | None) -> None:
    Authorizer("cluster.local").check([uri], "a", target, "team")


@pytest.mark.parametrize(
    ("uris", "target"),
    [([OTHER], agent()), ([OTHER], agent("third")), ([], agent("*")), ([OTHER], None)],
)
def test_refused_with_one_text_for_all(uris: list[str], target: AgentConfig | None) -> None:
    with pytest.raises(CallerNotAllowedError) as caught:
        Authorizer("cluster.local").check(uris, "a", target, "team")
    assert str(caught.value) == "the caller is not allowed to call agent 'a'"


def test_the_mesh_decides_in_external_mode() -> None:
    Authorizer("cluster.local", enforced=False).check([], "a", agent(), "team")
