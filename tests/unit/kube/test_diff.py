"""Does the observed object have what the desired one wants?"""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo_operator.kube.diff import differences, manifest_hash, quantity

_SCALARS = st.one_of(st.text(max_size=5), st.integers(-5, 5), st.booleans())
_KEYS = st.sampled_from(["a", "b", "name", "spec", "ports", "containers", "data"])
_OBJECTS = st.recursive(
    st.dictionaries(_KEYS, _SCALARS, max_size=3),
    lambda inner: st.dictionaries(_KEYS, st.one_of(_SCALARS, inner, st.lists(inner, max_size=2)), max_size=3),
    max_leaves=8,
)


@given(_OBJECTS)
def test_an_object_has_no_difference_to_itself(manifest: dict[str, Any]) -> None:
    assert differences(manifest, copy.deepcopy(manifest)) == []


@given(_OBJECTS, st.dictionaries(st.sampled_from(["x", "y"]), _SCALARS, min_size=1))
def test_what_others_added_is_no_difference(manifest: dict[str, Any], more: dict[str, Any]) -> None:
    def grown(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: grown(item) for key, item in value.items()} | more
        if isinstance(value, list):
            return [grown(item) for item in value]
        return value

    assert differences(manifest, grown(manifest)) == []


@given(_OBJECTS, st.data())
def test_any_changed_value_is_a_difference(manifest: dict[str, Any], data: st.DataObject) -> None:
    def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if isinstance(value, dict):
            return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
        if isinstance(value, list):
            return [leaf for key, item in enumerate(value) for leaf in leaves(item, (*path, key))]
        return [path]

    found = leaves(manifest)
    if not found:
        return
    path = data.draw(st.sampled_from(found))
    changed = copy.deepcopy(manifest)
    target = changed
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = f"{target[path[-1]]}!"
    assert differences(manifest, changed)


@given(_OBJECTS)
def test_the_hash_does_not_depend_on_the_order_of_keys(manifest: dict[str, Any]) -> None:
    assert manifest_hash(manifest) == manifest_hash(dict(reversed(list(manifest.items()))))


def test_lists_with_keys_ignore_order_and_foreign_items() -> None:
    desired = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}
    injected = {"name": "mesh", "image": "9"}
    observed = {
        "containers": [injected, {"name": "b", "image": "2"}, {"name": "a", "image": "1", "tty": True}]
    }
    assert differences(desired, observed) == []
    observed["containers"][2]["image"] = "3"
    assert differences(desired, observed) == ["containers.a.image"]
    del observed["containers"][2]
    assert differences(desired, observed) == ["containers.a"]


def test_lists_without_keys_are_compared_as_a_whole() -> None:
    assert differences({"args": ["serve"]}, {"args": ["serve", "more"]}) == ["args"]
    assert differences({"args": ["a", "b"]}, {"args": ["b", "a"]}) == ["args.0", "args.1"]
    policy = {"spec": {"ingress": [{"ports": [{"port": 1}]}]}}
    observed = {"spec": {"ingress": [{"ports": [{"port": 1, "protocol": "TCP"}]}, {}]}}
    assert differences(policy, observed) == ["spec.ingress"]


def test_ports_of_a_service_are_told_apart_by_number_and_protocol() -> None:
    desired = {"spec": {"ports": [{"port": 1, "name": "a"}]}}
    assert differences(desired, {"spec": {"ports": [{"port": 1, "protocol": "TCP", "name": "a"}]}}) == []
    assert differences(desired, {"spec": {"ports": [{"port": 1, "protocol": "UDP", "name": "a"}]}})


def test_what_the_api_server_leaves_out_when_it_is_empty() -> None:
    assert differences({"a": None, "b": {}, "c": []}, {}) == []
    assert differences({"volumes": [{"name": "x", "emptyDir": {}}]}, {"volumes": [{"name": "x"}]}) == []
    # A pointer in the API: absent is not false.
    assert differences({"automountServiceAccountToken": False}, {}) == ["automountServiceAccountToken"]
    assert differences({"spec": {"publishNotReadyAddresses": False}}, {"spec": {}}) == []
    assert differences(
        {"spec": {"publishNotReadyAddresses": False}}, {"spec": {"publishNotReadyAddresses": True}}
    )
    assert differences({"replicas": 0}, {}) == ["replicas"]
    assert differences({"replicas": 1}, {"replicas": True}) == ["replicas"]


def test_quantities_are_equal_by_value() -> None:
    desired = {"requests": {"cpu": "0.5", "memory": "1024Mi"}}
    assert differences(desired, {"requests": {"cpu": "500m", "memory": "1Gi"}}) == []
    assert differences(desired, {"requests": {"cpu": "501m", "memory": "1Gi"}}) == ["requests.cpu"]
    # Elsewhere text is text.
    assert differences({"data": {"a": "1024Mi"}}, {"data": {"a": "1Gi"}}) == ["data.a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("1Gi", str(2**30)), ("1k", "1000"), (2, "2"), ("1e3", "1000"), ("1.5Ki", "1536")],
)
def test_quantity(text: str | int, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi x", "abc", "1GiB"])
def test_what_is_no_quantity(text: str) -> None:
    assert quantity(text) is None


def test_items_whose_key_is_no_name_are_compared_as_a_whole() -> None:
    strange: dict[str, Any] = {"containers": [{"name": {}, "a": "1"}]}
    assert differences(strange, {"containers": [{"name": {}, "a": "1"}]}) == []
    assert differences(strange, {"containers": [{"name": {}, "a": "2"}]}) == ["containers.0.a"]
    assert differences({"containers": [{"name": "a"}]}, {"containers": [{"name": {}}]}) == ["containers.a"]
