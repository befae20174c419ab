"""Schemas of releases: what was taken once is taken for ever (O12), and every narrowing is seen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aixgo.version import version
from aixgo_operator.api.compatibility import changed_defaults, narrowed
from aixgo_operator.api.constants import VERSION
from aixgo_operator.api.crdgen import crd
from aixgo_operator.api.v1alpha1 import KINDS

RELEASES = Path(__file__).resolve().parents[2] / "data" / "releases"
CHART = Path(__file__).resolve().parents[3] / "charts" / "aixgo-crds" / "Chart.yaml"
DEFINITIONS = sorted(RELEASES.glob("*/crds/*.yaml"))


def by_version(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in definition["spec"]["versions"]}


@pytest.mark.parametrize("path", DEFINITIONS, ids=[f"{p.parents[1].name} {p.stem}" for p in DEFINITIONS])
def test_o12_nothing_of_a_release_is_taken_back(path: Path) -> None:
    """O12: no field is removed, newly required or narrower, no default another one, no version gone."""
    old = yaml.safe_load(path.read_text())
    new = crd(KINDS[old["spec"]["names"]["kind"]])
    assert {each: new["spec"]["names"][each] for each in ("kind", "plural")} == {
        each: old["spec"]["names"][each] for each in ("kind", "plural")
    }
    assert set(old["spec"]["names"]["shortNames"]) <= set(new["spec"]["names"]["shortNames"])
    versions = by_version(new)
    for name, each in by_version(old).items():
        assert versions[name]["served"] or not each["served"]
        # Objects in the store are of this version, and nobody converts them.
        assert versions[name]["storage"] == each["storage"]
        assert each["subresources"].items() <= versions[name]["subresources"].items()
        before, after = (item["schema"]["openAPIV3Schema"] for item in (each, versions[name]))
        assert list(narrowed(before, after)) == []
        assert list(changed_defaults(before, after)) == []


def test_every_release_is_there() -> None:
    """The version of the chart is one of them: whoever releases keeps its definitions and samples."""
    released = yaml.safe_load(CHART.read_text())["version"]
    for path in RELEASES.iterdir():
        assert {each.stem for each in (path / "crds").iterdir()} == {
            k.resource.plural for k in KINDS.values()
        }
        kinds = {item["kind"] for item in yaml.safe_load_all((path / "objects.yaml").read_text())}
        assert kinds == set(KINDS)
    assert released in {path.name for path in RELEASES.iterdir()}
    assert version().startswith(released)


SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 10, "default": "a"},
        "mode": {"type": "string", "enum": ["A", "B"]},
        "port": {"type": "integer", "minimum": 1, "maximum": 9},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
    "x-kubernetes-validations": [{"rule": "self.port < 9", "message": "m"}],
}


def _set(*path: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        for step in path:
            schema = schema[step]
        schema.update(values)

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        *parents, last = path
        for step in parents:
            schema = schema[step]
        del schema[last]

    return change


P = "properties"
NARROWER = {
    "a field is gone": (_drop(P, "mode"), ".mode is missing"),
    "a field of an item is gone": (_drop(P, "list", "items", P, "x"), ".list[].x is missing"),
    "newly required": (_set(required=["name", "mode"]), ".mode is required"),
    "another type": (_set(P, "port", type="string"), ".port: type is string"),
    "a value is gone": (_set(P, "mode", enum=["A"]), ".mode: B is not allowed"),
    "only some values": (_set(P, "name", enum=["a"]), ".name: any value is not allowed"),
    "shorter": (_set(P, "name", maxLength=9), ".name: maxLength is 9, not 10"),
    "a length at all": (_set(P, "mode", maxLength=9), ".mode: maxLength is 9, not None"),
    "at least more": (_set(P, "port", minimum=2), ".port: minimum is 2"),
    "at most less": (_set(P, "port", maximum=8), ".port: maximum is 8"),
    "at least something": (_set(P, "list", minItems=1), ".list: minItems is 1"),
    "a pattern": (_set(P, "name", pattern="a+"), ".name: pattern is a+"),
    "a rule": (
        _set(**{"x-kubernetes-validations": [{"rule": "self.port < 8", "message": "m"}]}),
        ".: a rule is new: self.port < 8",
    ),
    "other values of a map": (
        _set(P, "labels", "additionalProperties", type="integer"),
        ".labels.*: type is",
    ),
    "no map": (_drop(P, "labels", "additionalProperties"), ".labels: names of one's own"),
    "no unknown fields": (
        _drop(P, "raw", "x-kubernetes-preserve-unknown-fields"),
        ".raw: x-kubernetes-preserve-unknown-fields is gone",
    ),
    "items are unique": (
        _set(P, "list", **{"x-kubernetes-list-type": "set"}),
        ".list: x-kubernetes-list-type",
    ),
}
WIDER = {
    "the same": lambda schema: None,
    "another field": _set(P, more={"type": "string"}),
    "another field, required, with a default": lambda schema: (
        schema[P].update(more={"type": "string", "default": "x"}),
        schema["required"].append("more"),
    ),
    "not required": _set(required=[]),
    "another value": _set(P, "mode", enum=["A", "B", "C"]),
    "any value": _drop(P, "mode", "enum"),
    "longer": _set(P, "name", maxLength=11),
    "any length": _drop(P, "name", "maxLength"),
    "no rule": _drop("x-kubernetes-validations"),
    "another text": _set(P, "name", description="What it is called."),
}


@pytest.mark.parametrize(("change", "word"), NARROWER.values(), ids=list(NARROWER))
def test_what_is_narrower_is_seen(change: Callable[[dict[str, Any]], None], word: str) -> None:
    other = copy.deepcopy(SPEC)
    change(other)
    (found,) = narrowed(SPEC, other)
    assert found.startswith(word)


@pytest.mark.parametrize("change", WIDER.values(), ids=list(WIDER))
def test_what_is_wider_is_fine(change: Callable[[dict[str, Any]], None]) -> None:
    other = copy.deepcopy(SPEC)
    change(other)
    assert list(narrowed(SPEC, other)) == []


def test_changed_defaults_are_seen() -> None:
    for change in (_set(P, "name", default="b"), _drop(P, "name", "default")):
        other = copy.deepcopy(SPEC)
        change(other)
        (found,) = changed_defaults(SPEC, other)
        assert found.startswith(".name: default is ")
    assert VERSION in by_version(crd(KINDS["Agent"]))
