"""What is wrong with a pod, in its own words, and the same words as long as it is the same trouble."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from aixgo_operator.domain.observation import PodObservation

#: Waiting reasons of a container that is on its way.
_ON_ITS_WAY: Final = (None, "ContainerCreating", "PodInitializing")
_PULL: Final = ("ErrImagePull", "ImagePullBackOff")
_OOM: Final = "OOMKilled"
#: The kubelet alternates between two wordings of a failed pull; the longer one ends with the shorter one.
_PULL_PREFIX = re.compile(r'^Back-off pulling image "[^"]*": ErrImagePull: ')
#: How registries say that they do not know who pulls.
_WHO_PULLS = re.compile(
    r"\b(401|403|unauthorized|forbidden|denied|authorization|no basic auth)\b", re.IGNORECASE
)
_MAX_WORDS = 600
#: A pod may take that long to start, as when its image is pulled, and to end when its time is over.
_SLOW: Final = timedelta(seconds=30)
#: Pods with the same trouble whose names are told.
_MAX_NAMES: Final = 3


def trouble(pod: PodObservation) -> str | None:
    """Return what keeps the pod from serving and what to do, or None if it serves or is on its way."""
    if pod.ended:
        return _end(pod)
    if pod.unschedulable_message:
        return _unschedulable(pod.unschedulable_message)
    if pod.waiting_reason in _PULL:
        return _pull(pod.waiting_message or "")
    if pod.waiting_reason == "CrashLoopBackOff" or (pod.exit_code not in (None, 0) and not pod.ready):
        return _crash(pod)
    if pod.waiting_reason not in _ON_ITS_WAY:
        return f"{pod.waiting_reason}: {_short(pod.waiting_message or '')}".rstrip(": ")
    if pod.ready and pod.statusz is None:
        # The kubelet, which is on its node, reaches the very same port.
        said = pod.probe_error or "not probed yet"
        hint = ": does a NetworkPolicy keep the operator out?" if "did not answer" in said else ""
        return f"does not answer: {said}{hint}"
    if pod.ready or not pod.started:
        return None
    return _not_ready(pod)


def troubles(pods: Iterable[PodObservation]) -> str:
    """Return the troubles of all pods as one text, by pod name; empty if there are none.

    Pods that have ended are told only when no other has a trouble: they stay around long after it is over.
    """
    present = sorted((pod for pod in pods if not pod.terminating), key=lambda pod: pod.name)
    alive, ended = [pod for pod in present if pod.alive], [pod for pod in present if pod.ended]
    return _told(alive) or _told(ended)


def slow_starts(pods: Iterable[PodObservation], now: datetime) -> str:
    """Return which pods take long to start and do not say why; empty if there are none.

    A pod's status is silent on volumes that cannot be mounted, on slow pulls and on probes that fail.
    """
    names = [
        pod.name
        for pod in sorted(pods, key=lambda pod: pod.name)
        if pod.alive and not pod.started and pod.created_at is not None and now - pod.created_at > _SLOW
    ]
    if not names:
        return ""
    return f"{_names(names)}: does not start: kubectl describe pod {names[0]} says what it waits for"


def slow_ends(pods: Iterable[PodObservation], now: datetime) -> str:
    """Return which pods are still there long after they had to end; empty if there are none.

    Only its kubelet says that a pod has ended. Nothing that must not run twice is started before.
    """
    names = [
        pod.name
        for pod in sorted(pods, key=lambda pod: pod.name)
        if pod.terminating and not pod.ended and pod.ends_at is not None and now - pod.ends_at > _SLOW
    ]
    if not names:
        return ""
    return (
        f"{_names(names)}: has not ended in time: if its node is gone for good, the taint"
        " node.kubernetes.io/out-of-service=nodeshutdown:NoExecute on the node lets it go"
    )


def _told(pods: Iterable[PodObservation]) -> str:
    by_text: dict[str, list[str]] = {}
    for pod in pods:
        text = trouble(pod)
        if text is not None:
            by_text.setdefault(text, []).append(pod.name)
    return "; ".join(f"{_names(names)}: {text}" for text, names in by_text.items())


def _names(names: list[str]) -> str:
    if len(names) == 1:
        return f"pod {names[0]}"
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"pods {', '.join(names[:_MAX_NAMES])}{more}"


def _end(pod: PodObservation) -> str:
    words = _short(pod.ended_message or "") or "the pod has ended"
    return f"{pod.ended_reason}: {words}" if pod.ended_reason else words


def _unschedulable(message: str) -> str:
    hint = "; kubectl describe pvc says why" if "PersistentVolumeClaim" in message else ""
    return f"Unschedulable: {_short(message)}{hint}"


def _pull(message: str) -> str:
    words = _short(_PULL_PREFIX.sub("", message))
    hint = "; are the Secrets of spec.imagePullSecrets there, and right?" if _WHO_PULLS.search(words) else ""
    return f"ImagePullBackOff: {words}{hint}"


def _crash(pod: PodObservation) -> str:
    reason = pod.terminated_reason
    text = "CrashLoopBackOff: exited"
    if pod.exit_code is not None:
        text += f" with code {pod.exit_code}"
    if reason not in (None, "Error", "Completed"):
        text += f" ({reason}{': raise limits.memory of spec.resources' if reason == _OOM else ''})"
    words = _short(pod.terminated_message or "")
    return f"{text}: {words}" if words else text


def _not_ready(pod: PodObservation) -> str:
    statusz = pod.statusz
    if statusz is None:
        return f"not ready: {pod.probe_error or 'it does not answer'}"
    errors = [statusz.last_config_error, statusz.tls.last_reload_error, statusz.sessions.error]
    errors += [f"agent {agent.name}: {agent.error}" for agent in statusz.agents if agent.error]
    said = "; ".join(error for error in errors if error)
    return f"not ready: {_short(said)}" if said else "not ready"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_WORDS else f"{text[: _MAX_WORDS - 1]}…"
