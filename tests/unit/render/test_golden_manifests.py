"""The manifests of some typical objects, as YAML in ``tests/golden``. ``UPDATE_GOLDEN=1`` rewrites them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.support.domain import (
    SETTINGS,
    config_map,
    generated_secrets,
    make_agent,
    make_backend,
    make_runtime,
    resolve,
    secret,
)

from aixgo_operator.domain.resolve import resolve_backend
from aixgo_operator.domain.snapshot import Snapshot
from aixgo_operator.render.common import Manifest
from aixgo_operator.render.manifests import render_backend, render_runtime

GOLDEN = Path(__file__).parents[2] / "golden"
OPEN = {"namespaces": {"from": "All"}}


def runtime_minimal() -> list[Manifest]:
    return render_runtime(resolve(make_runtime(), make_agent(prompt="Be short.")), SETTINGS)


def runtime_with_managed_redis() -> list[Manifest]:
    backend = make_backend()
    runtime = make_runtime(replicas=2, sessionBackendRef={"name": "sessions"}, clients=[{"name": "cli"}])
    agents = (
        make_agent(model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}),
        make_agent("reviewer", operatingMode="Suspended"),
    )
    secrets = {**generated_secrets(backend), ("default", "openai"): secret(**{"api-key": "x"})}
    return render_runtime(resolve(runtime, *agents, backend=backend, secrets=secrets), SETTINGS)


def runtime_with_everything() -> list[Manifest]:
    other = make_agent("other", "team-b", runtime="far", allowedCallers=OPEN)
    agent = make_agent(
        promptFrom={"configMapKeyRef": {"name": "prompts", "key": "main"}},
        tools=[
            {"name": "search", "mcp": {"url": "http://mcp", "headersSecretRef": {"name": "headers"}}},
            {"name": "ask", "agentRef": {"name": "other", "namespace": "team-b"}},
        ],
        allowedCallers=OPEN,
    )
    runtime = make_runtime(
        image="registry.example/mine:3",
        autoscaling={"minReplicas": 2, "maxReplicas": 5},
        tls={
            "mode": "Mutual",
            "certificateRef": {"name": "mine"},
            "caBundleRef": {"kind": "ConfigMap", "name": "ca"},
        },
        disruptionBudget={"minAvailable": 1},
        env=[{"name": "LOG_LEVEL", "value": "debug"}],
        resources={"limits": {"memory": "1Gi"}},
        nodeSelector={"disk": "ssd"},
    )
    resolved = resolve(
        runtime,
        agent,
        namespaces={"default": {}, "team-b": {}},
        secrets={
            ("default", "mine"): secret(tls__crt="c", tls__key="k"),
            ("default", "headers"): secret(Authorization="x"),
        },
        config_maps={
            ("default", "ca"): config_map(**{"ca.crt": "pem"}),
            ("default", "prompts"): config_map(main="Hello.\nBe kind."),
        },
        target_agents={("team-b", "other"): other},
        target_runtimes={("team-b", "far"): make_runtime("far", "team-b")},
    )
    return render_runtime(resolved, SETTINGS)


def runtime_with_files() -> list[Manifest]:
    backend = make_backend(type="File")
    runtime = make_runtime(sessionBackendRef={"name": "sessions"}, tls={"mode": "Disabled"})
    return render_runtime(resolve(runtime, make_agent(), backend=backend), SETTINGS)


def backend_managed_redis() -> list[Manifest]:
    redis = {"managed": {"storage": "2Gi", "storageClassName": "fast", "maxMemory": "200mb"}}
    backend = make_backend(type="Redis", redis=redis)
    return render_backend(resolve_backend(Snapshot(backend=backend), SETTINGS), SETTINGS)


def backend_file() -> list[Manifest]:
    backend = make_backend(type="File", deletionPolicy="Delete")
    return render_backend(resolve_backend(Snapshot(backend=backend), SETTINGS), SETTINGS)


CASES: list[Callable[[], list[Manifest]]] = [
    runtime_minimal,
    runtime_with_managed_redis,
    runtime_with_everything,
    runtime_with_files,
    backend_managed_redis,
    backend_file,
]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, no anchors: made to be read in a diff."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_golden(case: Callable[[], list[Manifest]]) -> None:
    path = GOLDEN / f"{case.__name__}.yaml"
    manifests = case()
    text = yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=110)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.is_file(), f"{path.name} is missing: run with UPDATE_GOLDEN=1 and read the result"
    assert text == path.read_text(), "run with UPDATE_GOLDEN=1 and read the difference"
    assert list(yaml.safe_load_all(text)) == manifests
