"""What users have in the cluster: namespaces of ten runtimes with ten Agents each."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.support import manifests

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, NAMESPACES, SECRETS, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.operator.api import Api, Manifest

#: Agents per runtime, and runtimes per namespace.
AGENTS_EACH: Final = 10
RUNTIMES_EACH: Final = 10
OPERATOR_NAMESPACE: Final = "aixgo-system"
#: About what people write.
_PROMPT: Final = "You answer questions about orders. Be brief, name your sources, ask when in doubt. " * 5


@dataclass(frozen=True)
class World:
    """So many Agents. Each runtime has a Secret with the key of its Agents' model.

    The first Agent of each runtime calls the first one of the next runtime of its namespace.
    """

    agents: int

    @property
    def runtimes(self) -> int:
        """The number of AgentRuntimes."""
        return -(-self.agents // AGENTS_EACH)

    @property
    def objects(self) -> int:
        """Users' objects that the operator looks after."""
        return self.agents + self.runtimes

    async def create(self, api: Api) -> None:
        """Make everything."""
        names = [OPERATOR_NAMESPACE, *dict.fromkeys(self.namespace(n) for n in range(self.runtimes))]
        for name in names:
            await api.send("POST", NAMESPACES.path(), _namespace(name))
        limit = asyncio.Semaphore(16)

        async def make(resource: Resource, manifest: Manifest) -> None:
            async with limit:
                await api.send("POST", resource.path(manifest["metadata"]["namespace"]), manifest)

        async with asyncio.TaskGroup() as group:
            for resource, manifest in self._manifests():
                group.create_task(make(resource, manifest))

    def namespace(self, runtime: int) -> str:
        """Return the namespace of the n-th runtime."""
        return f"team-{runtime // RUNTIMES_EACH:03}"

    def secret(self, runtime: int) -> tuple[str, str]:
        """Return namespace and name of the Secret of the n-th runtime."""
        return self.namespace(runtime), f"model-{runtime:03}"

    async def change_secret(self, api: Api, runtime: int) -> None:
        """Put another key into the Secret of the n-th runtime."""
        value = base64.b64encode(b"sk-another").decode()
        await api.merge(SECRETS.path(*self.secret(runtime)), {"data": {"key": value}})

    def _manifests(self) -> Iterator[tuple[Resource, Manifest]]:
        for runtime in range(self.runtimes):
            namespace, secret = self.secret(runtime)
            yield SECRETS, manifests.secret(namespace, secret, key="sk-0123456789")
            yield AGENT_RUNTIMES, manifests.runtime(namespace, f"runtime-{runtime:03}")
            first = runtime * AGENTS_EACH
            for agent in range(first, min(first + AGENTS_EACH, self.agents)):
                more: dict[str, Any] = {}
                if agent == first and runtime + 1 < self.runtimes:
                    callee = f"agent-{first + AGENTS_EACH:04}"
                    if self.namespace(runtime + 1) == namespace:
                        more["tools"] = [{"name": "next", "agentRef": {"name": callee}}]
                yield (
                    AGENTS,
                    manifests.agent(
                        namespace,
                        f"agent-{agent:04}",
                        f"runtime-{runtime:03}",
                        prompt=_PROMPT,
                        model={
                            "provider": "openai",
                            "name": "small",
                            "baseURL": "http://model:8080/v1",
                            "apiKeySecretRef": {"name": secret, "key": "key"},
                        },
                        **more,
                    ),
                )


def _namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
