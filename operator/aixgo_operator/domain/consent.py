"""Consent to being referred to from other namespaces. The object's own namespace is always included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo_operator.api.v1alpha1 import Consent, LabelSelector, LabelSelectorRequirement

#: Every namespace, in :func:`allowed_namespaces`.
EVERY_NAMESPACE: Final = ("*",)

#: The API server puts this label on every namespace.
NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"


def allows(consent: Consent, owner: str, other: str, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    """Tell whether ``consent``, given by an object in ``owner``, covers the namespace ``other``."""
    if owner == other or consent.namespaces.from_ == "All":
        return True
    selector = consent.namespaces.selector
    if consent.namespaces.from_ != "Selector" or selector is None:
        return False
    return matches(selector, _labels(other, namespaces))


def allowed_namespaces(
    consent: Consent, owner: str, namespaces: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    """Return the namespaces that ``consent`` covers, sorted; ``("*",)`` for all, present and future."""
    if consent.namespaces.from_ == "All":
        return EVERY_NAMESPACE
    return tuple(sorted({owner} | {n for n in namespaces if allows(consent, owner, n, namespaces)}))


def consent_of(giver: AgentRuntime | SessionBackend | Agent) -> Consent:
    """Return the consent that an object gives."""
    match giver:
        case AgentRuntime():
            return giver.spec.allowed_agents
        case SessionBackend():
            return giver.spec.allowed_consumers
        case Agent():
            return giver.spec.allowed_callers


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Tell whether ``labels`` fulfil the selector. An empty selector matches everything."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None


def _labels(namespace: str, namespaces: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    return {**namespaces.get(namespace, {}), NAMESPACE_NAME_LABEL: namespace}
