"""The models parse what the API server returns, and refuse what it refuses, with the same words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.api.v1alpha1 import KINDS, Agent, AgentRuntime, SessionBackend, describe_errors

CASES = yaml.safe_load((Path(__file__).parents[2] / "data" / "crd-cases.yaml").read_text())
#: Written by the API server in its own words; the field is what counts.
OWN_WORDS = {"agent unknown role": "spec.role: ", "runtime negative replicas": "spec.replicas: "}


def agent(**spec: Any) -> dict[str, Any]:
    whole = {"runtimeRef": {"name": "r"}, "model": {"name": "m"}, **spec}
    return {"apiVersion": "aixgo.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "a"}, "spec": whole}


def runtime(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "aixgo.dev/v1alpha1",
        "kind": "AgentRuntime",
        "metadata": {"name": "r"},
        "spec": spec,
    }


def errors(kind: type[Agent | AgentRuntime | SessionBackend], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(data)
    return describe_errors(caught.value)


@pytest.mark.parametrize("case", [c for c in CASES if c.get("accept")], ids=lambda c: c["name"])
def test_accepted_case(case: dict[str, Any]) -> None:
    parsed = KINDS[case["object"]["kind"]].model_validate(case["object"])
    dumped = parsed.model_dump(mode="json", by_alias=True)
    for path, expected in case.get("defaults", {}).items():
        value: Any = dumped
        for step in path.split("."):
            value = value[step]
        assert value == expected, path


@pytest.mark.parametrize(
    "case", [c for c in CASES if "reject" in c and "then" not in c], ids=lambda c: c["name"]
)
def test_rejected_case(case: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        KINDS[case["object"]["kind"]].model_validate(case["object"])
    assert OWN_WORDS.get(case["name"], case["reject"]) in describe_errors(caught.value)


def test_errors_name_the_field_and_not_the_value() -> None:
    text = errors(
        Agent, agent(tools=[{"name": "Bad Name", "mcp": {"url": "ftp://host/token"}}], timeoutSeconds=0)
    )
    assert "spec.tools[0].name: " in text
    assert "spec.tools[0].mcp.url: " in text
    assert "spec.timeoutSeconds: Input should be greater than or equal to 1" in text
    assert "token" not in text
    assert "\n" not in text


def test_nulls_are_absent_fields() -> None:
    parsed = AgentRuntime.model_validate(runtime(replicas=None, tls=None, clients=None))
    assert parsed.spec.replicas == 1
    assert parsed.spec.tls.managed is not None
    assert parsed.spec.clients == ()


def test_unknown_fields_are_ignored_at_every_depth() -> None:
    parsed = Agent.model_validate(agent(future=1, model={"name": "m", "future": {"a": 1}}))
    assert parsed.spec.model is not None
    assert parsed.spec.model.name == "m"


def test_base_url_is_spelled_as_in_the_api() -> None:
    url = "https://models.example/v1"
    parsed = Agent.model_validate(agent(model={"name": "m", "baseURL": url, "baseUrl": "ignored"}))
    assert parsed.spec.model is not None
    assert parsed.spec.model.base_url == url


@pytest.mark.parametrize("field", ["env", "volumes"])
def test_duplicate_names_are_refused_like_the_api_server_does(field: str) -> None:
    assert f"spec.{field}: duplicate name 'X'" in errors(
        AgentRuntime, runtime(**{field: [{"name": "X"}] * 2})
    )


def test_raw_objects_are_handed_on_unchanged() -> None:
    volume = {"name": "v", "emptyDir": {}, "anything": [1, None]}
    assert AgentRuntime.model_validate(runtime(volumes=[volume])).spec.volumes == (volume,)


@pytest.mark.parametrize("env", [{}, {"name": ""}, {"name": 5}])
def test_environment_variables_need_a_name(env: dict[str, Any]) -> None:
    assert "spec.env[0]: name" in errors(AgentRuntime, runtime(env=[env]))


def test_objects_cannot_be_changed() -> None:
    parsed = AgentRuntime.model_validate(runtime())
    with pytest.raises(ValidationError):
        parsed.spec.replicas = 2  # type: ignore[misc]


def test_metadata_and_status_of_a_stored_object() -> None:
    stored = runtime()
    stored["metadata"] |= {
        "namespace": "team",
        "uid": "u-1",
        "generation": 7,
        "resourceVersion": "42",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "deletionTimestamp": "2026-01-02T03:04:06Z",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u-2", "controller": True}
        ],
        "managedFields": [{"manager": "kubectl"}],
    }
    stored["status"] = {"conditions": [{"type": "Ready"}], "unknown": None}
    parsed = AgentRuntime.model_validate(stored)
    assert (parsed.namespace, parsed.name, parsed.generation) == ("team", "r", 7)
    assert parsed.metadata.owner_references[0].controller
    assert parsed.metadata.deletion_timestamp is not None
    assert parsed.metadata.deletion_timestamp.tzinfo is not None
    assert parsed.status == stored["status"]


def test_wrong_version_is_refused() -> None:
    assert "apiVersion: " in errors(AgentRuntime, runtime() | {"apiVersion": "aixgo.dev/v2"})


@given(st.integers())
def test_integers_stay_within_their_format(value: int) -> None:
    if 0 <= value < 2**31:
        assert AgentRuntime.model_validate(runtime(replicas=value)).spec.replicas == value
    else:
        assert "spec.replicas: " in errors(AgentRuntime, runtime(replicas=value))


@given(
    st.integers(0, 5),
    st.sampled_from(["Mutual", "External", "Disabled"]),
    st.sets(st.sampled_from(["certificateRef", "issuerRef", "managed"])),
)
def test_what_was_parsed_is_written_back_and_parsed_again(
    replicas: int, mode: str, sources: set[str]
) -> None:
    values = {"certificateRef": {"name": "s"}, "issuerRef": {"name": "i"}, "managed": {}}
    data = runtime(replicas=replicas, tls={"mode": mode, **{source: values[source] for source in sources}})
    if len(sources) != (1 if mode == "Mutual" else 0):
        assert "spec.tls: " in errors(AgentRuntime, data)
        return
    parsed = AgentRuntime.model_validate(data)
    written = parsed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert AgentRuntime.model_validate(written).spec == parsed.spec


def test_reasons_and_types_are_what_kubernetes_takes() -> None:
    for value in (*ConditionType, *Reason):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", value), value
