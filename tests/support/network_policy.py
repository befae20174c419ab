"""Who may reach which port, by the rules of networking.k8s.io/v1, for ingress between pods.

No network plug-in of the test clusters enforces policies; this says what one that does has to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Pod:
    """A pod: its namespace (which has the label of its name) and its labels."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, namespace: str, template: dict[str, Any]) -> Self:
        """A pod of a template."""
        return cls(namespace, template["metadata"]["labels"])


def reaches(policies: Iterable[dict[str, Any]], source: Pod, target: Pod, port: str) -> bool:
    """Whether ``source`` may open a TCP connection to a named port of ``target``."""
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace
        and "Ingress" in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], target.labels)
    ]
    if not selecting:
        return True
    # Policies add up: one rule of one policy is enough.
    return any(
        _has_port(rule, port) and _has_peer(rule, source, target)
        for spec in selecting
        for rule in spec.get("ingress") or ()
    )


def _has_port(rule: dict[str, Any], port: str) -> bool:
    return "ports" not in rule or any(
        each.get("port", port) == port and each.get("protocol", "TCP") == "TCP" for each in rule["ports"]
    )


def _has_peer(rule: dict[str, Any], source: Pod, target: Pod) -> bool:
    return "from" not in rule or any(_is_peer(peer, source, target) for peer in rule["from"])


def _is_peer(peer: dict[str, Any], source: Pod, target: Pod) -> bool:
    assert set(peer) <= {"namespaceSelector", "podSelector"}, f"not known here: {peer}"
    if "namespaceSelector" in peer:
        namespace = {"kubernetes.io/metadata.name": source.namespace}
        if not _selects(peer["namespaceSelector"], namespace):
            return False
    elif source.namespace != target.namespace:
        return False
    return _selects(peer.get("podSelector") or {}, source.labels)


def _selects(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    assert all(each["operator"] == "In" for each in expressions), f"not known here: {selector}"
    return wanted.items() <= dict(labels).items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )
