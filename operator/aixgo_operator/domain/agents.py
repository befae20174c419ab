"""The Agents of one runtime: who may attach, whose name counts, and what each one's configuration is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aixgo.contract import (
    AgentConfig,
    AgentToolConfig,
    McpToolConfig,
    ModelConfig,
    PromptConfig,
    RouteConfig,
    SecretFile,
    SessionConfig,
    ToolConfig,
)
from aixgo_operator.api.constants import Reason
from aixgo_operator.api.v1alpha1 import KeyReference
from aixgo_operator.domain import naming
from aixgo_operator.domain.consent import allowed_namespaces, allows
from aixgo_operator.domain.lookup import config_map_value, missing_secret_keys, refused, unresolved
from aixgo_operator.domain.references import runtime_key, with_key_files
from aixgo_operator.domain.resolved import FileSource, ResolvedAgent, SecretCopy, SecretKey
from aixgo_operator.domain.validate import agent_spec_problems

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, ToolSpec
    from aixgo_operator.domain.problem import Problem
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import ObjectKey, Snapshot

#: What can stand as ``agent_name`` in a call.
_AGENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class AgentsResult:
    """The resolved Agents and what the pods need for them."""

    agents: list[ResolvedAgent] = field(default_factory=list)
    routes: dict[ObjectKey, RouteConfig] = field(default_factory=dict)
    #: Secrets in the runtime's namespace, copies included -> their keys that the pods mount.
    secrets: dict[str, set[str]] = field(default_factory=dict)
    #: Copy name -> its entries.
    copies: dict[str, dict[str, SecretKey]] = field(default_factory=dict)

    def secret_files(self) -> tuple[FileSource, ...]:
        """Return the sources of the secrets volume: only the keys that an agent uses."""
        return tuple(
            FileSource("Secret", name, {key: f"{name}/{key}" for key in sorted(keys)}, optional=True)
            for name, keys in sorted(self.secrets.items())
            if keys
        )

    def secret_copies(self) -> tuple[SecretCopy, ...]:
        """Return the Secrets to copy, by name."""
        return tuple(SecretCopy(name, dict(sorted(e.items()))) for name, e in sorted(self.copies.items()))


def runtime_not_there(agent: Agent) -> Problem:
    """Return the problem of an Agent whose runtime does not exist, or does not allow it: told alike."""
    namespace, name = runtime_key(agent)
    if namespace == agent.namespace:
        return unresolved(
            Reason.RUNTIME_NOT_FOUND,
            f"AgentRuntime {namespace}/{name} not found: create it, or change spec.runtimeRef",
        )
    return unresolved(
        Reason.REF_NOT_PERMITTED,
        f"AgentRuntime {namespace}/{name} does not exist or does not allow Agents from namespace"
        f" {agent.namespace}: ask its owner to set spec.allowedAgents, or change spec.runtimeRef",
    )


def resolve_agents(snapshot: Snapshot, runtime: AgentRuntime, settings: OperatorSettings) -> AgentsResult:
    """Return the verdict on every Agent of the snapshot. One broken Agent never hinders another."""
    result = AgentsResult()
    ordered = sorted(snapshot.agents, key=lambda agent: (agent.namespace, agent.name))
    winners = _winners(agent for agent in ordered if _may_attach(agent, runtime, snapshot))
    for agent in ordered:
        if not _may_attach(agent, runtime, snapshot):
            result.agents.append(ResolvedAgent(agent, None, (runtime_not_there(agent),)))
        elif not _AGENT_NAME.fullmatch(agent.name):
            problem = refused(
                Reason.INVALID_SPEC,
                f"the name {agent.name} cannot be called: rename the Agent to begin with a letter and have"
                " at most 64 lower-case letters, digits and hyphens",
            )
            result.agents.append(ResolvedAgent(agent, None, (problem,)))
        elif winners[agent.name] != (agent.namespace, agent.name):
            problem = refused(
                Reason.DUPLICATE_AGENT_NAME,
                f"the name {agent.name} is taken on AgentRuntime {runtime.namespace}/{runtime.name} by an"
                " older Agent of another namespace: rename this Agent, or change spec.runtimeRef",
            )
            result.agents.append(ResolvedAgent(agent, None, (problem,)))
        elif problems := agent_spec_problems(agent):
            result.agents.append(ResolvedAgent(agent, None, problems))
        else:
            _Builder(snapshot, runtime, settings, agent, result).build()
    return result


def _may_attach(agent: Agent, runtime: AgentRuntime, snapshot: Snapshot) -> bool:
    return allows(runtime.spec.allowed_agents, runtime.namespace, agent.namespace, snapshot.namespaces)


def _winners(agents: Iterable[Agent]) -> dict[str, ObjectKey]:
    """Return which Agent has each name: the oldest, then the first by namespace."""
    winners: dict[str, tuple[datetime, str, str]] = {}
    for agent in agents:
        rank = (agent.metadata.creation_timestamp or _NEVER, agent.namespace, agent.name)
        if agent.name not in winners or rank < winners[agent.name]:
            winners[agent.name] = rank
    return {name: (rank[1], rank[2]) for name, rank in winners.items()}


class _Builder:
    """Builds the configuration of one Agent and collects what stands in its way."""

    def __init__(
        self,
        snapshot: Snapshot,
        runtime: AgentRuntime,
        settings: OperatorSettings,
        agent: Agent,
        result: AgentsResult,
    ) -> None:
        self._snapshot = snapshot
        self._runtime = runtime
        self._settings = settings
        self._agent = agent
        self._result = result
        self._problems: list[Problem] = []
        #: Set when a part is missing without which the agent would be another one.
        self._left_out = False

    def build(self) -> None:
        spec = self._agent.spec
        prompt = self._prompt()
        model = self._model()
        tools = tuple(tool for item in spec.tools if (tool := self._tool(item)) is not None)
        for output in spec.outputs:
            self._output(output.target)
        config = AgentConfig(
            name=self._agent.name,
            namespace=self._agent.namespace,
            role=spec.role,
            operating_mode=spec.operating_mode,
            description=spec.description or "",
            handler=spec.handler,
            role_config=self._role_config(),
            prompt=prompt,
            model=model,
            tools=tools,
            session=SessionConfig(
                mode=spec.session.mode,
                ttl_seconds=spec.session.ttl_seconds,
                history_limit=spec.session.history_limit,
                concurrency=spec.session.concurrency,
            ),
            inputs=tuple(item.source for item in spec.inputs),
            outputs=tuple(item.target for item in spec.outputs),
            depends_on=spec.depends_on,
            timeout_seconds=spec.timeout_seconds,
            allowed_caller_namespaces=allowed_namespaces(
                spec.allowed_callers, self._agent.namespace, self._snapshot.namespaces
            ),
        )
        self._result.agents.append(
            ResolvedAgent(self._agent, None if self._left_out else config, tuple(self._problems))
        )

    def _prompt(self) -> PromptConfig:
        spec = self._agent.spec
        if spec.prompt_from is None:
            return PromptConfig(text=spec.prompt)
        if (ref := spec.prompt_from.secret_key_ref) is not None:
            return PromptConfig(secret=self._secret_file(ref, "spec.promptFrom.secretKeyRef"))
        ref = spec.prompt_from.config_map_key_ref
        if ref is None:  # the API allows exactly one of the two
            return PromptConfig()
        text, problem = config_map_value(
            self._snapshot, self._agent.namespace, ref.name, ref.key, "spec.promptFrom.configMapKeyRef"
        )
        if problem is not None:
            # An agent without its prompt would answer, but as somebody else.
            self._problems.append(problem)
            self._left_out = True
        return PromptConfig(text=text)

    def _model(self) -> ModelConfig | None:
        model = self._agent.spec.model
        if model is None:
            return None
        key = model.api_key_secret_ref
        return ModelConfig(
            provider=model.provider,
            name=model.name,
            base_url=model.base_url,
            api_key=None if key is None else self._secret_file(key, "spec.model.apiKeySecretRef"),
            temperature=None if model.temperature is None else float(model.temperature),
            max_tokens=model.max_tokens,
        )

    def _tool(self, tool: ToolSpec) -> ToolConfig | None:
        if tool.mcp is not None:
            ref, headers = tool.mcp.headers_secret_ref, None
            if ref is not None:
                headers = self._whole_secret(ref.name, f"spec.tools[{tool.name}].mcp.headersSecretRef")
            mcp = McpToolConfig(
                url=tool.mcp.url, headers_secret=headers, allowed_tools=tool.mcp.allowed_tools
            )
            return ToolConfig(name=tool.name, mcp=mcp)
        if tool.agent_ref is None:  # the API allows exactly one of the two
            return None
        namespace = tool.agent_ref.namespace or self._agent.namespace
        problem = self._route((namespace, tool.agent_ref.name), f"spec.tools[{tool.name}].agentRef")
        if problem is not None:
            # The agent goes on without the tool: what it can do alone still works.
            self._problems.append(problem)
            return None
        return ToolConfig(
            name=tool.name, agent=AgentToolConfig(name=tool.agent_ref.name, namespace=namespace)
        )

    def _output(self, target: str) -> None:
        """Add the route to an Agent of another runtime. A target that is no Agent is a channel."""
        key = (self._agent.namespace, target)
        if key not in self._snapshot.target_agents:
            return
        problem = self._route(key, f"spec.outputs[{target}]")
        if problem is not None:
            self._problems.append(problem)

    def _role_config(self) -> dict[str, Any]:
        where = "spec.roleConfig.fallbackModels.apiKeySecretRef"

        def file_of(name: str, key: str) -> dict[str, str]:
            return self._secret_file(KeyReference(name=name, key=key), where).document()

        return with_key_files(self._agent.spec.role_config, file_of)

    def _route(self, target: ObjectKey, where: str) -> Problem | None:
        """Add the route to ``target``, unless this runtime serves it; or return why there is none."""
        namespace, name = target
        agent = self._snapshot.target_agents.get(target)
        here = (self._runtime.namespace, self._runtime.name)
        # Over the wire the caller is the runtime; inside one runtime it is the Agent.
        local = agent is not None and runtime_key(agent) == here
        caller = self._agent.namespace if local else self._runtime.namespace
        if agent is None or not allows(
            agent.spec.allowed_callers, namespace, caller, self._snapshot.namespaces
        ):
            if namespace == self._agent.namespace == self._runtime.namespace:
                return unresolved(
                    Reason.AGENT_NOT_FOUND,
                    f"Agent {namespace}/{name} not found: create it, or change {where}",
                )
            return unresolved(
                Reason.REF_NOT_PERMITTED,
                f"Agent {namespace}/{name} does not exist or does not allow callers from namespace {caller}:"
                f" ask its owner to set spec.allowedCallers, or change {where}",
            )
        if local:
            return None
        runtime = self._snapshot.target_runtimes.get(runtime_key(agent))
        if runtime is None:
            return unresolved(
                Reason.RUNTIME_NOT_FOUND,
                f"Agent {namespace}/{name} has no AgentRuntime: see its status, or change {where}",
            )
        self._result.routes[target] = route_to(name, namespace, runtime, self._settings)
        return None

    def _secret_file(self, ref: KeyReference, where: str) -> SecretFile:
        """Return the file of a Secret's key. A Secret that is missing may still come: its path is known."""
        problem = missing_secret_keys(self._snapshot, self._agent.namespace, ref.name, [ref.key], where)
        if problem is not None:
            self._problems.append(problem)
        return SecretFile(secret=self._mounted(ref.name, [ref.key]), key=ref.key)

    def _whole_secret(self, name: str, where: str) -> str:
        problem = missing_secret_keys(self._snapshot, self._agent.namespace, name, [], where)
        if problem is not None:
            self._problems.append(problem)
        secret = self._snapshot.secrets.get((self._agent.namespace, name))
        return self._mounted(name, [] if secret is None else secret.data)

    def _mounted(self, secret: str, keys: Iterable[str]) -> str:
        """Return the name under which the pods have ``secret``: its own, or that of its copy."""
        namespace, wanted = self._agent.namespace, list(keys)
        name = secret
        if namespace != self._runtime.namespace:
            name = naming.agent_secret_copy(self._runtime.name, namespace, secret)
            entries = self._result.copies.setdefault(name, {})
            entries.update({key: SecretKey(namespace, secret, key) for key in wanted})
        self._result.secrets.setdefault(name, set()).update(wanted)
        return name


def route_to(agent: str, namespace: str, runtime: AgentRuntime, settings: OperatorSettings) -> RouteConfig:
    """Return how other runtimes reach an agent: all pods of its runtime, and the identity to expect there."""
    pods = naming.service_host(
        naming.runtime_pods_service(runtime.name), runtime.namespace, settings.cluster_domain
    )
    return RouteConfig(
        agent=agent,
        namespace=namespace,
        address=f"dns:///{pods}:{runtime.spec.grpc.port}",
        server_name=f"{naming.runtime_workload(runtime.name)}.{runtime.namespace}.svc",
        spiffe_id=f"spiffe://{settings.trust_domain}/ns/{runtime.namespace}/agentruntime/{runtime.name}",
    )
