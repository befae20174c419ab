"""Write the parts of these pages that are generated: ``python docs/generate.py [--check] [FOLDER]``.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. Tables of keys come from
the pydantic models and the ``#:`` comments above their fields, tables of the API's fields from the CRDs,
tables of metrics from the collectors. With ``--check`` nothing is written, and the exit code is 1 if a page
differs.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from aixgo.config import models as yaml_models
from aixgo.contract import role_config
from aixgo.contract.role_config import RoleModel
from aixgo.observability.prometheus import PrometheusMetrics
from aixgo_operator.api import crdgen
from aixgo_operator.api.v1alpha1 import KINDS
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.metrics import Metrics as OperatorMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry
    from pydantic.fields import FieldInfo

_PART: Final = re.compile(r"(<!-- generated: (?P<name>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: From here on a bound is that of the type.
_INT32: Final = 2**31 - 1
_COMMENTED: Final = re.compile(r"((?:^ *#: ?.*\n)+) *(\w+):", re.MULTILINE)


def pages(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each page of ``folder`` with the text that it should have."""
    for path in sorted(folder.glob("*.md")):
        yield path, _PART.sub(_filled, path.read_text())


def _filled(part: re.Match[str]) -> str:
    kind, _, name = part["name"].partition(":")
    return f"{part[1]}\n{PARTS[kind](name)}\n{part[3]}"


# -- keys ------------------------------------------------------------------------------------------------


def _yaml_keys(key: str) -> str:
    """Return the keys below one key of the file, in snake_case."""
    model = _model_in(yaml_models.Config.model_fields[key].annotation)
    if model is None:
        raise ValueError(f"{key} holds no mapping")
    return _table(("key", "value", "default", "meaning"), _rows(model, lambda name, _: name))


def _role_keys(role: str) -> str:
    """Return the keys of a ``roleConfig``, as manifests write them."""
    model = role_config._MODELS[role]  # noqa: SLF001 - the table that parse_role_config goes by
    return _table(
        ("key", "value", "default", "meaning"), _rows(model, lambda name, field: field.alias or name)
    )


def _rows(
    model: type[BaseModel], spelling: Callable[[str, FieldInfo], str], prefix: str = ""
) -> Iterator[tuple[str, ...]]:
    comments = _comments(model)
    schema = model.model_json_schema(by_alias=False)
    for name, field in model.model_fields.items():
        path = prefix + spelling(name, field)
        inner = _model_in(field.annotation)
        elsewhere = inner is not None and issubclass(inner, RoleModel) and not issubclass(model, RoleModel)
        values = _values(schema, schema["properties"][name])
        if any(getattr(each, "func", None) is yaml_models._seconds for each in field.metadata):  # noqa: SLF001
            values = "duration"
        meaning = comments.get(name, "")
        if elsewhere:
            role = name.removesuffix("_config")
            values, meaning = "mapping", f"{meaning} Keys: [{role}](agents.md#{role}).".lstrip()
        yield f"`{path}`", values, _default(field, values), meaning
        if inner is not None and not elsewhere:
            many = "[]" if values.startswith("list") else ""
            yield from _rows(inner, spelling, f"{path}{many}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, one or many of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = getattr(annotation, "__args__", ())
    return next((model for each in arguments if (model := _model_in(each)) is not None), None)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """Return what stands in ``#:`` comments above the fields of a class, in Markdown."""
    found: dict[str, str] = {}
    for lines, name in _COMMENTED.findall(inspect.getsource(model)):
        text = " ".join(line.strip().removeprefix("#:").strip() for line in lines.splitlines())
        found[name] = text.replace("``", "`")
    return found


def _values(schema: dict[str, Any], node: dict[str, Any]) -> str:
    """Return in words what a key may hold."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if "anyOf" in node:
        return " or ".join(_values(schema, each) for each in node["anyOf"] if each.get("type") != "null")
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    kind = node.get("type")
    if kind == "array":
        item = _values(schema, node["items"])
        return "list" if item == "mapping" else f"list of {item}"
    if kind in ("integer", "number"):
        return kind + _bounds(node)
    if kind is None:
        return "any"
    return "mapping" if kind == "object" else str(kind)


def _bounds(node: dict[str, Any]) -> str:
    words = {"minimum": ">= ", "exclusiveMinimum": "> ", "maximum": "<= ", "exclusiveMaximum": "< "}
    found = [sign + format(node[word], "g") for word, sign in words.items() if word in node]
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo, values: str) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default in (None, "", (), {}, PydanticUndefined) or isinstance(default, BaseModel):
        return ""
    return f"`{default:g}s`" if values == "duration" else f"`{json.dumps(default).strip(chr(34))}`"


# -- kinds of the API ------------------------------------------------------------------------------------


def _kind(name: str) -> str:
    """Return the fields of a kind's spec, and the rules among them."""
    (version,) = crdgen.crd(KINDS[name])["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = _table(("field", "value", "default", "meaning"), _fields(schema))
    rules = "\n".join(f"- {rule}" for rule in _rules_of(schema))
    return f"{fields}\nRules:\n\n{rules}\n" if rules else fields


def _fields(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, node in schema.get("properties", {}).items():
        inner = node.get("items", node) if node.get("type") == "array" else node
        raw = inner.get("x-kubernetes-preserve-unknown-fields")
        default = "required" if name in required else ""
        if not isinstance(node.get("default"), dict | list | None):
            default = f"`{json.dumps(node['default']).strip(chr(34))}`"
        yield f"`{prefix}{name}`", _content(node), default, " ".join(node.get("description", "").split())
        if not raw:
            many = "[]" if inner is not node else ""
            yield from _fields(inner, f"{prefix}{name}{many}.")


def _content(node: dict[str, Any]) -> str:
    """Return in words what a field may hold."""
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "integer or string"
    match node.get("type"):
        case "array":
            return f"list of {_content(node['items'])}"
        case "object":
            return "map of text" if node.get("additionalProperties") else "object"
        case "integer":
            lowest, highest = node.get("minimum"), node.get("maximum")
            bounds = [f">= {lowest}"] if lowest is not None and abs(lowest) < _INT32 else []
            bounds += [f"<= {highest}"] if highest is not None and highest < _INT32 else []
            return " ".join(["integer", ", ".join(bounds)]).strip()
        case kind:
            return "time" if node.get("format") == "date-time" else str(kind)


def _rules_of(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"`{path.rstrip('.')}`: {rule['message']}" if path else rule["message"]
    for name, node in schema.get("properties", {}).items():
        yield from _rules_of(node.get("items", node), f"{path}{name}.")


# -- metrics ---------------------------------------------------------------------------------------------


def _runtime_metrics(_: str) -> str:
    metrics = PrometheusMetrics()
    metrics.watch_connections(1)
    metrics.watch_certificate(time.time)
    metrics.watch_session_backend(lambda: ("Redis", True))
    metrics.rpc_finished("Execute", "OK", 0.0)
    metrics.agent_message("a", "input")
    metrics.agent_executed("a", 0.0)
    metrics.session_operation("append", "ok", 0.0)
    metrics.mcp_tool_called("t", "ok", 0.0)
    metrics.authorization_refused("a")
    metrics.http_finished("GET", "/health", 200, 0.0)
    return _metrics(metrics.registry)


def _operator_metrics(_: str) -> str:
    metrics = OperatorMetrics()
    metrics.done(Key("Agent", "n", "a"), 0.0, ValueError())
    metrics.request("get", "pods", 200)
    metrics.event("Agent")
    metrics.authority("Stable", 0, datetime.now(UTC))
    return _metrics(metrics.registry)


def _metrics(registry: CollectorRegistry) -> str:
    """Return the metrics of our own; those of the process and of Python are the client library's."""
    rows = []
    for family in registry.collect():
        if family.name.startswith("aixgo_"):
            labels = {name for sample in family.samples for name in sample.labels} - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            text = family.documentation.rstrip(".")
            rows.append((f"`{name}`", family.type, ", ".join(sorted(labels)), text))
    return _table(("metric", "type", "labels", "meaning"), sorted(rows))


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join(line.replace("  |", " |") for line in lines) + "\n"


PARTS: Final[dict[str, Callable[[str], str]]] = {
    "kind": _kind,
    "yaml": _yaml_keys,
    "role": _role_keys,
    "runtime-metrics": _runtime_metrics,
    "operator-metrics": _operator_metrics,
}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page differs")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    stale = [(path, text) for path, text in pages(options.folder) if text != path.read_text()]
    for path, text in stale:
        if options.check:
            sys.stderr.write(f"{path.name} is out of date: run make generate\n")
        else:
            path.write_text(text)
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
