"""Agent: one agent with its role, model, prompt, tools and routing, served by an AgentRuntime."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aixgo_operator.api.base import ApiModel, Int32, Int64, ListMap, Name, RawObject, Rule
from aixgo_operator.api.constants import KIND_AGENT, PLURAL_AGENTS
from aixgo_operator.api.meta import (
    AGE_COLUMN,
    MESSAGE_COLUMN,
    READY_COLUMN,
    REASON_COLUMN,
    STATUS_COLUMN,
    CustomResource,
    PrinterColumn,
    ResourceInfo,
    Status,
)
from aixgo_operator.api.references import (
    SAME_NAMESPACE_ONLY,
    Consent,
    KeyReference,
    LocalReference,
    ObjectReference,
)

#: Roles whose work is done by a model.
MODEL_ROLES = ("react", "classifier", "planner")


class PromptSource(ApiModel):
    """Where the system prompt comes from."""

    config_map_key_ref: KeyReference | None = None
    """Key of a ConfigMap."""
    secret_key_ref: KeyReference | None = None
    """Key of a Secret."""

    rules = (
        Rule(
            "has(self.configMapKeyRef) != has(self.secretKeyRef)",
            "set exactly one of configMapKeyRef or secretKeyRef",
            lambda self: self.has("config_map_key_ref") != self.has("secret_key_ref"),
        ),
    )


class ModelSpec(ApiModel):
    """The language model behind an agent."""

    provider: Literal["openai", "anthropic", "google", "xai", "huggingface", "test"] = "openai"
    """API that the model speaks; openai also stands for every server that is compatible with it."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the model."""
    base_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://")] | None = Field(
        default=None, alias="baseURL"
    )
    """Address of the API. Default: the provider's own."""
    api_key_secret_ref: KeyReference | None = None
    """Key of a Secret with the API key."""
    temperature: Annotated[str, Field(pattern=r"^[0-2](\.[0-9]{1,3})?$")] | None = None
    """Sampling temperature as decimal text, such as "0.2"."""
    max_tokens: Annotated[Int32, Field(ge=1)] | None = None
    """Most tokens of an answer."""


class McpToolSpec(ApiModel):
    """A server of the Model Context Protocol over streamable HTTP."""

    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://")]
    """Address of the server."""
    headers_secret_ref: LocalReference | None = None
    """Secret whose every key is sent as a header."""
    allowed_tools: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """Tools of the server that the agent may use. Default: all."""


class ToolSpec(ApiModel):
    """Something the agent may use while it works."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_-]*$")]
    """Name that the model sees."""
    mcp: McpToolSpec | None = None
    """A server of the Model Context Protocol."""
    agent_ref: ObjectReference | None = None
    """Another Agent."""

    rules = (
        Rule(
            "has(self.mcp) != has(self.agentRef)",
            "set exactly one of mcp or agentRef",
            lambda self: self.has("mcp") != self.has("agent_ref"),
        ),
    )


class AgentSessionSpec(ApiModel):
    """How the agent uses sessions."""

    mode: Literal["Persistent", "Stateless"] = "Persistent"
    """Persistent: a call with a session id continues that conversation. Stateless: nothing is kept."""
    ttl_seconds: Annotated[Int64, Field(ge=0)] | None = None
    """Sliding life of a session. 0: for ever. Default: the backend's."""
    history_limit: Annotated[Int32, Field(ge=1)] | None = None
    """Newest messages that the agent sees. Default: all."""
    concurrency: Literal["Serialize", "Parallel"] = "Serialize"
    """Calls on one session: one after the other, or in parallel with a conflict for the later writer."""

    rules = (
        Rule(
            "self.mode == 'Persistent' || !has(self.ttlSeconds)",
            "ttlSeconds only applies to Persistent sessions",
            lambda self: self.mode == "Persistent" or not self.has("ttl_seconds"),
        ),
    )


class InputSpec(ApiModel):
    """Where messages come from."""

    source: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the agent whose messages arrive."""


class OutputSpec(ApiModel):
    """Where messages go."""

    target: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the agent that messages are sent to."""


class AgentSpec(ApiModel):
    """What is wanted of an Agent."""

    runtime_ref: ObjectReference
    """AgentRuntime that serves the agent."""
    operating_mode: Literal["Running", "Suspended"] = "Running"
    """Suspended: calls are refused with UNAVAILABLE."""
    description: Annotated[str, Field(max_length=4096)] | None = None
    """What the agent is for; other agents see it when they use it as a tool."""
    role: Literal["react", "classifier", "aggregator", "planner", "producer", "logger", "custom"] = "react"
    """What kind of agent it is."""
    handler: (
        Annotated[str, Field(max_length=512, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")]
        | None
    ) = None
    """Python class of a custom agent: package.module:Name."""
    role_config: RawObject | None = None
    """Settings of the role."""
    prompt: Annotated[str, Field(max_length=65536)] | None = None
    """System prompt."""
    prompt_from: PromptSource | None = None
    """Where the system prompt comes from instead."""
    model: ModelSpec | None = None
    """The language model behind the agent."""
    tools: Annotated[tuple[ToolSpec, ...], Field(max_length=32), ListMap("name")] = ()
    """What the agent may use while it works."""
    session: AgentSessionSpec = AgentSessionSpec(mode="Persistent")
    """How the agent uses sessions."""
    inputs: Annotated[tuple[InputSpec, ...], Field(max_length=32)] = ()
    """Where messages come from."""
    outputs: Annotated[tuple[OutputSpec, ...], Field(max_length=32)] = ()
    """Where messages go."""
    depends_on: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Agents that have to be started first."""
    timeout_seconds: Annotated[Int32, Field(ge=1, le=86400)] = 30
    """Longest time of one call."""
    allowed_callers: Consent = SAME_NAMESPACE_ONLY
    """Namespaces whose runtimes and clients may call the agent."""

    rules = (
        Rule(
            "!(has(self.prompt) && has(self.promptFrom))",
            "prompt and promptFrom are mutually exclusive",
            lambda self: not (self.has("prompt") and self.has("prompt_from")),
        ),
        Rule(
            "(self.role == 'custom') == has(self.handler)",
            "handler is required for role custom and only allowed there",
            lambda self: (self.role == "custom") == self.has("handler"),
        ),
        Rule(
            f"!(self.role in [{','.join(repr(role) for role in MODEL_ROLES)}]) || has(self.model)",
            "model is required for this role",
            lambda self: self.role not in MODEL_ROLES or self.has("model"),
        ),
    )


class AgentStatus(Status):
    """What the operator sees of an Agent."""

    address: str | None = None
    """Where the agent is called: host:port."""
    loaded_revision: str | None = None
    """Revision of the agent's configuration that every ready replica serves."""
    ready_replicas: Int32 | None = None
    """Replicas that serve the agent at this generation."""


class Agent(CustomResource):
    """One agent with its role, model, prompt, tools and routing, served by an AgentRuntime."""

    resource: ClassVar[ResourceInfo] = ResourceInfo(
        kind=KIND_AGENT,
        plural=PLURAL_AGENTS,
        short_name="agt",
        status=AgentStatus,
        columns=(
            READY_COLUMN,
            STATUS_COLUMN,
            PrinterColumn("Runtime", "string", ".spec.runtimeRef.name"),
            PrinterColumn("Role", "string", ".spec.role"),
            PrinterColumn("Model", "string", ".spec.model.name"),
            AGE_COLUMN,
            REASON_COLUMN,
            PrinterColumn("Address", "string", ".status.address", priority=1),
            MESSAGE_COLUMN,
        ),
    )

    kind: Literal["Agent"] = KIND_AGENT
    spec: AgentSpec
