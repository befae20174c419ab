"""What one version of a schema takes that another does not: for changing CRDs, and for old ones.

Both are structural schemas (:mod:`aixgo_operator.api.crdgen`). Descriptions do not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]

#: Keywords that allow less the higher, and the lower, their value is.
_LOWER_BOUNDS: Final = ("minimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS: Final = ("maximum", "maxLength", "maxItems", "maxProperties")
#: Keywords that allow less where they have another value, or are there at all.
_FORMS: Final = ("type", "format", "pattern", "multipleOf", "uniqueItems", "x-kubernetes-list-type")
#: Keywords that allow more where they are true.
_FREEDOMS: Final = (
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-embedded-resource",
)


def narrowed(wide: Mapping[str, Any], narrow: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield, in words, everything that ``wide`` takes and ``narrow`` refuses or drops; nothing: it takes all.

    Rules in CEL cannot be compared: one that only ``narrow`` has counts as refusing something.
    """
    for keyword in _FORMS:
        if keyword in narrow and narrow[keyword] != wide.get(keyword):
            yield f"{path or '.'}: {keyword} is {narrow[keyword]}, not {wide.get(keyword)}"
    for keyword in _FREEDOMS:
        if wide.get(keyword) and not narrow.get(keyword):
            yield f"{path or '.'}: {keyword} is gone"
    for keyword in _LOWER_BOUNDS:
        if keyword in narrow and (keyword not in wide or narrow[keyword] > wide[keyword]):
            yield f"{path or '.'}: {keyword} is {narrow[keyword]}, not {wide.get(keyword)}"
    for keyword in _UPPER_BOUNDS:
        if keyword in narrow and (keyword not in wide or narrow[keyword] < wide[keyword]):
            yield f"{path or '.'}: {keyword} is {narrow[keyword]}, not {wide.get(keyword)}"
    if "enum" in narrow:
        missing = [str(value) for value in wide.get("enum", ["any value"]) if value not in narrow["enum"]]
        if missing:
            yield f"{path or '.'}: {', '.join(missing)} is not allowed"
    yield from _rules(wide, narrow, path)
    yield from _fields(wide, narrow, path)
    if "items" in wide and "items" in narrow:
        yield from narrowed(wide["items"], narrow["items"], f"{path}[]")


def changed_defaults(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the defaults of ``old`` that ``new`` does not have: who relies on one gets something else."""
    if "default" in old and new.get("default") != old["default"]:
        yield f"{path or '.'}: default is {new.get('default')}, not {old['default']}"
    for name, child in (old.get("properties") or {}).items():
        if name in (new.get("properties") or {}):
            yield from changed_defaults(child, new["properties"][name], f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
            yield from changed_defaults(old[keyword], new[keyword], f"{path}[]")


def _rules(wide: Mapping[str, Any], narrow: Mapping[str, Any], path: str) -> Iterator[str]:
    known = {rule["rule"] for rule in wide.get("x-kubernetes-validations") or ()}
    for rule in narrow.get("x-kubernetes-validations") or ():
        if rule["rule"] not in known:
            yield f"{path or '.'}: a rule is new: {rule['rule']}"


def _fields(wide: Mapping[str, Any], narrow: Mapping[str, Any], path: str) -> Iterator[str]:
    had, has = wide.get("properties") or {}, narrow.get("properties") or {}
    anything = narrow.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in narrow
    for name, child in had.items():
        if name in has:
            yield from narrowed(child, has[name], f"{path}.{name}")
        elif not anything:
            yield f"{path}.{name} is missing"
    values, kept = wide.get("additionalProperties"), narrow.get("additionalProperties")
    if isinstance(values, dict):
        if isinstance(kept, dict):
            yield from narrowed(values, kept, f"{path}.*")
        elif not (kept or narrow.get("x-kubernetes-preserve-unknown-fields")):
            yield f"{path}: names of one's own are not allowed"
    for name in narrow.get("required") or ():
        # What has a default is there before it is missed.
        if name not in (wide.get("required") or ()) and "default" not in has.get(name, {}):
            yield f"{path}.{name} is required"
