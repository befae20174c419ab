"""cert-manager: there, not there, or not for us; and nobody asks for what nobody wants."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo_operator.domain.settings import OperatorSettings
from aixgo_operator.kube.errors import ForbiddenError
from aixgo_operator.kube.resources import CERTIFICATES, Resource
from aixgo_operator.reconcile.addons import Addons
from aixgo_operator.reconcile.cache import Cache

SETTINGS = OperatorSettings(operator_namespace="aixgo-system", watch_namespaces=("team", "other"))


class Client:
    """An API server that has cert-manager, has it not, or does not say."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []

    async def installed(self, resource: Resource, namespace: str | None = None) -> bool:
        self.asked.append((resource.kind, namespace))
        if self.answer is None:
            raise ForbiddenError(403, "Forbidden", "certificates is forbidden")
        return self.answer


def runtime(tls: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "agents", "namespace": "team", "uid": "u", "resourceVersion": "1"}
    kind = {"apiVersion": "aixgo.dev/v1alpha1", "kind": "AgentRuntime"}
    return {**kind, "metadata": metadata, "spec": {"tls": tls}}


def addons(client: Client, *, wanted: bool = True) -> Addons:
    cache = Cache()
    issuer = {"mode": "Mutual", "issuerRef": {"name": "corporate", "kind": "Issuer"}}
    cache.put(runtime(issuer if wanted else {"mode": "Disabled"}))
    return Addons(client, cache, SETTINGS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "installed", "refused"),
    [(True, (CERTIFICATES,), ()), (False, (), ()), (None, (), (CERTIFICATES,))],
)
async def test_what_is_there(
    answer: bool | None, installed: tuple[Resource, ...], refused: tuple[Resource, ...]
) -> None:
    client = Client(answer)
    found = addons(client)
    assert found.installed == ()
    await found.look()
    assert (found.installed, found.refused) == (installed, refused)
    assert client.asked == [("Certificate", "team")]


@pytest.mark.parametrize(
    ("before", "now", "wanted", "come", "asked"),
    [
        (False, True, True, True, 2),
        # The rights may come later, too.
        (None, True, True, True, 2),
        (False, False, True, False, 2),
        (False, None, True, False, 2),
        # What was there is watched, and what nobody wants need not be there.
        (True, True, True, False, 1),
        (False, True, False, False, 1),
    ],
)
async def test_what_has_come(
    before: bool | None, now: bool | None, wanted: bool, come: bool, asked: int
) -> None:
    client = Client(before)
    found = addons(client, wanted=wanted)
    await found.look()
    client.answer = now
    assert await found.have_come() is come
    assert len(client.asked) == asked
