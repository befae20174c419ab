"""The status of an Agent: loaded and ready on every serving replica, or why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.domain import (
    NOW,
    SETTINGS,
    condition,
    generated_secrets,
    healthy,
    make_agent,
    make_backend,
    make_pod,
    make_runtime,
    resolve,
    statusz,
    verdict,
)

from aixgo.contract import AgentStatus, SessionStatus, Statusz
from aixgo_operator.domain.observation import RuntimeObservation
from aixgo_operator.domain.resolve import resolve_unattached_agent
from aixgo_operator.domain.resolved import ResolvedAgent, ResolvedRuntime
from aixgo_operator.domain.runtime_state import LOADING
from aixgo_operator.domain.status import agent_status

SESSIONS: dict[str, Any] = {"sessionBackendRef": {"name": "sessions"}}


def conclude(
    resolved: ResolvedRuntime, observation: RuntimeObservation, item: ResolvedAgent | None = None
) -> dict[str, Any]:
    agent = item or resolved.agents[0]
    return agent_status(agent, resolved, observation, SETTINGS, previous={}, now=NOW)


def said_of(resolved: ResolvedRuntime, **changes: Any) -> Statusz:
    (agent,) = statusz(resolved).agents
    return statusz(resolved, agents=(agent.changed(**changes),))


def message(status: dict[str, Any], kind: str) -> str:
    item = condition(status, kind)
    assert item is not None
    text: str = item["message"]
    return text


def test_loaded_and_ready() -> None:
    resolved = resolve(make_runtime(replicas=2), make_agent())
    status = conclude(resolved, healthy(resolved))
    assert [(item["type"], item["status"], item["reason"]) for item in status["conditions"]] == [
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "True", "Resolved"),
        ("Loaded", "True", "Loaded"),
        ("Ready", "True", "Ready"),
    ]
    config = resolved.agents[0].config
    assert config is not None
    assert {key: value for key, value in status.items() if key != "conditions"} == {
        "observedGeneration": 3,
        "readyReplicas": 2,
        "loadedRevision": config.revision,
        "address": "agents.default.svc.cluster.local:50051",
    }


def test_loaded_needs_every_serving_replica() -> None:
    resolved = resolve(make_runtime(replicas=2), make_agent())
    old = make_pod(resolved, "agents-0", statusz=said_of(resolved, revision="old"))
    status = conclude(resolved, replace(healthy(resolved), pods=(old, make_pod(resolved))))
    assert verdict(status, "Loaded") == ("False", "Pending")
    assert verdict(status, "Ready") == ("False", "Pending")
    assert "1 of 2 serving replicas" in message(status, "Loaded")
    assert status["readyReplicas"] == 1
    assert "loadedRevision" not in status


def test_a_replica_that_does_not_know_the_agent() -> None:
    resolved = resolve(make_runtime(), make_agent())
    pods = (make_pod(resolved, statusz=statusz(resolved, agents=())),)
    assert verdict(conclude(resolved, replace(healthy(resolved), pods=pods)), "Loaded") == (
        "False",
        "Pending",
    )


def test_without_a_serving_replica_nothing_is_known() -> None:
    resolved = resolve(make_runtime(), make_agent())
    status = conclude(resolved, replace(healthy(resolved), pods=()))
    assert verdict(status, "Loaded") == ("Unknown", "Pending")
    assert verdict(status, "Ready") == ("False", "Pending")
    assert verdict(status, "Reconciling") == ("True", "Pending")


def test_an_agent_that_could_not_be_loaded() -> None:
    resolved = resolve(make_runtime(), make_agent())
    said = said_of(resolved, revision="old", loaded=False, error="no module named mine")
    status = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved, statusz=said),)))
    assert verdict(status, "Loaded") == ("False", "LoadFailed")
    assert verdict(status, "Ready") == ("False", "LoadFailed")
    assert message(status, "Ready") == "no module named mine"


def test_a_pod_whose_only_agent_failed_is_not_ready_and_says_why() -> None:
    resolved = resolve(make_runtime(), make_agent())
    for error, expected in (
        ("no module named mine", ("False", "LoadFailed")),
        ("loading", ("Unknown", "Pending")),
    ):
        said = said_of(resolved, revision="", ready=False, loaded=False, error=error)
        pods = (make_pod(resolved, ready=False, statusz=said),)
        status = conclude(resolved, replace(healthy(resolved), pods=pods))
        assert verdict(status, "Loaded") == expected
        assert status["readyReplicas"] == 0


def test_a_secret_that_breaks_the_agent_is_a_failed_load_of_the_same_revision() -> None:
    resolved = resolve(make_runtime(), make_agent())
    said = said_of(resolved, loaded=False, error="Secret file openai/key is missing")
    status = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved, statusz=said),)))
    assert verdict(status, "Loaded") == ("False", "LoadFailed")


def test_the_error_of_an_older_revision_is_no_failed_load() -> None:
    resolved = resolve(make_runtime(), make_agent())
    said = said_of(resolved, revision="old", ready=False, error="model unreachable")
    status = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved, statusz=said),)))
    assert verdict(status, "Loaded") == ("False", "Pending")


def test_a_model_that_is_not_reachable_is_loaded_and_not_ready() -> None:
    resolved = resolve(make_runtime(), make_agent())
    said = said_of(resolved, ready=False, error="the model at http://m does not answer")
    status = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved, statusz=said),)))
    assert verdict(status, "Loaded") == ("True", "Loaded")
    assert verdict(status, "Ready") == ("False", "NotReady")
    assert message(status, "Ready") == "the model at http://m does not answer"
    assert status["readyReplicas"] == 0


def test_an_agent_that_fails_on_one_replica_of_two_is_a_partial_outage() -> None:
    resolved = resolve(make_runtime(replicas=2), make_agent())

    def concluded(*statuses: Statusz) -> dict[str, Any]:
        pods = [make_pod(resolved, f"p{number}", statusz=said) for number, said in enumerate(statuses)]
        return conclude(resolved, replace(healthy(resolved), pods=tuple(pods)))

    good, broken = statusz(resolved), said_of(resolved, ready=False, error="the model does not answer")
    status = concluded(good, broken)
    assert verdict(status, "Degraded") == ("True", "PartialOutage")
    told = "the agent answers on 1 of 2 serving replicas: the model does not answer"
    assert message(status, "Degraded") == told
    assert verdict(status, "Ready") == ("False", "NotReady")
    # Nothing answers, everything does, or one is on its way: no part of it is out.
    loading = said_of(resolved, ready=False, loaded=False, error=LOADING)
    for statuses in ((broken, broken), (good, good), (good, loading)):
        assert verdict(concluded(*statuses), "Degraded") is None
    resolved = resolve(make_runtime(replicas=2), make_agent(operatingMode="Suspended"))
    assert verdict(concluded(statusz(resolved), broken), "Degraded") is None


def test_an_agent_that_keeps_sessions_needs_their_backend() -> None:
    """The pods stay ready while an agent that keeps none can be called."""
    backend = make_backend()
    snapshot: dict[str, Any] = {"backend": backend, "secrets": generated_secrets(backend)}
    keeps, none = make_agent(), make_agent("forgetful", session={"mode": "Stateless"})
    resolved = resolve(make_runtime(**SESSIONS), keeps, none, **snapshot)
    assert resolved.config.sessions is not None
    away = SessionStatus(type="Redis", ready=False, error="Redis at r:6379 does not answer")
    for store, wanted in (
        (SessionStatus(type="Redis", ready=True), ("True", "Ready")),
        (away, ("False", "NotReady")),
        (SessionStatus(type="None", ready=True), ("False", "Pending")),
    ):
        pods = (make_pod(resolved), make_pod(resolved, "b", statusz=statusz(resolved, sessions=store)))
        observation = replace(healthy(resolved), pods=pods)
        assert verdict(conclude(resolved, observation, resolved.agents[0]), "Ready") == wanted
        assert verdict(conclude(resolved, observation, resolved.agents[1]), "Ready") == ("True", "Ready")
        if store is away:
            told = message(conclude(resolved, observation, resolved.agents[0]), "Ready")
            assert "Redis at r:6379 does not answer" in told
            assert "calls in a session fail" in told


def test_an_agent_that_could_keep_sessions_needs_none() -> None:
    resolved = resolve(make_runtime(), make_agent())
    assert resolved.config.sessions is None
    assert verdict(conclude(resolved, healthy(resolved)), "Ready") == ("True", "Ready")


def test_a_suspended_agent_and_an_agent_of_a_suspended_runtime() -> None:
    resolved = resolve(make_runtime(), make_agent(operatingMode="Suspended"))
    assert verdict(conclude(resolved, healthy(resolved)), "Ready") == ("False", "Suspended")
    resolved = resolve(make_runtime(operatingMode="Suspended"), make_agent())
    status = conclude(resolved, healthy(resolved))
    assert verdict(status, "Ready") == ("False", "Suspended")
    assert verdict(status, "Reconciling") is None


def test_an_agent_without_a_runtime() -> None:
    item = resolve_unattached_agent(make_agent())
    status = agent_status(item, None, None, SETTINGS, previous={}, now=NOW)
    assert verdict(status, "ResolvedRefs") == ("False", "RuntimeNotFound")
    assert verdict(status, "Ready") == ("False", "RuntimeNotFound")
    assert verdict(status, "Stalled") is None
    assert "address" not in status


def test_a_refused_agent_is_stalled_and_shows_nothing_of_its_namesake() -> None:
    runtime = make_runtime(allowedAgents={"namespaces": {"from": "All"}})
    mine = make_agent(namespace="team", runtime_namespace="default", age=1)
    resolved = resolve(runtime, make_agent(), mine)
    item = next(item for item in resolved.agents if item.agent.namespace == "team")
    status = conclude(resolved, healthy(resolved), item)
    assert verdict(status, "Ready") == ("False", "DuplicateAgentName")
    assert verdict(status, "Stalled") == ("True", "DuplicateAgentName")
    assert status["readyReplicas"] == 0
    assert "loadedRevision" not in status


def test_a_missing_secret_keeps_a_loaded_agent_from_being_ready() -> None:
    agent = make_agent(model={"name": "m", "apiKeySecretRef": {"name": "openai", "key": "k"}})
    resolved = resolve(make_runtime(), agent)
    status = conclude(resolved, healthy(resolved))
    assert verdict(status, "Loaded") == ("True", "Loaded")
    assert verdict(status, "Ready") == ("False", "SecretNotFound")


def test_other_agents_do_not_matter() -> None:
    resolved = resolve(make_runtime(), make_agent(), make_agent("other"))
    agents = tuple(
        AgentStatus(name=agent.name, ready=agent.name == "assistant", revision=agent.revision, error="x")
        for agent in resolved.config.agents
    )
    pods = (make_pod(resolved, statusz=statusz(resolved, agents=agents)),)
    assert verdict(conclude(resolved, replace(healthy(resolved), pods=pods)), "Ready") == (
        "True",
        "Ready",
    )


def test_a_call_that_a_stopping_pod_would_cut_is_told_and_works() -> None:
    def accepted(timeout: int, drain: int) -> str:
        runtime = make_runtime(updateStrategy={"drainTimeoutSeconds": drain})
        resolved = resolve(runtime, make_agent(timeoutSeconds=timeout))
        status = conclude(resolved, healthy(resolved))
        assert verdict(status, "Ready") == ("True", "Ready")
        assert verdict(status, "Accepted") == ("True", "Accepted")
        return message(status, "Accepted")

    assert accepted(timeout=60, drain=60) == "the spec is valid"
    assert accepted(timeout=61, drain=60) == (
        "the spec is valid; a call may take spec.timeoutSeconds (61), but a pod that goes away ends its calls"
        " after spec.updateStrategy.drainTimeoutSeconds (60) of AgentRuntime default/agents: raise that to"
        " keep longer calls"
    )
