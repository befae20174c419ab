"""Agents of a runtime: attachment, names, references, tools and routes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.domain import config_map, make_agent, make_runtime, resolve, secret

from aixgo.contract import AgentConfig, SecretFile
from aixgo_operator.domain.resolve import resolve_unattached_agent
from aixgo_operator.domain.resolved import ResolvedAgent, ResolvedRuntime

NAMESPACES: dict[str, dict[str, str]] = {"default": {}, "team-a": {"team": "a"}, "team-b": {"team": "b"}}
OPEN = {"namespaces": {"from": "All"}}


def agent_of(resolved: ResolvedRuntime, name: str, namespace: str = "default") -> ResolvedAgent:
    return next(
        item for item in resolved.agents if (item.agent.namespace, item.agent.name) == (namespace, name)
    )


def config_of(item: ResolvedAgent) -> AgentConfig:
    assert item.config is not None
    return item.config


def problems_of(item: ResolvedAgent) -> list[tuple[str, str]]:
    return [(problem.condition.value, problem.reason.value) for problem in item.problems]


def test_an_agent_becomes_part_of_the_configuration() -> None:
    agent = make_agent(
        prompt="Be short.",
        model={
            "name": "m",
            "provider": "openai",
            "temperature": "0.2",
            "maxTokens": 5,
            "baseURL": "http://m/v1",
        },
        session={"ttlSeconds": 60, "historyLimit": 4, "concurrency": "Parallel"},
        inputs=[{"source": "in"}],
        outputs=[{"target": "out"}],
        dependsOn=["first"],
        timeoutSeconds=9,
        description="Answers.",
        role="planner",
        roleConfig={"maxSteps": 3},
    )
    resolved = resolve(make_runtime(), agent)
    config = config_of(agent_of(resolved, "assistant"))
    assert config in resolved.config.agents
    assert config.prompt.text == "Be short."
    assert config.model is not None
    assert (config.model.temperature, config.model.max_tokens, config.model.base_url) == (
        0.2,
        5,
        "http://m/v1",
    )
    assert (config.session.ttl_seconds, config.session.history_limit) == (60, 4)
    assert (config.session.concurrency, config.timeout_seconds) == ("Parallel", 9)
    assert (config.inputs, config.outputs, config.depends_on) == (("in",), ("out",), ("first",))
    assert config.role_config == {"maxSteps": 3}
    assert config.allowed_caller_namespaces == ("default",)
    assert len(config.revision) == len(resolved.config.revision) == 16


def test_a_change_of_one_agent_leaves_the_revision_of_the_other() -> None:
    runtime, other = make_runtime(), make_agent("other")
    before = resolve(runtime, make_agent(prompt="a"), other)
    after = resolve(runtime, make_agent(prompt="b"), other)
    assert before.config.revision != after.config.revision
    for name, same in (("other", True), ("assistant", False)):
        revisions = [config_of(agent_of(item, name)).revision for item in (before, after)]
        assert (revisions[0] == revisions[1]) is same


@pytest.mark.parametrize("allowed", [None, {"namespaces": {"from": "Same"}}])
def test_an_agent_of_another_namespace_needs_consent(allowed: Any) -> None:
    spec = {} if allowed is None else {"allowedAgents": allowed}
    agent = make_agent(namespace="team-a", runtime_namespace="default")
    resolved = resolve(make_runtime(**spec), agent, namespaces=NAMESPACES)
    item = agent_of(resolved, "assistant", "team-a")
    assert problems_of(item) == [("ResolvedRefs", "RefNotPermitted")]
    assert item.config is None
    assert resolved.config.agents == ()
    # The refusal must not tell whether the runtime exists.
    assert item.problems == resolve_unattached_agent(agent).problems


def test_a_selector_lets_agents_in() -> None:
    allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}
    agents = [make_agent(f"of-{ns}", ns, runtime_namespace="default") for ns in ("team-a", "team-b")]
    resolved = resolve(make_runtime(allowedAgents=allowed), *agents, namespaces=NAMESPACES)
    assert [agent.name for agent in resolved.config.agents] == ["of-team-a"]


def test_a_missing_runtime_in_the_same_namespace_is_called_missing() -> None:
    item = resolve_unattached_agent(make_agent())
    assert problems_of(item) == [("ResolvedRefs", "RuntimeNotFound")]
    assert "create it" in item.problems[0].message


def test_the_oldest_agent_of_a_name_wins() -> None:
    runtime = make_runtime(allowedAgents=OPEN)
    young = make_agent(namespace="team-a", runtime_namespace="default", age=5)
    old = make_agent(namespace="team-b", runtime_namespace="default", age=50)
    resolved = resolve(runtime, young, old, namespaces=NAMESPACES)
    assert [agent.namespace for agent in resolved.config.agents] == ["team-b"]
    assert problems_of(agent_of(resolved, "assistant", "team-a")) == [("Accepted", "DuplicateAgentName")]


def test_of_two_agents_of_the_same_age_the_first_namespace_wins() -> None:
    runtime = make_runtime(allowedAgents=OPEN)
    agents = [make_agent(namespace=ns, runtime_namespace="default") for ns in ("team-b", "team-a")]
    resolved = resolve(runtime, *agents, namespaces=NAMESPACES)
    assert [agent.namespace for agent in resolved.config.agents] == ["team-a"]


def test_an_agent_that_may_not_attach_does_not_take_a_name() -> None:
    foreign = make_agent(namespace="team-a", runtime_namespace="default", age=500)
    resolved = resolve(make_runtime(), make_agent(), foreign, namespaces=NAMESPACES)
    assert [agent.namespace for agent in resolved.config.agents] == ["default"]


@pytest.mark.parametrize("name", ["1st", "a.b", "a" * 70])
def test_a_name_that_no_call_could_carry_is_refused(name: str) -> None:
    resolved = resolve(make_runtime(), make_agent(name), make_agent("fine"))
    assert problems_of(agent_of(resolved, name)) == [("Accepted", "InvalidSpec")]
    assert [agent.name for agent in resolved.config.agents] == ["fine"]


def test_a_missing_secret_is_reported_and_the_agent_stays() -> None:
    agent = make_agent(model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}})
    resolved = resolve(make_runtime(), agent, make_agent("other"))
    item = agent_of(resolved, "assistant")
    assert problems_of(item) == [("ResolvedRefs", "SecretNotFound")]
    assert item.problems[0].message == (
        "Secret default/openai not found: create it with key api-key, or change spec.model.apiKeySecretRef"
    )
    model = config_of(item).model
    assert model is not None
    assert model.api_key == SecretFile(secret="openai", key="api-key")
    assert agent_of(resolved, "other").problems == ()
    (source,) = resolved.secret_files
    assert (source.name, dict(source.items), source.optional) == (
        "openai",
        {"api-key": "openai/api-key"},
        True,
    )


def test_a_missing_key_is_reported_by_its_name() -> None:
    agent = make_agent(model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}})
    secrets = {("default", "openai"): secret(token="x")}
    item = agent_of(resolve(make_runtime(), agent, secrets=secrets), "assistant")
    assert problems_of(item) == [("ResolvedRefs", "KeyNotFound")]
    assert "has no key api-key" in item.problems[0].message


def test_a_secret_comes_and_the_configuration_stays_the_same() -> None:
    agent = make_agent(model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "key"}})
    before = resolve(make_runtime(), agent)
    after = resolve(make_runtime(), agent, secrets={("default", "openai"): secret(key="x")})
    assert before.config == after.config
    assert agent_of(after, "assistant").problems == ()


def test_a_prompt_from_a_config_map() -> None:
    agent = make_agent(promptFrom={"configMapKeyRef": {"name": "prompts", "key": "main"}})
    there = resolve(make_runtime(), agent, config_maps={("default", "prompts"): config_map(main="Hello.")})
    assert config_of(agent_of(there, "assistant")).prompt.text == "Hello."
    for maps, reason in (
        ({}, "ConfigMapNotFound"),
        ({("default", "prompts"): config_map(other="x")}, "KeyNotFound"),
    ):
        item = agent_of(resolve(make_runtime(), agent, config_maps=maps), "assistant")
        assert problems_of(item) == [("ResolvedRefs", reason)]
        assert item.config is None, "without its prompt it would be another agent"


def test_a_prompt_from_a_secret_stays_out_of_the_configuration() -> None:
    agent = make_agent(promptFrom={"secretKeyRef": {"name": "prompts", "key": "main"}})
    secrets = {("default", "prompts"): secret(main="the hidden prompt")}
    resolved = resolve(make_runtime(), agent, secrets=secrets)
    assert config_of(agent_of(resolved, "assistant")).prompt.secret == SecretFile(
        secret="prompts", key="main"
    )
    assert "hidden" not in resolved.config.json().decode()
    assert "hidden" not in repr(secrets)


def test_secrets_of_an_agent_in_another_namespace_are_copied() -> None:
    agent = make_agent(
        namespace="team-a",
        runtime_namespace="default",
        model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}},
    )
    secrets = {("team-a", "openai"): secret_with("api-key")}
    resolved = resolve(make_runtime(allowedAgents=OPEN), agent, namespaces=NAMESPACES, secrets=secrets)
    (copy,) = resolved.secret_copies
    (source,) = copy.entries.values()
    assert (source.namespace, source.name, source.key) == ("team-a", "openai", "api-key")
    model = config_of(agent_of(resolved, "assistant", "team-a")).model
    assert model is not None
    assert model.api_key == SecretFile(secret=copy.name, key="api-key")


def secret_with(*keys: str) -> Any:
    from aixgo_operator.domain.snapshot import SecretView

    return SecretView(dict.fromkeys(keys, b"value"))


def test_mcp_headers_are_every_key_of_the_secret() -> None:
    tool = {"name": "search", "mcp": {"url": "http://mcp", "headersSecretRef": {"name": "headers"}}}
    secrets = {("default", "headers"): secret_with("X-Token", "Authorization")}
    resolved = resolve(make_runtime(), make_agent(tools=[tool]), secrets=secrets)
    (source,) = resolved.secret_files
    assert dict(source.items) == {
        "Authorization": "headers/Authorization",
        "X-Token": "headers/X-Token",
    }
    (built,) = config_of(agent_of(resolved, "assistant")).tools
    assert built.mcp is not None
    assert built.mcp.headers_secret == "headers"


def tool(name: str, namespace: str | None = None) -> dict[str, Any]:
    ref = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"name": "ask", "agentRef": ref}


def test_a_tool_on_the_same_runtime_needs_no_route() -> None:
    other = make_agent("other")
    resolved = resolve(
        make_runtime(), make_agent(tools=[tool("other")]), other, target_agents={("default", "other"): other}
    )
    (built,) = config_of(agent_of(resolved, "assistant")).tools
    assert built.agent is not None
    assert (built.agent.name, built.agent.namespace) == ("other", "default")
    assert resolved.config.routes == ()


def test_a_tool_on_another_runtime_gets_a_route() -> None:
    other = make_agent("other", "team-b", runtime="far", allowedCallers=OPEN)
    far = make_runtime("far", "team-b", grpc={"port": 6000})
    resolved = resolve(
        make_runtime(),
        make_agent(tools=[tool("other", "team-b")]),
        namespaces=NAMESPACES,
        target_agents={("team-b", "other"): other},
        target_runtimes={("team-b", "far"): far},
    )
    (route,) = resolved.config.routes
    assert route.address == "dns:///far-pods.team-b.svc.cluster.local:6000"
    assert route.server_name == "far.team-b.svc"
    assert route.spiffe_id == "spiffe://cluster.local/ns/team-b/agentruntime/far"
    assert agent_of(resolved, "assistant").problems == ()


def test_a_refused_tool_reads_like_one_that_does_not_exist() -> None:
    agent = make_agent(tools=[tool("other", "team-b")])
    closed = make_agent("other", "team-b", runtime="far")
    far = make_runtime("far", "team-b")
    refused = resolve(
        make_runtime(),
        agent,
        namespaces=NAMESPACES,
        target_agents={("team-b", "other"): closed},
        target_runtimes={("team-b", "far"): far},
    )
    missing = resolve(make_runtime(), agent, namespaces=NAMESPACES)
    item = agent_of(refused, "assistant")
    assert problems_of(item) == [("ResolvedRefs", "RefNotPermitted")]
    assert item.problems == agent_of(missing, "assistant").problems
    assert config_of(item).tools == (), "the agent goes on without the tool"


def test_a_missing_tool_in_the_same_namespace_is_called_missing() -> None:
    item = agent_of(resolve(make_runtime(), make_agent(tools=[tool("other")])), "assistant")
    assert problems_of(item) == [("ResolvedRefs", "AgentNotFound")]


def test_a_tool_whose_runtime_is_missing() -> None:
    other = make_agent("other", runtime="far")
    item = agent_of(
        resolve(
            make_runtime(), make_agent(tools=[tool("other")]), target_agents={("default", "other"): other}
        ),
        "assistant",
    )
    assert problems_of(item) == [("ResolvedRefs", "RuntimeNotFound")]
