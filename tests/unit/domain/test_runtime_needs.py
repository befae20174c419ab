"""What a runtime needs to be Ready besides its pods: certificates, its backend, its agents."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.domain import (
    NOW,
    condition,
    healthy,
    make_agent,
    make_certificate,
    make_pod,
    make_runtime,
    resolve,
    secret,
    statusz,
    verdict,
)
from tests.support.runtime_status import READY, conclude, resolved_runtime

from aixgo.contract import SessionStatus
from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.domain.observation import RuntimeObservation
from aixgo_operator.domain.problem import Problem
from aixgo_operator.domain.resolved import ResolvedRuntime


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        (None, "NotIssued"),
        (make_certificate(sha256_fingerprint=None), "NotIssued"),
        (make_certificate(not_after=NOW - timedelta(seconds=1)), "Expired"),
        (make_certificate(sha256_fingerprint="ff" * 32, issued_at=NOW), "ReloadPending"),
        (make_certificate(sha256_fingerprint="ff" * 32), "ReloadTimeout"),
        (make_certificate(trust_bundle=("ee" * 32,), issued_at=NOW), "ReloadPending"),
        (
            make_certificate(
                problem=Problem(ConditionType.CERTIFICATES_READY, Reason.KEY_MISMATCH, "another key")
            ),
            "KeyMismatch",
        ),
    ],
)
def test_certificates_that_do_not_serve(certificate: Any, expected: str) -> None:
    resolved = resolved_runtime()
    status = conclude(resolved, replace(healthy(resolved), certificate=certificate))
    assert verdict(status, "CertificatesReady") == ("False", expected)
    assert verdict(status, "Ready") == ("False", expected)


def test_a_fingerprint_may_be_written_with_colons() -> None:
    resolved = resolved_runtime()
    written = ":".join(["AB"] * 32)
    certificate = make_certificate(sha256_fingerprint=written)
    status = conclude(resolved, replace(healthy(resolved), certificate=certificate))
    assert verdict(status, "CertificatesReady") == ("True", "Serving")


def test_a_problem_with_the_issuer_is_one_of_references() -> None:
    problem = Problem(ConditionType.RESOLVED_REFS, Reason.ISSUER_NOT_AVAILABLE, "no cert-manager")
    resolved = resolved_runtime()
    status = conclude(resolved, replace(healthy(resolved), certificate=make_certificate(problem=problem)))
    assert verdict(status, "Ready") == ("False", "IssuerNotAvailable")


def test_a_certificate_that_will_expire_warns_and_works() -> None:
    own = resolve(
        make_runtime(tls={"mode": "Mutual", "certificateRef": {"name": "mine"}}),
        secrets={("default", "mine"): secret(tls__crt="c", tls__key="k", ca__crt="a")},
    )
    status = conclude(own, healthy(own))
    assert verdict(status, "CertificatesReady") == ("False", "ExpiringSoon"), "23 h are less than 7 days"
    assert verdict(status, "Ready") == READY
    managed = resolved_runtime()
    assert verdict(conclude(managed, healthy(managed)), "CertificatesReady") == ("True", "Serving")
    late = make_certificate(not_after=NOW + timedelta(minutes=10))
    status = conclude(managed, replace(healthy(managed), certificate=late))
    assert verdict(status, "CertificatesReady") == ("False", "ExpiringSoon"), "it should have been renewed"


@pytest.mark.parametrize("mode", ["External", "Disabled"])
def test_without_mutual_tls_certificates_are_not_required(mode: str) -> None:
    resolved = resolve(make_runtime(tls={"mode": mode}))
    status = conclude(resolved, healthy(resolved))
    assert verdict(status, "CertificatesReady") == ("True", "NotRequired")
    assert verdict(status, "Ready") == READY
    assert "tls" not in status


def test_without_a_backend_the_runtime_is_ready() -> None:
    resolved = resolve(make_runtime())
    status = conclude(resolved, healthy(resolved))
    assert verdict(status, "SessionBackendReady") == ("False", "NotConfigured")
    assert verdict(status, "Ready") == READY


def test_a_lost_backend_is_told_in_the_pods_words_also_when_they_are_unready() -> None:
    resolved = resolved_runtime()
    said = statusz(resolved, sessions=SessionStatus(type="Redis", ready=False, error="connection refused"))
    for ready in (True, False):
        pods = (make_pod(resolved, ready=ready, statusz=said),)
        status = conclude(resolved, replace(healthy(resolved), pods=pods))
        assert verdict(status, "SessionBackendReady") == ("False", "NotReady")
        item = condition(status, "Ready")
        assert item is not None
        assert (item["reason"], item["message"]) == ("NotReady", "connection refused")


def test_a_replica_that_does_not_use_the_backend_yet() -> None:
    resolved = resolved_runtime()
    said = statusz(resolved, sessions=SessionStatus(type="None", ready=True))
    status = conclude(resolved, replace(healthy(resolved), pods=(make_pod(resolved, statusz=said),)))
    assert verdict(status, "SessionBackendReady") == ("Unknown", "NotReady")
    assert verdict(status, "Ready") == ("False", "NotReady")


def with_agents(resolved: ResolvedRuntime, **said: dict[str, Any]) -> RuntimeObservation:
    """Return what is seen when agents say something else than that they serve."""
    whole = statusz(resolved)
    agents = tuple(each.changed(**said.get(each.name, {})) for each in whole.agents)
    pod = make_pod(resolved, statusz=whole.changed(agents=agents))
    return replace(healthy(resolved), pods=(pod,))


FAILED = {"ready": False, "loaded": False, "revision": "", "error": "no module named mine"}


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        (FAILED, "LoadFailed", "no agent answers on pod agents-1: agent assistant: no module named mine"),
        ({**FAILED, "ready": True, "revision": "old"}, "LoadFailed", None),
        ({**FAILED, "error": "loading"}, "Pending", "no agent answers on pod agents-1: loading"),
        ({"ready": False, "error": "the model at m does not answer"}, "NotReady", None),
    ],
)
def test_a_runtime_whose_only_agent_fails_is_not_ready(
    said: dict[str, Any], reason: str, message: str | None
) -> None:
    resolved = resolve(make_runtime(), make_agent())
    status = conclude(resolved, with_agents(resolved, assistant=said))
    assert verdict(status, "Ready") == ("False", reason)
    assert verdict(status, "Reconciling") == ("True", reason)
    ready = condition(status, "Ready")
    assert ready is not None
    assert message in (None, ready["message"])


def test_one_agent_that_fails_beside_another_is_not_the_runtimes_failure() -> None:
    resolved = resolve(make_runtime(), make_agent(), make_agent("other"))
    assert verdict(conclude(resolved, with_agents(resolved, other=FAILED)), "Ready") == READY
    assert verdict(conclude(resolved, with_agents(resolved, other=FAILED, assistant=FAILED)), "Ready") == (
        "False",
        "LoadFailed",
    )


def test_agents_that_are_not_to_answer_do_not_count() -> None:
    asleep = {"ready": False, "error": "suspended"}
    resolved = resolve(make_runtime(), make_agent(operatingMode="Suspended"))
    assert verdict(conclude(resolved, with_agents(resolved, assistant=asleep)), "Ready") == READY
    resolved = resolve(make_runtime(), make_agent(operatingMode="Suspended"), make_agent("other"))
    failing = with_agents(resolved, assistant=asleep, other=FAILED)
    assert verdict(conclude(resolved, failing), "Ready") == ("False", "LoadFailed")
