"""Consent: which namespaces a selector covers."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo_operator.api.v1alpha1 import Consent
from aixgo_operator.domain.consent import allowed_namespaces, allows

NAMESPACES = {
    "own": {},
    "prod": {"env": "prod", "team": "a"},
    "test": {"env": "test"},
    "bare": {},
}


def consent(**namespaces: Any) -> Consent:
    return Consent.model_validate({"namespaces": namespaces})


def selector(*expressions: dict[str, Any], **match_labels: str) -> Consent:
    return consent(
        **{
            "from": "Selector",
            "selector": {"matchLabels": match_labels, "matchExpressions": list(expressions)},
        }
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (consent(**{"from": "Same"}), ("own",)),
        (consent(**{"from": "All"}), ("*",)),
        (selector(env="prod"), ("own", "prod")),
        (selector(env="prod", team="b"), ("own",)),
        (selector({"key": "env", "operator": "In", "values": ["test", "x"]}), ("own", "test")),
        # As in every label selector, NotIn and DoesNotExist also match where the label is absent.
        (selector({"key": "env", "operator": "NotIn", "values": ["test"]}), ("bare", "own", "prod")),
        (selector({"key": "env", "operator": "Exists"}), ("own", "prod", "test")),
        (selector({"key": "env", "operator": "DoesNotExist"}), ("bare", "own")),
        (
            selector({"key": "team", "operator": "Exists"}, env="prod"),
            ("own", "prod"),
        ),
        (
            selector({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["bare"]}),
            ("bare", "own"),
        ),
        (selector(), ("bare", "own", "prod", "test")),
    ],
)
def test_allowed_namespaces(given: Consent, expected: tuple[str, ...]) -> None:
    assert allowed_namespaces(given, "own", NAMESPACES) == expected
    for namespace in NAMESPACES:
        assert allows(given, "own", namespace, NAMESPACES) == (expected == ("*",) or namespace in expected)


def test_a_namespace_that_is_not_known_is_matched_by_its_name_only() -> None:
    by_name = selector({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["new"]})
    assert allows(by_name, "own", "new", {})
    assert not allows(selector(env="prod"), "own", "new", {})
