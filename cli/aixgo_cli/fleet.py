"""What the objects of a cluster say about themselves, as rows and lines. Pure functions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aixgo_cli.kube import condition, is_ready

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo_cli.kube import Object


@dataclass(frozen=True, slots=True)
class Row:
    """One object at a glance."""

    kind: str
    namespace: str
    name: str
    ready: str
    reason: str
    message: str
    session_backend: str
    certificate_expires: str

    def as_data(self) -> dict[str, Any]:
        """Return the row with the field names of the API (camelCase)."""
        data = asdict(self)
        data["sessionBackend"] = data.pop("session_backend") or None
        data["certificateExpires"] = data.pop("certificate_expires") or None
        return data


def row(item: Object, runtimes: dict[tuple[str, str], Object]) -> Row:
    """Return the row of an object; ``runtimes`` by (namespace, name) tell where Agents keep sessions."""
    metadata, spec = item["metadata"], item["spec"]
    ready = condition(item, "Ready") or {"status": "Unknown", "reason": "Pending", "message": "no status yet"}
    outdated = (
        ready.get("observedGeneration", 0) < metadata.get("generation", 0) and ready["status"] == "True"
    )
    runtime = item if item["kind"] == "AgentRuntime" else None
    if item["kind"] == "Agent":
        reference = spec["runtimeRef"]
        runtime = runtimes.get((reference.get("namespace") or metadata["namespace"], reference["name"]))
    backend = (runtime or {"spec": {}})["spec"].get("sessionBackendRef") or {}
    tls = item.get("status", {}).get("tls") or {}
    return Row(
        kind=item["kind"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        # What was true of an older generation says nothing about this one.
        ready="Unknown" if outdated else ready["status"],
        reason="Outdated" if outdated else ready["reason"],
        message="the operator has not looked at the newest change yet"
        if outdated
        else ready.get("message", ""),
        session_backend=_reference(backend, metadata["namespace"]),
        certificate_expires=tls.get("notAfter", ""),
    )


def rows(items: Iterable[Object]) -> list[Row]:
    """Return the rows of objects of all kinds, in the order given."""
    everything = list(items)
    runtimes = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item
        for item in everything
        if item["kind"] == "AgentRuntime"
    }
    return [row(item, runtimes) for item in everything]


def _reference(reference: dict[str, str], namespace: str) -> str:
    name, other = reference.get("name", ""), reference.get("namespace")
    return f"{other}/{name}" if other and other != namespace else name


def living_first(pods: Iterable[Object]) -> list[Object]:
    """Return pods by name, those that have ended for good (evicted, preempted) behind all others."""
    return sorted(
        pods,
        key=lambda pod: (
            pod.get("status", {}).get("phase") in ("Failed", "Succeeded"),
            pod["metadata"]["name"],
        ),
    )


def pod_lines(pod: Object) -> list[str]:
    """Say how a pod is: its phase, and why each container that does not run does not."""
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if pod["metadata"].get("deletionTimestamp"):
        lines = [f"{name}: terminating"]
    elif is_ready(pod):
        lines = [f"{name}: Ready"]
    else:
        lines = [f"{name}: {status.get('phase', 'Unknown')}, not Ready"]
    if reason := status.get("reason"):  # Evicted, NodeShutdown, ...
        lines.append(_joined(reason, (status.get("message") or "").strip()))
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled["status"] == "False":
        lines.append(f"not scheduled: {scheduled.get('reason', '')}: {scheduled.get('message', '')}")
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        lines.extend(_container_lines(container))
    return lines


def _container_lines(container: dict[str, Any]) -> list[str]:
    name, lines = container["name"], []
    if waiting := container.get("state", {}).get("waiting"):
        lines.append(f"container {name} waits: {_joined(waiting.get('reason'), waiting.get('message'))}")
    if (ended := container.get("state", {}).get("terminated")) and ended.get("exitCode", 0) != 0:
        lines.append(f"container {name} ended with code {ended['exitCode']}: {_ended(ended)}")
    last = container.get("lastState", {}).get("terminated")
    if last and (container.get("restartCount", 0) and last.get("exitCode", 0) != 0):
        restarts, code = container["restartCount"], last["exitCode"]
        lines.append(f"container {name} was restarted {restarts} times; before: code {code}: {_ended(last)}")
    if not lines and "running" in container.get("state", {}) and not container.get("ready", True):
        lines.append(f"container {name} runs, its readiness probe does not succeed yet")
    return lines


def _ended(state: dict[str, Any]) -> str:
    return _joined(state.get("reason"), (state.get("message") or "").strip())


def _joined(*parts: str | None) -> str:
    return ": ".join(part for part in parts if part) or "no reason given"
