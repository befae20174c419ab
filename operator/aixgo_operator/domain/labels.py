"""Labels of the objects that the operator owns, and the label selectors of its pods, which never change."""

from __future__ import annotations

from typing import Final

from aixgo_operator.api import constants as c
from aixgo_operator.domain.naming import label_value

COMPONENT_RUNTIME: Final = "runtime"
COMPONENT_REDIS: Final = "redis"
COMPONENT_FILES: Final = "files"
#: The operator's own pods; their labels are the chart's.
COMPONENT_OPERATOR: Final = "operator"

Labels = dict[str, str]


def runtime_selector(runtime: str) -> Labels:
    """Return the labels that select a runtime's pods. A Deployment's selector is immutable: so is this."""
    return {c.LABEL_RUNTIME: label_value(runtime), c.LABEL_COMPONENT: COMPONENT_RUNTIME}


def redis_selector(backend: str) -> Labels:
    """Return the labels that select the pod of a managed Redis. Immutable like a runtime's."""
    return {c.LABEL_SESSION_BACKEND: label_value(backend), c.LABEL_COMPONENT: COMPONENT_REDIS}


def runtime_labels(runtime: str) -> Labels:
    """Return the labels of a runtime's pods."""
    return {**_common("aixgo-runtime", runtime), **runtime_selector(runtime)}


def redis_labels(backend: str) -> Labels:
    """Return the labels of the pod of a managed Redis."""
    return {**_common("aixgo-redis", backend), **redis_selector(backend)}


def files_labels(backend: str) -> Labels:
    """Return the labels of the volume claim of a File backend."""
    own = {c.LABEL_SESSION_BACKEND: label_value(backend), c.LABEL_COMPONENT: COMPONENT_FILES}
    return {**_common("aixgo-sessions", backend), **own}


def with_version(labels: Labels, version: str) -> Labels:
    """Return ``labels`` with the operator's version: for objects, not for pods, which it would restart."""
    return {**labels, c.LABEL_VERSION: label_value(version)}


def selector_text(labels: Labels) -> str:
    """Return the selector as the API server's query parameter ``labelSelector`` takes it."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _common(name: str, instance: str) -> Labels:
    return {
        c.LABEL_NAME: name,
        c.LABEL_INSTANCE: label_value(instance),
        c.LABEL_PART_OF: c.PART_OF,
        c.LABEL_MANAGED_BY: c.MANAGED_BY,
    }
