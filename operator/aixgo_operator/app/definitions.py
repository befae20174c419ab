"""Whether the CRDs that are served are those that this operator needs, or newer ones."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.compatibility import narrowed
from aixgo_operator.kube.errors import ApiError
from aixgo_operator.kube.openapi import served_schemas

if TYPE_CHECKING:
    from aixgo_operator.kube.client import ApiServerClient

log = logging.getLogger(__name__)

#: Seconds that an API server has to publish definitions which were upgraded just now.
PATIENCE: Final = 10.0
_EVERY: Final = 1.0
_SHOWN: Final = 5


async def too_old(client: ApiServerClient, *, patience: float) -> list[str]:
    """Return what the served CRDs lack, after ``patience`` seconds; nothing: they will do.

    CRDs that are not there at all are waited for elsewhere. Never raises: an API server that cannot be asked
    is no reason not to start.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        try:
            lacking = await _lacking(client)
        except ApiError as error:
            log.warning("the served schemas cannot be read", extra={"error": str(error)})
            return []
        if not lacking or loop.time() >= end:
            return lacking
        await asyncio.sleep(_EVERY)


def refusal(lacking: list[str]) -> str:
    """Return what a person should know and do."""
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    return (
        f"the installed CRDs are older than this operator: {'; '.join(lacking[:_SHOWN])}{more}."
        " Upgrade the chart aixgo-crds first; then this process starts by itself"
    )


async def _lacking(client: ApiServerClient) -> list[str]:
    from aixgo_operator.api.crdgen import structural_schema
    from aixgo_operator.api.v1alpha1 import KINDS

    served = await served_schemas(client)
    found: list[str] = []
    for name, kind in KINDS.items():
        properties = (served.get(name) or {}).get("properties")
        if properties is None:
            continue
        for part, model in (("spec", kind.spec_model()), ("status", kind.resource.status)):
            wanted = structural_schema(model)
            found += [f"{name} {part}{text}" for text in narrowed(wanted, properties.get(part) or {})]
    return found
