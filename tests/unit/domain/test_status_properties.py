"""Whatever is observed: Ready=True only for pods that serve what is wanted; a second status is the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.domain import (
    AUTHORITY_FINGERPRINT,
    FINGERPRINT,
    NOW,
    SETTINGS,
    generated_secrets,
    make_agent,
    make_backend,
    make_certificate,
    make_runtime,
    resolve,
    restart_hash,
    verdict,
)

from aixgo.contract import AgentStatus, SessionStatus, Statusz, TLSStatus
from aixgo_operator.domain.observation import DeploymentObservation, PodObservation, RuntimeObservation
from aixgo_operator.domain.resolved import ResolvedRuntime
from aixgo_operator.domain.status import agent_status, runtime_status

BACKEND = make_backend()


def _runtime(replicas: int, mode: str) -> ResolvedRuntime:
    runtime = make_runtime(replicas=replicas, operatingMode=mode, sessionBackendRef={"name": "sessions"})
    return resolve(runtime, make_agent(), backend=BACKEND, secrets=generated_secrets(BACKEND))


RUNTIMES = [_runtime(replicas, mode) for replicas in (0, 1, 2) for mode in ("Running", "Suspended")]
HASHES = {id(resolved): restart_hash(resolved) for resolved in RUNTIMES}


@st.composite
def statuszs(draw: st.DrawFn, resolved: ResolvedRuntime) -> Statusz:
    (agent,) = resolved.config.agents
    agents = (
        AgentStatus(
            name=agent.name,
            ready=draw(st.booleans()),
            revision=draw(st.sampled_from([agent.revision, "old"])),
            error=draw(st.sampled_from([None, "broken"])),
            loaded=draw(st.booleans()),
        ),
    )
    return Statusz(
        version="1",
        started_at="2026-03-01T11:00:00Z",
        config_revision=draw(st.sampled_from([resolved.config.revision, "old"])),
        draining=draw(st.sampled_from([False, False, True])),
        agents=draw(st.sampled_from([agents, ()])),
        tls=TLSStatus(
            mode="Mutual",
            sha256_fingerprint=draw(st.sampled_from([FINGERPRINT, "ee" * 32, None])),
            trust_bundle=(AUTHORITY_FINGERPRINT,),
        ),
        sessions=SessionStatus(
            type=draw(st.sampled_from(["Redis", "None"])), ready=draw(st.sampled_from([True, True, False]))
        ),
        last_config_error=draw(st.sampled_from([None, "refused"])),
    )


@st.composite
def observations(draw: st.DrawFn) -> tuple[ResolvedRuntime, RuntimeObservation]:
    resolved = draw(st.sampled_from(RUNTIMES))
    wanted = HASHES[id(resolved)]
    hashes = st.sampled_from([wanted, wanted, "old"])
    counts = st.integers(0, 3)
    pods = tuple(
        PodObservation(
            name=f"agents-{number}",
            ready=draw(st.booleans()),
            terminating=draw(st.sampled_from([False, False, True])),
            restart_hash=draw(hashes),
            started=draw(st.booleans()),
            waiting_reason=draw(st.sampled_from([None, "CrashLoopBackOff", "ErrImagePull"])),
            exit_code=draw(st.sampled_from([None, 0, 2])),
            statusz=draw(st.one_of(st.none(), statuszs(resolved))),
        )
        for number in range(draw(counts))
    )
    deployment = DeploymentObservation(
        generation=2,
        observed_generation=draw(st.sampled_from([1, 2])),
        desired=draw(st.sampled_from([resolved.replicas or 0, 3])),
        replicas=draw(counts),
        updated=draw(counts),
        ready=draw(counts),
        available=draw(counts),
        restart_hash=draw(hashes),
        progressing_reason=draw(
            st.sampled_from(["NewReplicaSetAvailable", "ReplicaSetUpdated", "ProgressDeadlineExceeded"])
        ),
    )
    certificate = draw(
        st.sampled_from(
            [
                make_certificate(),
                make_certificate(),
                make_certificate(not_after=NOW - timedelta(hours=1)),
                None,
            ]
        )
    )
    observation = RuntimeObservation(
        wanted_restart_hash=wanted,
        deployment=draw(st.sampled_from([deployment, deployment, None])),
        pods=pods,
        certificate=certificate,
        reconcile_error=draw(st.sampled_from([None, None, "error"])),
    )
    return resolved, observation


def _statuses(
    resolved: ResolvedRuntime, observation: RuntimeObservation, previous: list[dict[str, Any]], now: Any
) -> list[dict[str, Any]]:
    runtime = runtime_status(resolved, observation, SETTINGS, previous=previous[0], now=now)
    agent = agent_status(resolved.agents[0], resolved, observation, SETTINGS, previous=previous[1], now=now)
    return [runtime, agent]


@given(observations())
@settings(max_examples=400, deadline=None)
def test_ready_is_true_only_for_pods_that_serve_what_is_wanted(
    seen: tuple[ResolvedRuntime, RuntimeObservation],
) -> None:
    resolved, observation = seen
    runtime, agent = _statuses(resolved, observation, [{}, {}], NOW)
    serving = [
        (pod, pod.statusz)
        for pod in observation.pods
        if pod.ready and not pod.terminating and pod.statusz is not None and not pod.statusz.draining
    ]
    assert runtime["readyReplicas"] == len(serving)
    if verdict(runtime, "Ready") == ("True", "Ready"):
        assert serving
        assert resolved.runtime.spec.operating_mode == "Running"
        assert observation.deployment is not None
        assert observation.deployment.observed_generation == observation.deployment.generation
        assert runtime["observedGeneration"] == resolved.runtime.generation
        for pod, said in serving:
            assert pod.restart_hash == observation.wanted_restart_hash
            assert said.config_revision == resolved.config.revision
            assert said.tls.sha256_fingerprint == FINGERPRINT
            assert (said.sessions.type, said.sessions.ready) == ("Redis", True)
            assert any(entry.ready and entry.loaded for entry in said.agents)
    if verdict(agent, "Ready") == ("True", "Ready"):
        assert serving
        for _, said in serving:
            (entry,) = said.agents
            assert entry.ready
            assert resolved.agents[0].config is not None
            assert entry.revision == resolved.agents[0].config.revision


@given(observations())
@settings(max_examples=200, deadline=None)
def test_the_same_observation_writes_the_same_status(
    seen: tuple[ResolvedRuntime, RuntimeObservation],
) -> None:
    resolved, observation = seen
    first = _statuses(resolved, observation, [{}, {}], NOW)
    # A second later nothing has changed; only a certificate may have come closer to its end.
    again = _statuses(resolved, observation, first, NOW + timedelta(seconds=1))
    assert again == first


@given(observations(), st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_order_of_pods_does_not_matter(
    seen: tuple[ResolvedRuntime, RuntimeObservation], random: Any
) -> None:
    resolved, observation = seen
    pods = list(observation.pods)
    random.shuffle(pods)
    shuffled = replace(observation, pods=tuple(pods))
    assert _statuses(resolved, shuffled, [{}, {}], NOW) == _statuses(resolved, observation, [{}, {}], NOW)


@given(observations())
@settings(max_examples=100, deadline=None)
def test_conditions_are_what_the_crd_takes(seen: tuple[ResolvedRuntime, RuntimeObservation]) -> None:
    for status in _statuses(*seen, [{}, {}], NOW):
        kinds = [item["type"] for item in status["conditions"]]
        assert len(set(kinds)) == len(kinds) <= 16
        assert {"Reconciling", "Stalled"} - set(kinds), "never both"
        for item in status["conditions"]:
            assert item["reason"]
            assert item["message"]
            assert item["status"] in ("True", "False", "Unknown")
