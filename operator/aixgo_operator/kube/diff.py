"""Is what the operator wants already there? A pure comparison of a desired with an observed object.

The desired object is a part of the observed one: defaults that the API server filled in and fields of other
managers do not count. Lists are compared as server-side apply merges them: by key where the API has a key,
else as a whole.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aixgo_operator.kube.resources import Manifest

#: Keys of the lists that the API merges by key, by the name of the field. The first set that all items have
#: is used.
_LIST_KEYS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "volumes": (("name",),),
    "env": (("name",),),
    "imagePullSecrets": (("name",),),
    "volumeMounts": (("mountPath",),),
    "ownerReferences": (("uid",),),
    "ports": (("containerPort",),),
}
#: Fields of a Service merge by port number; the ``ports`` of a NetworkPolicy are atomic.
_SERVICE_PORTS: Final = ("port",)

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}
_SUFFIXES: Final = {suffix: Decimal(10) ** power for suffix, power in _DECIMAL.items()} | {
    suffix: Decimal(2) ** power for suffix, power in _BINARY.items()
}
#: Fields that the API server does not store when they are false.
_DROPPED_WHEN_FALSE: Final = {
    "publishNotReadyAddresses",
    "readOnly",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "paused",
}
_QUANTITY_FIELDS: Final = {"requests", "limits", "capacity", "sizeLimit"}


def manifest_hash(manifest: Manifest) -> str:
    """Return 16 hex digits of the SHA-256 of a manifest's canonical JSON."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differences(desired: Any, observed: Any) -> list[str]:
    """Return the paths at which ``observed`` is not what ``desired`` wants, in order; empty if nothing has to
    change."""
    return list(_differences(desired, observed, ()))


def _differences(desired: Any, observed: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(desired, dict):
        if not isinstance(observed, dict):
            if desired or observed is not None:
                yield _text(path)
            return
        for key, value in desired.items():
            if value is None:  # an apply with null means: not set by us
                continue
            yield from _differences(value, observed.get(key), (*path, str(key)))
    elif isinstance(desired, list):
        yield from _list_differences(desired, observed, path)
    elif not _same(desired, observed, path):
        yield _text(path)


def _list_differences(desired: Sequence[Any], observed: Any, path: tuple[str, ...]) -> Iterator[str]:
    if observed is None and not desired:
        return
    if not isinstance(observed, list):
        yield _text(path)
        return
    keys = _merge_keys(desired, path)
    if keys is None:
        if len(desired) != len(observed):
            yield _text(path)
            return
        for index, (want, have) in enumerate(zip(desired, observed, strict=True)):
            yield from _differences(want, have, (*path, str(index)))
        return
    by_key = {_key(item, keys): item for item in observed if _has(item, keys)}
    for want in desired:
        key = _key(want, keys)
        where = (*path, str(key[0]))
        if key in by_key:
            yield from _differences(want, by_key[key], where)
        else:
            yield _text(where)


def _merge_keys(items: Sequence[Any], path: tuple[str, ...]) -> tuple[str, ...] | None:
    field = path[-1] if path else ""
    candidates = _LIST_KEYS.get(field, ())
    if path == ("spec", "ports"):
        candidates = (_SERVICE_PORTS,)
    for keys in candidates:
        if all(_has(item, keys) for item in items):
            return keys
    return None


def _has(item: Any, keys: tuple[str, ...]) -> bool:
    """Whether an item of a list has its key."""
    return isinstance(item, dict) and all(isinstance(item.get(key), str | int) for key in keys)


def _key(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    # The protocol belongs to the key of every port and defaults to TCP.
    protocol = (item.get("protocol", "TCP"),) if keys[0] in {"port", "containerPort"} else ()
    return (*(item.get(key) for key in keys), *protocol)


def _same(desired: Any, observed: Any, path: tuple[str, ...]) -> bool:
    if isinstance(desired, bool) or isinstance(observed, bool):
        dropped = desired is False and observed is None and path[-1:] and path[-1] in _DROPPED_WHEN_FALSE
        return bool(dropped) or desired is observed
    if desired == observed:
        return True
    if observed is None or not _QUANTITY_FIELDS.intersection(path):
        return False
    wanted, seen = quantity(desired), quantity(observed)
    return wanted is not None and wanted == seen


def quantity(value: Any) -> Decimal | None:
    """Return a Kubernetes quantity (``500m``, ``1Gi``, ``2e3``, 1) as a number, or None if it is none."""
    text = str(value).strip()
    for length in (2, 1, 0):
        suffix = text[len(text) - length :] if length else ""
        if suffix in _SUFFIXES and len(text) > length:
            try:
                return Decimal(text[: len(text) - length]) * _SUFFIXES[suffix]
            except InvalidOperation:
                continue
    return None


def _text(path: tuple[str, ...]) -> str:
    return ".".join(path) or "object"
