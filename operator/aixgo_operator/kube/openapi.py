"""What the API server says of the kinds that it serves: its OpenAPI, which all accounts may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aixgo_operator.api.constants import GROUP, VERSION
from aixgo_operator.kube.errors import NotFoundError

if TYPE_CHECKING:
    from aixgo_operator.kube.client import ApiServerClient

_PATH: Final = f"/openapi/v3/apis/{GROUP}/{VERSION}"
_KIND: Final = "x-kubernetes-group-version-kind"


async def served_schemas(client: ApiServerClient) -> dict[str, dict[str, Any]]:
    """Return the schemas of our kinds that are served, by kind; none where no CRD is installed.

    Raises ApiError. The API server needs a second to publish a new CRD here.
    """
    try:
        document = await client.request("GET", _PATH)
    except NotFoundError:
        return {}
    if not isinstance(document, dict):
        return {}  # so it answers for a while after the last kind was deleted
    schemas = (document.get("components") or {}).get("schemas") or {}
    return {
        each["kind"]: schema
        for schema in schemas.values()
        for each in schema.get(_KIND) or ()
        if (each["group"], each["version"]) == (GROUP, VERSION)
    }
