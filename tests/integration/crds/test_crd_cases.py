"""The generated CRDs on a real API server: every case of tests/data/crd-cases.yaml gets its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cluster.commands import CommandError
from tests.support.cluster.control_plane import ControlPlane
from tests.support.crds import apply_crds

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.api.v1alpha1 import KINDS

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[3]
CASES = yaml.safe_load((ROOT / "tests/data/crd-cases.yaml").read_text())
CRDS = [kind.resource.crd_name for kind in KINDS.values()]


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> ControlPlane:
    apply_crds(control_plane)
    return control_plane


def test_api_server_finds_no_fault_with_the_schemas(api: ControlPlane) -> None:
    for name in CRDS:
        conditions = json.loads(api.kubectl("get", "crd", name, "-o", "json"))["status"]["conditions"]
        assert "NonStructuralSchema" not in {condition["type"] for condition in conditions}
        assert {c["type"]: c["status"] for c in conditions}["NamesAccepted"] == "True"


def test_cases_are_there() -> None:
    assert len(CASES) > 30
    assert {case["object"]["kind"] for case in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(api: ControlPlane, case: dict[str, Any]) -> None:
    if "then" in case:
        api.kubectl("create", "-f", "-", input=json.dumps(case["object"]))
        command, sent = ("replace", "--dry-run=server"), case["then"]
    else:
        command, sent = ("create", "--dry-run=server"), case["object"]
    if "reject" in case:
        with pytest.raises(CommandError) as caught:
            api.kubectl(*command, "-f", "-", input=json.dumps(sent))
        assert case["reject"] in caught.value.output
        return
    assert case["accept"] is True
    returned = json.loads(api.kubectl(*command, "-o", "json", "-f", "-", input=json.dumps(sent)))
    for path, expected in case.get("defaults", {}).items():
        value: Any = returned
        for step in path.split("."):
            value = value[step]
        assert value == expected, path
    # The models put in the same defaults, so that local mode and a cluster see the same object.
    kind = KINDS[sent["kind"]]
    assert (
        kind.model_validate(returned).model_dump()["spec"] == kind.model_validate(sent).model_dump()["spec"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_new_object_is_not_ready_until_the_operator_has_looked(api: ControlPlane, kind: str) -> None:
    minimal = next(case["object"] for case in CASES if case.get("accept") and case["object"]["kind"] == kind)
    created = minimal | {"metadata": {"name": "fresh", "namespace": "default"}, "status": {"conditions": []}}
    api.kubectl("create", "-f", "-", input=json.dumps(created))
    resource = f"{KINDS[kind].resource.crd_name}/fresh"
    (condition,) = json.loads(api.kubectl("get", resource, "-o", "json"))["status"]["conditions"]
    assert condition["type"] == ConditionType.READY
    assert condition["status"] == "Unknown"
    assert condition["reason"] == Reason.PENDING
    assert condition["lastTransitionTime"] == "1970-01-01T00:00:00Z"
    api.kubectl("delete", resource)


def test_runtime_scales_by_its_subresource(api: ControlPlane) -> None:
    api.kubectl("create", "-f", "-", input=json.dumps(CASES[0]["object"] | {"metadata": {"name": "scaled"}}))
    api.kubectl("scale", "agentruntime/scaled", "--replicas=4")
    assert json.loads(api.kubectl("get", "agrt", "scaled", "-o", "json"))["spec"]["replicas"] == 4
    api.kubectl("delete", "agrt", "scaled")


def test_category_lists_all_kinds_with_their_columns(api: ControlPlane) -> None:
    backend = {
        "apiVersion": "aixgo.dev/v1alpha1",
        "kind": "SessionBackend",
        "metadata": {"name": "listed"},
        "spec": {"type": "File"},
    }
    api.kubectl("create", "-f", "-", input=json.dumps(backend))
    text = api.kubectl("get", "aixgo", "-o", "wide")
    assert "sessionbackend.aixgo.dev/listed" in text
    assert "Unknown" in text
    header = api.kubectl("get", "sbe", "listed").splitlines()[0].split()
    assert header == ["NAME", "TYPE", "READY", "STATUS", "DURABLE", "CONSUMERS", "AGE"]
    api.kubectl("delete", "sbe", "listed")


def test_applied_twice_changes_nothing(api: ControlPlane) -> None:
    def versions() -> str:
        return api.kubectl("get", "crd", *CRDS, "-o", "jsonpath={.items[*].metadata.generation}")

    before = versions()
    api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    assert versions() == before
