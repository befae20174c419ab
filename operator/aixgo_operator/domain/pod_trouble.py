"""What is wrong with a pod, in its own words, and the same words as long as it is the same trouble."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo_operator.domain.observation import PodObservation

#: Waiting reasons of a container that is on its way.
_ON_ITS_WAY: Final = (None, "ContainerCreating", "PodInitializing")
_PULL: Final = ("ErrImagePull", "ImagePullBackOff")
#: The kubelet alternates between two wordings of a failed pull; the longer one ends with the shorter one.
_PULL_PREFIX = re.compile(r'^Back-off pulling image "[^"]*": ErrImagePull: ')
_MAX_WORDS = 600


def trouble(pod: PodObservation) -> str | None:
    """Return what keeps the pod from serving, or None if it serves or is on its way."""
    if pod.unschedulable_message:
        return f"Unschedulable: {_short(pod.unschedulable_message)}"
    if pod.waiting_reason in _PULL:
        return f"ImagePullBackOff: {_short(_PULL_PREFIX.sub('', pod.waiting_message or ''))}"
    if pod.waiting_reason == "CrashLoopBackOff" or (pod.exit_code not in (None, 0) and not pod.ready):
        return _crash(pod)
    if pod.waiting_reason not in _ON_ITS_WAY:
        return f"{pod.waiting_reason}: {_short(pod.waiting_message or '')}".rstrip(": ")
    if pod.ready and pod.statusz is None:
        return f"does not answer: {pod.probe_error or 'not probed yet'}"
    if pod.ready or not pod.started:
        return None
    return _not_ready(pod)


def troubles(pods: Iterable[PodObservation]) -> str:
    """Return the troubles of all pods as one text, by pod name; empty if there are none."""
    found = [
        f"pod {pod.name}: {text}"
        for pod in sorted(pods, key=lambda pod: pod.name)
        if not pod.terminating and (text := trouble(pod)) is not None
    ]
    return "; ".join(found)


def _crash(pod: PodObservation) -> str:
    reason = pod.terminated_reason
    text = "CrashLoopBackOff: exited"
    if pod.exit_code is not None:
        text += f" with code {pod.exit_code}"
    if reason not in (None, "Error", "Completed"):
        text += f" ({reason})"
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
