"""References to other objects, and the consent of the other side to being referred to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aixgo_operator.api.base import ApiModel, Name, NamespaceName, Rule


class LocalReference(ApiModel):
    """An object in the same namespace."""

    name: Name
    """Name of the object."""


class ObjectReference(ApiModel):
    """An object in the same or, with the consent of the other side, in another namespace."""

    name: Name
    """Name of the object."""
    namespace: NamespaceName | None = None
    """Namespace of the object. Default: that of the object that refers to it."""


class KeyReference(ApiModel):
    """One key of a Secret or ConfigMap in the same namespace."""

    name: Name
    """Name of the Secret or ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key in its data."""


class CABundleReference(ApiModel):
    """CA certificates (PEM) in a key of a ConfigMap or Secret in the same namespace."""

    kind: Literal["ConfigMap", "Secret"]
    """Kind of the object."""
    name: Name
    """Name of the object."""
    key: str = "ca.crt"
    """Key in its data."""


class LabelSelectorRequirement(ApiModel):
    """A statement about one label."""

    key: str
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """Relation of the label to the values."""
    values: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """Values for In and NotIn."""


class LabelSelector(ApiModel):
    """A selection by labels; every statement has to hold."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    """Labels that must be there with this value."""
    match_expressions: Annotated[tuple[LabelSelectorRequirement, ...], Field(max_length=16)] = ()
    """Further statements about labels."""


class NamespaceConsent(ApiModel):
    """The namespaces that a consent covers. The object's own namespace always is."""

    from_: Literal["Same", "All", "Selector"] = Field(default="Same", alias="from")
    """Same: the object's own namespace. All: every namespace. Selector: those that the selector matches."""
    selector: LabelSelector | None = None
    """Selection of namespaces by their labels."""

    rules = (
        Rule(
            "self.from != 'Selector' || has(self.selector)",
            "selector is required when from is Selector",
            lambda self: self.from_ != "Selector" or self.has("selector"),
        ),
    )


SAME_NAMESPACE = NamespaceConsent(from_="Same")


class Consent(ApiModel):
    """Who may refer to this object or call it from elsewhere."""

    namespaces: NamespaceConsent = SAME_NAMESPACE
    """Namespaces that are allowed."""


SAME_NAMESPACE_ONLY = Consent(namespaces=SAME_NAMESPACE)
