"""Every change comes back as a watch event: a watch that is silent after one is dead, though its task runs.

What the operator writes, and what it finds changed when it reads the cluster, has to be told by the watch of
that kind, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo_operator.api.constants import LABEL_MANAGED_BY, MANAGED_BY
from aixgo_operator.kube.resources import NAMESPACES, OUR_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo_operator.kube.resources import Manifest

_OUR_KINDS = frozenset(resource.kind for resource in OUR_KINDS)


class Echo:
    """Changes that no watch event has answered yet. ``namespaces``: the watched ones; empty: all."""

    def __init__(self, namespaces: tuple[str, ...], monotonic: Callable[[], float]) -> None:
        self._namespaces = namespaces
        self._monotonic = monotonic
        self._since: dict[tuple[str, str], float] = {}

    def expect(self, manifest: Manifest) -> None:
        """A new version of this object was seen."""
        watch = self._watch(manifest)
        if watch is not None:
            self._since.setdefault(watch, self._monotonic())

    def heard(self, kind: str, namespace: str) -> None:
        """A watch has told something."""
        self._since.pop((kind, namespace if self._namespaces else ""), None)

    def silent(self, seconds: float) -> list[str]:
        """Return the watches that have left a change unanswered for so long."""
        before = self._monotonic() - seconds
        late = sorted(watch for watch, since in self._since.items() if since < before)
        return [f"{kind} in {namespace}" if namespace else kind for kind, namespace in late]

    def _watch(self, manifest: Manifest) -> tuple[str, str] | None:
        kind, metadata = manifest["kind"], manifest["metadata"]
        labels = metadata.get("labels") or {}
        if kind == NAMESPACES.kind:
            return None if self._namespaces else (kind, "")
        if kind not in _OUR_KINDS and labels.get(LABEL_MANAGED_BY) != MANAGED_BY:
            return None  # the watches select by this label
        if not self._namespaces:
            return (kind, "")
        namespace = metadata.get("namespace", "")
        return (kind, namespace) if namespace in self._namespaces else None
