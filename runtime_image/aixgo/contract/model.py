"""The base of every model of the runtime contract: camelCase in JSON, unknown fields ignored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ContractModel(BaseModel):
    """A frozen record of the contract. An older runtime ignores the fields that a newer operator adds."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        # Validators are made when first needed: a process needs few, and each is made again inside others.
        defer_build=True,
    )
