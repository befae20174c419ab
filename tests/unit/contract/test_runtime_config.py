"""runtime.json and /statusz: one model for both sides."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from aixgo.contract import (
    AgentConfig,
    ModelConfig,
    PromptConfig,
    RouteConfig,
    RuntimeConfig,
    RuntimeIdentity,
    SecretFile,
    with_revisions,
)

names = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
agents = st.builds(
    AgentConfig,
    name=names,
    namespace=names,
    prompt=st.builds(PromptConfig, text=st.text(max_size=50)),
    model=st.none()
    | st.builds(ModelConfig, name=names, api_key=st.none() | st.builds(SecretFile, secret=names, key=names)),
    timeout_seconds=st.integers(1, 100),
)
configs = st.builds(
    RuntimeConfig,
    runtime=st.builds(RuntimeIdentity, name=names, namespace=names),
    agents=st.lists(agents, max_size=5, unique_by=lambda a: (a.namespace, a.name)).map(tuple),
)


@given(configs)
def test_round_trip_through_json(config: RuntimeConfig) -> None:
    text = config.model_dump_json(by_alias=True)
    assert RuntimeConfig.model_validate_json(text) == config


@given(configs, st.randoms())
def test_revision_does_not_depend_on_the_order_of_agents(config: RuntimeConfig, rnd: random.Random) -> None:
    shuffled = list(config.agents)
    rnd.shuffle(shuffled)
    other = config.model_copy(update={"agents": tuple(shuffled)})
    assert with_revisions(other) == with_revisions(config)


@given(configs)
def test_revisions_are_stable_once_filled_in(config: RuntimeConfig) -> None:
    once = with_revisions(config)
    assert with_revisions(once) == once


def test_a_change_of_one_agent_leaves_the_others_revisions() -> None:
    runtime = RuntimeIdentity(name="r", namespace="n")
    a, b = AgentConfig(name="a", namespace="n"), AgentConfig(name="b", namespace="n")
    before = with_revisions(RuntimeConfig(runtime=runtime, agents=(a, b)))
    changed = a.model_copy(update={"prompt": PromptConfig(text="new")})
    after = with_revisions(RuntimeConfig(runtime=runtime, agents=(changed, b)))
    assert before.revision != after.revision
    assert before.agents[0].revision != after.agents[0].revision
    assert before.agents[1].revision == after.agents[1].revision


def test_unknown_fields_of_a_newer_operator_are_ignored() -> None:
    config = RuntimeConfig(runtime=RuntimeIdentity(name="r", namespace="n"))
    data = json.loads(config.model_dump_json(by_alias=True))
    data["fromTheFuture"] = {"x": 1}
    data["runtime"]["alsoNew"] = True
    assert RuntimeConfig.model_validate(data) == config


def test_names_in_json_are_those_of_the_contract() -> None:
    config = RuntimeConfig(
        runtime=RuntimeIdentity(name="r", namespace="n"),
        agents=(AgentConfig(name="a", namespace="n", model=ModelConfig(name="m", base_url="http://x")),),
        routes=(
            RouteConfig(
                agent="b", namespace="n", address="dns:///x", server_name="x", spiffe_id="spiffe://x"
            ),
        ),
    )
    data = json.loads(config.model_dump_json(by_alias=True))
    assert data["agents"][0]["model"]["baseURL"] == "http://x"
    assert data["grpc"]["maxConnectionAgeSeconds"] == 600
    assert set(data["routes"][0]) == {"agent", "namespace", "address", "serverName", "spiffeId"}


def test_spiffe_id() -> None:
    assert RuntimeIdentity(name="r", namespace="n").spiffe_id == "spiffe://cluster.local/ns/n/agentruntime/r"
