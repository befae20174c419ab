"""Object metadata, conditions, and the base of the three kinds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from aixgo_operator.api.base import ATOMIC, ApiModel, Int64, Keywords, ListMap
from aixgo_operator.api.constants import API_VERSION, GROUP

#: A point in time as RFC 3339 text.
Timestamp = Annotated[str, Keywords({"format": "date-time"})]


class OwnerReference(ApiModel):
    """Who owns an object and takes it along when it is deleted."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(ApiModel):
    """The part of ``metadata`` that the product reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Condition(ApiModel):
    """One aspect of an object's state, as the operator last saw it."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    type: Annotated[str, Field(max_length=316)]
    """Name of the aspect, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether the aspect holds."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, as one word for programs."""
    message: Annotated[str, Field(max_length=32768)]
    """Why, for people."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: Annotated[Int64, Field(ge=0)] | None = None
    """metadata.generation of the spec that this condition is about."""


class Status(ApiModel):
    """What every kind reports. The operator alone writes it."""

    observed_generation: Int64 | None = None
    """metadata.generation of the spec that this status is about."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), ListMap("type")] = ()
    """Aspects of the state; Ready is their sum."""


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of ``kubectl get``. Priority 1 shows with ``-o wide`` only."""

    name: str
    type: Literal["string", "integer", "date"]
    json_path: str
    priority: int = 0


def condition_column(
    condition: str, field: str = "status", *, name: str | None = None, priority: int = 0
) -> PrinterColumn:
    """Return the column that shows ``field`` of a condition."""
    path = f'.status.conditions[?(@.type=="{condition}")].{field}'
    return PrinterColumn(name or condition, "string", path, priority)


AGE_COLUMN = PrinterColumn("Age", "date", ".metadata.creationTimestamp")
READY_COLUMN = condition_column("Ready")
#: Why it is not ready, in one word, as people know it from pods.
STATUS_COLUMN = condition_column("Ready", "reason", name="Status")
REASON_COLUMN = condition_column("Ready", "reason", name="Reason", priority=1)
#: The same in a sentence with what to do, with -o wide.
MESSAGE_COLUMN = condition_column("Ready", "message", name="Message", priority=1)


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """What a CRD says about a kind beside its schema."""

    kind: str
    plural: str
    short_name: str
    columns: tuple[PrinterColumn, ...]
    status: type[Status]
    #: Whether the kind has a /scale subresource (over ``.spec.replicas`` and ``.status.selector``).
    scalable: bool = False

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


class CustomResource(ApiModel):
    """An object of one of the kinds, as the API server returns it or as a manifest has it.

    ``model_validate`` raises ``pydantic.ValidationError``; ``base.describe_errors`` makes one line of it.
    """

    resource: ClassVar[ResourceInfo]

    api_version: Literal["aixgo.dev/v1alpha1"] = API_VERSION
    metadata: ObjectMeta
    #: As stored. The operator compares it with what it would write, so it must not be reshaped here.
    status: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def spec_model(cls) -> type[ApiModel]:
        """Return the model of ``spec``."""
        annotation = cls.model_fields["spec"].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, ApiModel)):
            raise TypeError(f"{cls.__name__} has no model of its spec")
        return annotation

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""
        return self.metadata.namespace

    @property
    def generation(self) -> int:
        """``metadata.generation``."""
        return self.metadata.generation
