"""runtime.json and /statusz: one model for both sides."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.contract import (
    AgentConfig,
    McpToolConfig,
    ModelConfig,
    PromptConfig,
    RouteConfig,
    RuntimeConfig,
    RuntimeIdentity,
    SecretFile,
    Statusz,
    ToolConfig,
    where_and_what,
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
    text = config.json()
    assert RuntimeConfig.from_json(text) == config


@given(configs, st.randoms())
def test_revision_does_not_depend_on_the_order_of_agents(config: RuntimeConfig, rnd: random.Random) -> None:
    shuffled = list(config.agents)
    rnd.shuffle(shuffled)
    other = config.changed(agents=tuple(shuffled))
    assert with_revisions(other) == with_revisions(config)


@given(configs)
def test_revisions_are_stable_once_filled_in(config: RuntimeConfig) -> None:
    once = with_revisions(config)
    assert with_revisions(once) == once


def test_a_change_of_one_agent_leaves_the_others_revisions() -> None:
    runtime = RuntimeIdentity(name="r", namespace="n")
    a, b = AgentConfig(name="a", namespace="n"), AgentConfig(name="b", namespace="n")
    before = with_revisions(RuntimeConfig(runtime=runtime, agents=(a, b)))
    changed = a.changed(prompt=PromptConfig(text="new"))
    after = with_revisions(RuntimeConfig(runtime=runtime, agents=(changed, b)))
    assert before.revision != after.revision
    assert before.agents[0].revision != after.agents[0].revision
    assert before.agents[1].revision == after.agents[1].revision


def test_unknown_fields_of_a_newer_operator_are_ignored() -> None:
    config = RuntimeConfig(runtime=RuntimeIdentity(name="r", namespace="n"))
    data = json.loads(config.json())
    data["fromTheFuture"] = {"x": 1}
    data["runtime"]["alsoNew"] = True
    assert RuntimeConfig.from_document(data) == config


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
    data = json.loads(config.json())
    assert data["agents"][0]["model"]["baseURL"] == "http://x"
    assert data["grpc"]["maxConnectionAgeSeconds"] == 600
    assert set(data["routes"][0]) == {"agent", "namespace", "address", "serverName", "spiffeId"}


def test_spiffe_id() -> None:
    assert RuntimeIdentity(name="r", namespace="n").spiffe_id == "spiffe://cluster.local/ns/n/agentruntime/r"


def document(**agent: object) -> dict[str, object]:
    return {
        "runtime": {"name": "r", "namespace": "n"},
        "agents": [{"name": "a", "namespace": "n", **agent}],
    }


def test_every_field_is_read_and_written_under_one_name() -> None:
    """What a model writes it reads again, whatever its fields are: none has two names or none."""
    agent = AgentConfig(name="a", namespace="n", inputs=("x",), role_config={"a": [1, None, {"b": True}]})
    config = RuntimeConfig(runtime=RuntimeIdentity(name="r", namespace="n"), agents=(agent,))
    written = config.document()
    assert written == json.loads(config.json())
    assert written["agents"][0]["inputs"] == ["x"]
    assert RuntimeConfig.from_document(written) == config
    assert not [name for name in [*written, *written["agents"][0]] if "_" in name]


@pytest.mark.parametrize(
    ("wrong", "where", "what"),
    [
        ({"name": "Bad!"}, "agents[0].name", "matching regex"),
        ({"name": "a\n"}, "agents[0].name", "matching regex"),
        ({"name": "a" * 65}, "agents[0].name", "matching regex"),
        ({"namespace": None}, "agents[0].namespace", "Expected str, got null"),
        ({"role": "s3cret"}, "agents[0].role", "no such choice"),
        ({"timeoutSeconds": "s3cret"}, "agents[0].timeoutSeconds", "Expected int, got str"),
        ({"timeoutSeconds": True}, "agents[0].timeoutSeconds", "Expected int, got bool"),
        ({"inputs": [1]}, "agents[0].inputs[0]", "Expected str, got int"),
        ({"model": {}}, "agents[0].model", "missing required field name"),
        ({"roleConfig": []}, "agents[0].roleConfig", "Expected object, got array"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_without_its_value(
    wrong: dict[str, object], where: str, what: str
) -> None:
    for parse in (RuntimeConfig.from_document, lambda data: RuntimeConfig.from_json(json.dumps(data))):
        with pytest.raises(msgspec.ValidationError) as caught:
            parse(document(**wrong))
        place, text = where_and_what(caught.value)
        assert place == where
        assert what in text
        assert "s3cret" not in text
        assert "Bad!" not in text


def test_what_is_no_document_is_told_as_such() -> None:
    for content in (b"", b"{", b"[]", b"null", b'{"version":'):
        with pytest.raises(msgspec.DecodeError) as caught:
            Statusz.from_json(content)
        assert where_and_what(caught.value)[0] == ""


def test_numbers_without_a_fraction_are_good_temperatures() -> None:
    config = RuntimeConfig.from_document(document(model={"name": "m", "temperature": 1}))
    model = config.agents[0].model
    assert model is not None
    assert isinstance(model.temperature, float)


def test_the_revision_of_a_configuration_stays_what_it_was() -> None:
    """Revisions that changed with the operator's version would reload every agent of an installation."""
    agent = AgentConfig(
        name="a",
        namespace="n",
        role_config={"maxRequests": 3},
        model=ModelConfig(name="m", temperature=0.5, api_key=SecretFile(secret="s", key="k")),
        tools=(ToolConfig(name="t", mcp=McpToolConfig(url="https://t", allowed_tools=("x",))),),
    )
    runtime = RuntimeIdentity(name="r", namespace="n")
    config = with_revisions(RuntimeConfig(runtime=runtime, agents=(agent,)))
    assert (config.agents[0].revision, config.revision) == ("29facb2f94077ba5", "b1ac1136cced8d27")
