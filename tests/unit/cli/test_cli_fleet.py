"""Rows of `aixgo status` and lines of `aixgo explain`, from objects as the API server has them."""

from typing import Any

from aixgo_cli.fleet import living_first, pod_lines, rows


def item(kind: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "demo", "generation": 2}
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}


def ready(status: str, reason: str, message: str = "", generation: int = 2) -> dict[str, Any]:
    entry = {"type": "Ready", "status": status, "reason": reason, "message": message}
    return {"conditions": [{**entry, "observedGeneration": generation}]}


def test_runtime_row_has_certificate_and_backend() -> None:
    status = {**ready("True", "Ready"), "tls": {"notAfter": "2030-01-01T00:00:00Z"}}
    (row,) = rows(
        [item("AgentRuntime", "agents", {"sessionBackendRef": {"name": "s", "namespace": "data"}}, status)]
    )
    assert (row.ready, row.certificate_expires, row.session_backend) == (
        "True",
        "2030-01-01T00:00:00Z",
        "data/s",
    )


def test_agent_row_has_the_backend_of_its_runtime() -> None:
    runtime = item("AgentRuntime", "agents", {"sessionBackendRef": {"name": "s"}}, ready("True", "Ready"))
    agent = item(
        "Agent", "assistant", {"runtimeRef": {"name": "agents"}}, ready("False", "Pending", "not loaded")
    )
    row = rows([runtime, agent])[1]
    assert (row.ready, row.reason, row.message, row.session_backend) == (
        "False",
        "Pending",
        "not loaded",
        "s",
    )


def test_agent_row_without_its_runtime() -> None:
    (row,) = rows(
        [item("Agent", "assistant", {"runtimeRef": {"name": "gone"}}, ready("False", "RuntimeNotFound"))]
    )
    assert (row.reason, row.session_backend) == ("RuntimeNotFound", "")


def test_ready_of_an_older_generation_is_not_shown_as_ready() -> None:
    (row,) = rows([item("SessionBackend", "s", {"type": "Redis"}, ready("True", "Ready", generation=1))])
    assert (row.ready, row.reason) == ("Unknown", "Outdated")


def test_object_that_nobody_looked_at() -> None:
    (row,) = rows([item("SessionBackend", "s", {"type": "Redis"})])
    assert (row.ready, row.reason) == ("Unknown", "Pending")


def test_row_as_data_uses_the_names_of_the_api() -> None:
    data = rows([item("SessionBackend", "s", {"type": "Redis"})])[0].as_data()
    assert data["sessionBackend"] is None
    assert data["certificateExpires"] is None
    assert data["namespace"] == "demo"


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "agents-1", **metadata}, "status": status}


def test_ready_pod_has_one_line() -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert pod_lines(pod(status)) == ["agents-1: Ready"]


def test_pod_on_its_way_out_is_not_called_ready() -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert pod_lines(pod(status, deletionTimestamp="2030-01-01T00:00:00Z")) == ["agents-1: terminating"]


def test_an_evicted_pod_says_why_and_comes_last() -> None:
    words = {"reason": "Evicted", "message": "The node was low on resource: memory. "}
    evicted = pod({"phase": "Failed", **words})
    evicted["metadata"]["name"] = "agents-0"
    assert pod_lines(evicted) == [
        "agents-0: Failed, not Ready",
        "Evicted: The node was low on resource: memory.",
    ]
    other = pod({"phase": "Pending"})
    assert living_first([evicted, other]) == [other, evicted]


def test_image_that_cannot_be_pulled() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    status = {"phase": "Pending", "containerStatuses": [{"name": "runtime", "state": waiting}]}
    assert pod_lines(pod(status)) == [
        "agents-1: Pending, not Ready",
        "container runtime waits: ImagePullBackOff: no such image",
    ]


def test_crash_shows_the_last_words() -> None:
    container = {
        "name": "runtime",
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "message": "bad configuration\n"}},
    }
    lines = pod_lines(pod({"phase": "Running", "containerStatuses": [container]}))
    assert lines[1] == "container runtime waits: CrashLoopBackOff"
    assert lines[2] == "container runtime was restarted 3 times; before: code 2: Error: bad configuration"


def test_pod_without_a_node() -> None:
    scheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes fit",
    }
    lines = pod_lines(pod({"phase": "Pending", "conditions": [scheduled]}))
    assert lines[1] == "not scheduled: Unschedulable: 0/1 nodes fit"


def test_running_but_not_ready() -> None:
    container = {"name": "runtime", "ready": False, "state": {"running": {"startedAt": "x"}}}
    lines = pod_lines(pod({"phase": "Running", "containerStatuses": [container]}))
    assert lines[1] == "container runtime runs, its readiness probe does not succeed yet"
