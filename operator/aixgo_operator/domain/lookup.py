"""Looking up references: a value or the Problem that says what to create or change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.api.constants import ConditionType, Reason
from aixgo_operator.domain.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo_operator.domain.snapshot import Snapshot


def unresolved(reason: Reason, message: str) -> Problem:
    """Return a problem of the condition ResolvedRefs."""
    return Problem(ConditionType.RESOLVED_REFS, reason, message)


def refused(reason: Reason, message: str) -> Problem:
    """Return a problem of the condition Accepted."""
    return Problem(ConditionType.ACCEPTED, reason, message)


def missing_secret_keys(
    snapshot: Snapshot, namespace: str, name: str, keys: Iterable[str], field: str
) -> Problem | None:
    """Return the problem if the Secret, or one of its keys, is not there. ``field``: where it is named."""
    wanted = list(keys)
    secret = snapshot.secrets.get((namespace, name))
    if secret is None:
        return unresolved(
            Reason.SECRET_NOT_FOUND,
            f"Secret {namespace}/{name} not found: create it{_with_keys(wanted)}, or change {field}",
        )
    missing = [key for key in wanted if secret.get(key) is None]
    if missing:
        return unresolved(
            Reason.KEY_NOT_FOUND,
            f"Secret {namespace}/{name} has no key {_list(missing)}: add it, or change {field}",
        )
    return None


def config_map_value(
    snapshot: Snapshot, namespace: str, name: str, key: str, field: str
) -> tuple[str, None] | tuple[None, Problem]:
    """Return the value, or the problem if the ConfigMap or its key is not there."""
    config_map = snapshot.config_maps.get((namespace, name))
    if config_map is None:
        return None, unresolved(
            Reason.CONFIG_MAP_NOT_FOUND,
            f"ConfigMap {namespace}/{name} not found: create it with key {key}, or change {field}",
        )
    value = config_map.get(key)
    if value is None:
        return None, unresolved(
            Reason.KEY_NOT_FOUND,
            f"ConfigMap {namespace}/{name} has no key {key}: add it, or change {field}",
        )
    return value, None


def missing_bundle(
    snapshot: Snapshot, namespace: str, kind: str, name: str, key: str, field: str
) -> Problem | None:
    """Return the problem if a CA bundle (Secret or ConfigMap) is not there."""
    if kind == "Secret":
        return missing_secret_keys(snapshot, namespace, name, [key], field)
    return config_map_value(snapshot, namespace, name, key, field)[1]


def _with_keys(keys: list[str]) -> str:
    if not keys:
        return ""
    return f" with {'key' if len(keys) == 1 else 'keys'} {_list(keys)}"


def _list(keys: list[str]) -> str:
    return ", ".join(keys)
