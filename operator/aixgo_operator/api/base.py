"""The base of the API's models, and the CRD keywords that pydantic has no word for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


@dataclass(frozen=True, slots=True)
class Rule:
    """A validation rule of a schema node, for the API server (CEL) and for local use (Python) alike.

    ``holds`` is the same statement about the parsed model, so that manifests that never see an API
    server (local mode, linting) are refused with the same words. It is None for transition rules, which
    compare with the stored object.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None


class ApiModel(BaseModel):
    """A frozen part of an object of the API: camelCase in JSON, unknown fields ignored, CRD defaults."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
    )

    #: The ``x-kubernetes-validations`` of this node.
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        # As the API server, which prunes nulls before it applies defaults: ``replicas: null`` is 1.
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        broken = [rule.message for rule in self.rules if rule.holds is not None and not rule.holds(self)]
        if broken:
            raise PydanticCustomError("rule", "{broken}", {"broken": "; ".join(broken)})
        return self

    def has(self, field: str) -> bool:
        """Tell whether ``field`` was given (CEL's ``has()``): an empty list counts, a default does not."""
        return field in self.model_fields_set and getattr(self, field) is not None


def describe_errors(error: ValidationError) -> str:
    """Return a ``ValidationError`` as one line: the path of each field and what is wrong with it."""
    return "; ".join(
        f"{_path(item['loc'])}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    )


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or "object"


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity: a mapping has no hash
class Keywords:
    """Annotation that adds keywords to a field's schema, such as ``{"format": "int32"}``."""

    keywords: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.keywords}


@dataclass(frozen=True, slots=True)
class ListMap:
    """Annotation of a list whose items are told apart by one field (``x-kubernetes-list-type: map``)."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._unique, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            **handler(schema),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [self.key],
        }

    def _unique(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[Any] = set()
        for item in items:
            value = item[self.key] if isinstance(item, Mapping) else getattr(item, self.key)
            if value in seen:
                raise PydanticCustomError(
                    "duplicate", "duplicate {key} {value}", {"key": self.key, "value": repr(value)}
                )
            seen.add(value)
        return items


#: Of a schema of objects that one writer writes as a whole: who owns which of their fields is nobody's
#: question, and the list of them (managedFields) is decoded and encoded with every write of the object.
ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-map-type": "atomic"}

#: Bounds of the integer formats. The format says them, so crdgen leaves them out.
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Int32 = Annotated[int, Strict(), Field(ge=INT32_MIN, le=INT32_MAX), Keywords({"format": "int32"})]
Int64 = Annotated[int, Strict(), Field(ge=INT64_MIN, le=INT64_MAX), Keywords({"format": "int64"})]

#: A count or a percentage, such as ``1`` or ``"25%"``.
IntOrString = Annotated[int | str, WithJsonSchema({"x-kubernetes-int-or-string": True})]

_RAW_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

#: An object of the Kubernetes core API that is handed on to pods as it is.
RawObject = Annotated[dict[str, Any], WithJsonSchema(_RAW_SCHEMA)]


def _requires(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get(key), str):
            raise PydanticCustomError("missing", "{key} is required", {"key": key})
        return value

    return check


def _raw_with(key: str, schema: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({**_RAW_SCHEMA, "required": [key], "properties": {key: schema}})


def _named(value: dict[str, Any]) -> dict[str, Any]:
    if not value["name"]:
        raise PydanticCustomError("missing", "name must not be empty", {})
    return value


RawEnvVar = Annotated[
    dict[str, Any],
    AfterValidator(_requires("name")),
    AfterValidator(_named),
    _raw_with("name", {"type": "string", "minLength": 1}),
]
RawVolume = Annotated[
    dict[str, Any], AfterValidator(_requires("name")), _raw_with("name", {"type": "string"})
]
RawVolumeMount = Annotated[
    dict[str, Any], AfterValidator(_requires("mountPath")), _raw_with("mountPath", {"type": "string"})
]

#: Name of an object in the same or another namespace.
Name = Annotated[str, Field(min_length=1, max_length=253)]
NamespaceName = Annotated[str, Field(min_length=1, max_length=63)]
