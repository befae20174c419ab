"""The generated CRDs: committed, complete, and in the form that the API server wants."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aixgo_operator.api import crdgen
from aixgo_operator.api.base import ApiModel
from aixgo_operator.api.constants import ANNOTATION_SCHEMA_HASH
from aixgo_operator.api.v1alpha1 import KINDS, CustomResource

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = {
    document["spec"]["names"]["kind"]: document
    for document in yaml.safe_load_all((ROOT / "tests/data/crds-reference.yaml").read_text())
    if document
}
#: What refuses nothing: of an atomic map, the fields have one owner together.
FREE = {"description", "properties", "x-kubernetes-map-type"}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def missing(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Everything of `wanted` that `found` lacks, and every constraint that only `found` has."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                yield f"{path}.{key} is missing"
            else:
                yield from missing(value, found[key], f"{path}.{key}")
        if "type" in wanted and "properties" not in path.rpartition(".")[2]:
            for key in found.keys() - wanted.keys() - FREE:
                yield f"{path}.{key} is an additional constraint"
    elif isinstance(wanted, list) and isinstance(found, list) and all(isinstance(i, dict) for i in wanted):
        for item in wanted:
            if item not in found and not any(not list(missing(item, other)) for other in found):
                yield f"{path} lacks {item}"
    elif wanted != found:
        yield f"{path} is {found}, not {wanted}"


def nodes(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield name, child
        yield from nodes(child)
    if "items" in schema:
        yield from nodes(schema["items"])


@EVERY_KIND
def test_has_everything_of_the_reference(kind: type[CustomResource]) -> None:
    definition = crdgen.crd(kind)
    reference = REFERENCE[kind.resource.kind]
    assert list(missing(reference["spec"], definition["spec"])) == []
    assert definition["metadata"]["name"] == reference["metadata"]["name"]


def test_the_comparison_sees_every_kind_of_difference() -> None:
    reference = REFERENCE["SessionBackend"]["spec"]

    def changed(change: Any) -> list[str]:
        other = copy.deepcopy(reference)
        change(other["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
        return list(missing(reference, other))

    assert changed(lambda spec: None) == []
    assert changed(lambda spec: spec["properties"].update(more={"type": "string"})) == []
    assert changed(lambda spec: spec["properties"].pop("file"))
    assert changed(lambda spec: spec["properties"]["keyPrefix"].pop("pattern"))
    assert changed(lambda spec: spec["properties"]["keyPrefix"].update(default="x"))
    assert changed(lambda spec: spec["properties"]["file"].update(maxProperties=1))
    assert changed(lambda spec: spec["x-kubernetes-validations"].pop())


def test_committed_files_are_the_generated_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main(["--check", str(ROOT)]) == 0, capsys.readouterr().err


def test_check_finds_a_stale_and_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main(["--check", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == [], "--check wrote something"
    assert crdgen.main([str(tmp_path)]) == 0
    assert crdgen.main(["--check", str(tmp_path)]) == 0
    stale = tmp_path / "crds" / "agents.yaml"
    stale.write_text(stale.read_text().replace("maxLength: 65536", "maxLength: 65535"))
    capsys.readouterr()
    assert crdgen.main(["--check", str(tmp_path)]) == 1
    assert str(stale) in capsys.readouterr().err


def test_every_field_says_what_it_means() -> None:
    silent = [
        f"{kind.resource.kind}: {name}"
        for kind in KINDS.values()
        for model in (kind.spec_model(), kind.resource.status)
        for name, node in nodes(crdgen.structural_schema(model))
        if not node.get("description")
    ]
    # The keys that a raw object must have are those of the Kubernetes core API.
    assert {entry.partition(": ")[2] for entry in silent} <= {"name", "mountPath"}


@EVERY_KIND
def test_hash_follows_the_schema_and_not_its_descriptions(
    kind: type[CustomResource], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = crdgen.schema_hash(kind)
    monkeypatch.setattr(crdgen, "_field_docs", lambda model: {})
    assert crdgen.schema_hash(kind) == before
    assert len({crdgen.schema_hash(other) for other in KINDS.values()}) == len(KINDS)
    monkeypatch.setattr(crdgen, "_STATUS_DEFAULT", {})
    assert crdgen.schema_hash(kind) != before


def test_chart_files_are_the_same_definitions_with_a_keep_policy() -> None:
    for kind in KINDS.values():
        definition = crdgen.crd(kind)
        lines = crdgen.as_helm_template(definition).splitlines()
        assert [line.strip() for line in lines if "{{" in line] == [
            "{{- if .Values.crds.keep }}",
            "{{- end }}",
        ]
        kept = yaml.safe_load("\n".join(line for line in lines if "{{" not in line))
        annotations = kept["metadata"]["annotations"]
        assert annotations.pop("helm.sh/resource-policy") == "keep"
        assert list(annotations) == [ANNOTATION_SCHEMA_HASH]
        assert kept == definition


def test_text_that_helm_would_evaluate_is_refused() -> None:
    definition = crdgen.crd(KINDS["Agent"])
    definition["spec"]["names"]["singular"] = "{{ .Values.x }}"
    with pytest.raises(ValueError, match="Helm"):
        crdgen.as_helm_template(definition)


class Union(ApiModel):
    """Not sayable."""

    field: int | str


class Recursive(ApiModel):
    """Not sayable either."""

    child: Recursive | None = None


@pytest.mark.parametrize(("model", "text"), [(Union, "union"), (Recursive, "recursive")])
def test_what_a_structural_schema_cannot_say_is_an_error(model: type[ApiModel], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        crdgen.structural_schema(model)
