"""Generate the CustomResourceDefinitions from the models.

``python -m aixgo_operator.api.crdgen [--check] OUTDIR`` writes one file per kind into ``OUTDIR/crds`` and, as
a Helm template, into ``OUTDIR/charts/aixgo-crds/templates``. With ``--check`` it writes nothing and fails if
a file differs.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from aixgo_operator.api.base import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, ApiModel
from aixgo_operator.api.constants import (
    ANNOTATION_SCHEMA_HASH,
    CATEGORY,
    GROUP,
    VERSION,
    ConditionType,
    Reason,
)
from aixgo_operator.api.v1alpha1 import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import core_schema

    from aixgo_operator.api.meta import CustomResource, PrinterColumn, ResourceInfo

Schema = dict[str, Any]

_HEADER = "# Generated from the models in operator/aixgo_operator/api by `make generate`. Do not edit.\n"
_KEEP_POLICY = """\
    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
"""

#: What an object says until the operator has looked at it: without it ``helm --wait`` would not wait.
_STATUS_DEFAULT = {
    "conditions": [
        {
            "type": str(ConditionType.READY),
            "status": "Unknown",
            "reason": str(Reason.PENDING),
            "message": "Waiting for the operator",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
    ]
}


class _CrdSchema(GenerateJsonSchema):
    """JSON schema with the keywords that a CRD has beside it."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        node = super().model_schema(schema)
        model = schema["cls"]
        properties = node.get("properties", {})
        for name, text in _field_docs(model).items():
            properties[model.model_fields[name].alias or name]["description"] = text
        if issubclass(model, ApiModel) and model.rules:
            node["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} for rule in model.rules
            ]
        return node

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        node = super().int_schema(schema)
        if node.get("minimum") in (INT32_MIN, INT64_MIN):
            del node["minimum"]
        if node.get("maximum") in (INT32_MAX, INT64_MAX):
            del node["maximum"]
        return node

    def encode_default(self, dft: Any) -> Any:
        # Only what was set: the rest gets its own default from the schema of the default's fields.
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return super().encode_default(dft)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        node = super().default_schema(schema)
        # An empty list or None only makes Python code simple; for the API server the field is absent.
        if node.get("default", ...) in (None, []):
            del node["default"]
        return node


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    docs: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls not in (ApiModel, BaseModel) and issubclass(cls, ApiModel):
            docs.update(_module_docs(cls.__module__).get(cls.__name__, {}))
    return {name: text for name, text in docs.items() if name in model.model_fields}


@functools.cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """Return the texts below the fields of each class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_attribute_docs(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _attribute_docs(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(text.value.value)


def structural_schema(model: type[BaseModel]) -> Schema:
    """Return the schema of ``model`` as the API server wants it: inlined, no nulls, titles, constants.

    Raises ``ValueError`` for what a structural schema cannot say (a union of types, a recursive model).
    """
    document = model.model_json_schema(schema_generator=_CrdSchema, by_alias=True, mode="validation")
    return _structural(document, document.get("$defs", {}), ())


def _structural(node: Mapping[str, Any], defs: Mapping[str, Any], path: tuple[str, ...]) -> Schema:
    node = dict(node)
    node.pop("$defs", None)
    node.pop("title", None)
    if (reference := node.pop("$ref", None)) is not None:
        name = reference.rpartition("/")[2]
        if name in path:
            raise ValueError(f"recursive model {name}")
        return _structural({**defs[name], **node}, defs, (*path, name))
    if (branches := node.pop("anyOf", None)) is not None:
        branches = [branch for branch in branches if branch != {"type": "null"}]
        if len(branches) != 1:
            raise ValueError(f"a structural schema has no union of types: {branches}")
        return _structural({**branches[0], **node}, defs, path)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if "properties" in node:
        node["properties"] = {
            name: _structural(child, defs, path) for name, child in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), Mapping):
            node[key] = _structural(node[key], defs, path)
    unknown = {key for key in node if key not in _KEYWORDS and not key.startswith("x-kubernetes-")}
    if unknown:
        raise ValueError(f"a structural schema has no {sorted(unknown)}")
    return dict(sorted(node.items(), key=_keyword_order))


#: What pydantic may emit and the API server takes.
_KEYWORDS = {
    *("additionalProperties", "default", "description", "enum", "format", "items", "maxItems", "maxLength"),
    *("maximum", "minItems", "minLength", "minimum", "pattern", "properties", "required", "type"),
}
_ORDER = ("description", "type", "format", "required", "properties", "items")


def _keyword_order(item: tuple[str, Any]) -> tuple[int, str]:
    key = item[0]
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)


def _column(column: PrinterColumn) -> Schema:
    data: Schema = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    return data | ({"priority": column.priority} if column.priority else {})


def _subresources(resource: ResourceInfo) -> Schema:
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {"status": {}, **({"scale": scale} if resource.scalable else {})}


def crd(kind: type[CustomResource]) -> Schema:
    """Return the CustomResourceDefinition of ``kind``."""
    resource = kind.resource
    spec = structural_schema(kind.spec_model())
    status = {**structural_schema(resource.status), "default": _STATUS_DEFAULT}
    definition = {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "kind": resource.kind,
            "listKind": f"{resource.kind}List",
            "plural": resource.plural,
            "singular": resource.kind.lower(),
            "shortNames": [resource.short_name],
            "categories": [CATEGORY],
        },
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": _subresources(resource),
                "additionalPrinterColumns": [_column(column) for column in resource.columns],
                "schema": {
                    "openAPIV3Schema": {
                        "description": inspect.getdoc(kind) or "",
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": spec,
                            "status": status,
                        },
                    }
                },
            }
        ],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": resource.crd_name,
            "annotations": {ANNOTATION_SCHEMA_HASH: _hash(definition)},
        },
        "spec": definition,
    }


def schema_hash(kind: type[CustomResource]) -> str:
    """Return the hash that the CRD of ``kind`` carries as an annotation. Descriptions do not count."""
    return str(crd(kind)["metadata"]["annotations"][ANNOTATION_SCHEMA_HASH])


def _hash(definition: Schema) -> str:
    text = json.dumps(_without_descriptions(definition), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_descriptions(node: Any) -> Any:
    """Drop descriptions. A property that is called description holds a schema, not a text, and stays."""
    if isinstance(node, list):
        return [_without_descriptions(item) for item in node]
    if isinstance(node, Mapping):
        return {
            key: _without_descriptions(value)
            for key, value in node.items()
            if not (key == "description" and isinstance(value, str))
        }
    return node


def as_yaml(definition: Schema) -> str:
    """Return a CRD as a YAML file."""
    return _HEADER + yaml.safe_dump(definition, sort_keys=False, width=110, allow_unicode=True)


def as_helm_template(definition: Schema) -> str:
    """Return a CRD as a Helm template that survives the chart if the values want it."""
    text = as_yaml(definition)
    if "{{" in text:
        raise ValueError(f"{definition['metadata']['name']} has text that Helm would take for a template")
    marker = f"    {ANNOTATION_SCHEMA_HASH}: "
    start = text.index("\n", text.index(marker)) + 1
    return text[:start] + _KEEP_POLICY + text[start:]


def generate(root: Path) -> dict[Path, str]:
    """Return the text of every generated file of the checkout at ``root``."""
    files: dict[Path, str] = {}
    for kind in KINDS.values():
        definition = crd(kind)
        name = f"{kind.resource.plural}.yaml"
        files[root / "crds" / name] = as_yaml(definition)
        files[root / "charts/aixgo-crds/templates" / name] = as_helm_template(definition)
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(prog="crdgen", description="Generate the CustomResourceDefinitions.")
    parser.add_argument("outdir", type=Path, metavar="OUTDIR", help="checkout to write into")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    options = parser.parse_args(argv)
    stale = 0
    for path, text in generate(options.outdir).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            sys.stderr.write(f"{path} differs from the models; run `make generate`\n")
            stale = 1
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
