"""The certificate authority changes while conversations go on, with a Redis of the operator's."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support import manifests
from tests.support.demo.steps import OPERATOR_NAMESPACE

if TYPE_CHECKING:
    from tests.support.workload.workload import Workload

PHASES = ["Distributing", "Signing", "Pruning", "Stable"]
#: Seconds that a whole change may take on a busy machine.
PATIENCE = 300.0
NAME = "talking"


def test_a_change_of_the_authority_is_not_noticed_by_any_call(workload: Workload) -> None:
    """Asked for by annotation. Client, runtime and Redis each hold certificates of it, and trust it."""
    workload.apply(
        manifests.managed_redis(workload.namespace),
        workload.runtime(NAME, replicas=2, sessionBackendRef={"name": "sessions"}),
        workload.agent(NAME, "where"),
        workload.agent(NAME, "count", session={"mode": "Persistent"}),
    )
    workload.wait_ready(NAME)
    pods = {pod["metadata"]["uid"] for pod in workload.pods(NAME)}
    old = authority(workload)["ca.crt"]
    workload.call(NAME, "where", workers=2)
    workload.call(NAME, "count", workers=2)
    for function in ("where", "count"):
        workload.wait_answered(NAME, function=function)

    mark = str(time.time_ns())
    annotation = f"aixgo.dev/rotate={mark}"
    workload.installation.kubectl(
        "annotate", "--overwrite", "secret/aixgo-ca", annotation, "-n", OPERATOR_NAMESPACE
    )
    seen = follow(workload, mark)
    new = authority(workload)["ca.crt"]
    workload.wait_ready(NAME)
    workload.installation.wait_ready("sessionbackends.aixgo.dev/sessions", workload.namespace)
    for function in ("where", "count"):
        workload.wait_answered(NAME, function=function)
    account = workload.stop_calls()
    print(f"phases: {seen}; answered: {account['answered']}; slowest: {account['slowest']}")

    assert account["failed"] == 0, account["failures"]
    assert [phase for phase, _ in seen] == PHASES
    assert new != old
    assert {pod["metadata"]["uid"] for pod in workload.pods(NAME)} == pods, "a pod was replaced"
    trusted = [hashlib.sha256(x509.load_pem_x509_certificate(new).public_bytes(Encoding.DER)).hexdigest()]
    for pod in workload.pods(NAME):
        said = statusz(workload, pod["metadata"]["name"])
        assert plain(said["tls"]["trustBundle"]) == trusted
        assert plain(said["sessions"]["trustBundle"]) == trusted
    for secret in (f"{NAME}-tls", "sessions-redis-tls", "callers-client-pod"):
        data = {
            key: base64.b64decode(value) for key, value in workload.get(f"secret/{secret}")["data"].items()
        }
        leaf, issuer = (x509.load_pem_x509_certificate(pem) for pem in (data["tls.crt"], new))
        leaf.verify_directly_issued_by(issuer)
        assert data["ca.crt"].strip() == new.strip(), f"{secret} tells to trust more than the new authority"


def follow(workload: Workload, mark: str) -> list[tuple[str, float]]:
    """Return the phases of a change until it is over, and after how many seconds each began.

    The caller's kubelet is told to look for new files, as the operator tells those of its own pods.
    """
    seen: list[tuple[str, float]] = []
    begin = time.monotonic()
    while not seen or seen[-1][0] != "Stable":
        took = time.monotonic() - begin
        assert took < PATIENCE, f"not over after {took:.0f} s: {seen}"
        secret = authority(workload)
        phase = secret.get("phase", b"Stable").decode()
        begun = annotation_of(workload) == mark
        if begun and (not seen or seen[-1][0] != phase):
            seen.append((phase, round(took, 1)))
        workload.refresh_caller(str(time.monotonic_ns()))
        time.sleep(0.5)
    return seen


def authority(workload: Workload) -> dict[str, bytes]:
    return decoded(workload.installation.get("secret/aixgo-ca", OPERATOR_NAMESPACE))


def decoded(secret: dict[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in secret["data"].items()}


def annotation_of(workload: Workload) -> str | None:
    """Return which wish for a change the operator has heard."""
    metadata = workload.installation.get("secret/aixgo-ca", OPERATOR_NAMESPACE)["metadata"]
    heard: str | None = metadata.get("annotations", {}).get("aixgo.dev/rotated")
    return heard


def statusz(workload: Workload, pod: str) -> dict[str, Any]:
    path = f"/api/v1/namespaces/{workload.namespace}/pods/{pod}:8080/proxy/statusz"
    found: dict[str, Any] = json.loads(workload.installation.kubectl("get", "--raw", path))
    return found


def plain(fingerprints: list[str]) -> list[str]:
    return [each.replace(":", "").lower() for each in fingerprints]
