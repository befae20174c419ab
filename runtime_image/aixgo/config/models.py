"""Aixgo's own configuration (YAML) as data, every key of the original.

Keys are snake_case as in Aixgo; their camelCase twins mean the same. A key that does not exist is an error,
because nobody finds a misspelled key that is ignored. Keys that the original does not have say so ("ours").
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from aixgo.contract.durations import parse_duration
from aixgo.contract.role_config import AggregatorConfig, ClassifierConfig, PlannerConfig, ProducerConfig
from aixgo.contract.runtime_config import AGENT_NAME

#: The names of tools and servers (the expression of Aixgo).
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_:-]{1,100}$")]
Name = Annotated[str, StringConstraints(min_length=1)]


def _seconds(value: Any) -> Any:
    return parse_duration(value if isinstance(value, str) else str(value))


#: A field that takes a Go duration (``5m``, ``1h30m``, ``100ms``) and holds seconds.
Seconds = Annotated[float, BeforeValidator(_seconds)]
Positive = Annotated[Seconds, Field(gt=0)]

ROLES = ("react", "classifier", "aggregator", "planner", "producer", "logger", "custom")


class YamlModel(BaseModel):
    """A mapping in the file. A key without a value counts as absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    #: Other spellings of keys that the documentation of the original uses.
    synonyms: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _snake_case(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = {to_camel(name): name for name in cls.model_fields} | cls.synonyms
        result: dict[str, Any] = {}
        for key, value in data.items():
            name = names.get(str(key), str(key))
            if name in result:
                raise PydanticCustomError(
                    "duplicate_key", "{key} means the same as another key here", {"key": key}
                )
            if value is not None:
                result[name] = value
        return result


class Supervisor(YamlModel):
    """Accepted as in the original, where it has no effect from a file either."""

    #: No effect, as in the original.
    name: str = ""
    #: No effect, as in the original.
    model: str = ""
    #: No effect, as in the original.
    max_rounds: int = 0


class McpAuth(YamlModel):
    """How to log in at an MCP server. ``token_env`` names the environment variable with the token."""

    #: Both send the token as ``Authorization: Bearer``.
    type: Literal["bearer", "oauth"] = "bearer"
    #: The token itself; better to name a variable.
    token: str = ""
    #: The environment variable with the token.
    token_env: str = ""


class McpServer(YamlModel):
    """A server of tools. ``http`` (streamable HTTP, the standard's transport) is ours."""

    #: What agents name it by.
    name: ToolName
    #: ``http`` is streamable HTTP. ``local`` has no effect; ``grpc`` is an error.
    transport: Literal["local", "grpc", "http"] = "local"
    #: The URL of the server.
    address: str = ""
    #: Whether an ``address`` without a scheme means https. Default: true.
    tls: bool | None = None
    #: How to log in.
    auth: McpAuth | None = None


class ModelServiceSettings(YamlModel):
    """Settings of a model service; the original takes any key here and reads these."""

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    #: The base URL; it wins over ``address`` of the service.
    address: str = ""
    #: The key itself; better to name a variable.
    api_key: str = ""
    #: The same as ``api_key``.
    token: str = ""
    #: The base URL of a vendor; it wins over ``address``.
    endpoint: str = ""
    #: No effect.
    variant: str = ""
    #: Ours: the environment variable with the key, so that no key has to be in the file.
    api_key_env: str = ""


class ModelService(YamlModel):
    """A model that is served somewhere; agents name it, or its model."""

    #: What agents may write as ``model``.
    name: Name
    #: The vendor, for ``runtime: cloud``.
    provider: str = ""
    #: The name that the server knows the model by.
    model: Name
    #: What serves it: a server of your own, or a vendor.
    runtime: Literal["ollama", "vllm", "cloud"]
    #: No effect: models are asked over HTTP.
    transport: Literal["local", "grpc", "http"] = "local"
    #: The base URL. Default: ``http://localhost:11434`` (ollama), ``http://localhost:8000`` (vllm), or the
    #: vendor's.
    address: str = ""
    #: More settings.
    config: ModelServiceSettings = ModelServiceSettings()


class Input(YamlModel):
    """What an agent reads: a topic, or what another agent sends to it."""

    #: A topic or an agent.
    source: Name


class Output(YamlModel):
    """Where an agent sends: a topic or an agent; ``addr`` is ``host:port`` of the process that has it."""

    #: A topic or an agent.
    target: Name
    #: ``host:port`` of the process that has the agent.
    addr: str = ""


class Tool(YamlModel):
    """A tool without an implementation (deprecated in the original, too)."""

    #: No effect: a tool in the file has no implementation. Use ``mcp_servers``.
    name: ToolName
    #: No effect.
    description: str = ""
    #: No effect.
    input_schema: dict[str, Any] = Field(default_factory=dict)

    @field_validator("input_schema")
    @classmethod
    def _is_object_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if schema and schema.get("type", "object") != "object":
            raise PydanticCustomError("schema", "the input_schema of a tool must be of type object")
        return schema


class AgentDef(YamlModel):
    """One agent (Go: AgentDef)."""

    synonyms: ClassVar[dict[str, str]] = {"type": "role"}

    #: What calls and other agents name it by.
    name: Annotated[str, StringConstraints(pattern=f"^{AGENT_NAME}$")]
    #: ``react``, ``classifier``, ``aggregator``, ``planner``, ``producer``, ``logger`` or ``custom``.
    role: Name
    #: The time between two messages of a producer.
    interval: str = ""
    #: ``host:port`` on which the process takes calls.
    listen: str = ""
    #: What it reads.
    inputs: tuple[Input, ...] = ()
    #: Where its answers go.
    outputs: tuple[Output, ...] = ()
    #: Agents that are ready before it starts.
    depends_on: tuple[str, ...] = ()
    #: The name of a model, or of one of ``model_services``.
    model: str = ""
    #: The system prompt.
    prompt: str = ""
    #: Accepted, with a warning.
    tools: tuple[Tool, ...] = ()
    #: The names of tool servers.
    mcp_servers: tuple[str, ...] = ()
    #: ``disabled`` keeps nothing; ``lightweight`` is ``enabled``.
    session_mode: Literal["enabled", "lightweight", "disabled"] = "enabled"
    classifier_config: ClassifierConfig | None = None
    aggregator_config: AggregatorConfig | None = None
    planner_config: PlannerConfig | None = None
    #: Ours: what a producer sends.
    producer_config: ProducerConfig | None = None
    #: Ours: ``module:attribute`` of an agent in Python, for the role custom.
    handler: str = ""

    @field_validator("interval", mode="before")
    @classmethod
    def _is_positive(cls, interval: Any) -> str:
        if parse_duration(str(interval)) <= 0:
            raise ValueError(f"{str(interval)[:40]!r} is too short: at least 1ms")
        return str(interval)

    @field_validator("role")
    @classmethod
    def _is_known(cls, role: str) -> str:
        if role not in ROLES:
            raise PydanticCustomError("role", "unknown role: {role}", {"role": role[:60]})
        return role


class CheckpointSettings(YamlModel):
    """Checkpoints that are made without being asked for."""

    #: Whether checkpoints are made at every ``interval``.
    auto_save: bool = False
    #: The time between two of them.
    interval: Positive = 300.0


class RedisSettings(YamlModel):
    """Ours: where the store ``redis`` is. The password comes from an environment variable only."""

    #: ``host:port``.
    address: str = "localhost:6379"
    #: The ACL user.
    username: str = ""
    #: The environment variable with the password.
    password_env: str = "REDIS_PASSWORD"  # noqa: S105 - the name of a variable
    #: The number of the database.
    db: int = Field(default=0, ge=0)
    #: What every key begins with.
    key_prefix: str = "aixgo:sessions:"
    #: How long a session is kept after its last change. 0: for ever.
    ttl: Annotated[Seconds, Field(ge=0)] = 0.0
    #: Whether to use TLS.
    tls: bool = False
    #: The CA that signed the server.
    ca_file: str = ""


class Session(YamlModel):
    """Where conversations are kept. On by default, as the original documents it."""

    #: Whether conversations are kept.
    enabled: bool = True
    #: ``file`` or ``redis``.
    store: str = "file"
    #: The directory. Default: ``AIXGO_SESSION_DIR``, else ``~/.aixgo/sessions``.
    base_dir: str = ""
    #: Automatic checkpoints.
    checkpoint: CheckpointSettings = CheckpointSettings()
    #: Where the store ``redis`` is.
    redis: RedisSettings = RedisSettings()

    @field_validator("store")
    @classmethod
    def _exists(cls, store: str) -> str:
        if store not in ("file", "redis"):
            raise PydanticCustomError(
                "store", "store {store} does not exist; use file or redis", {"store": repr(store[:60])}
            )
        return store


class Config(YamlModel):
    """A whole file (Go: aixgo.Config). Keys that begin with ``x-`` are left alone, as a place for anchors."""

    #: Accepted, with a warning.
    supervisor: Supervisor | None = None
    #: Servers of tools.
    mcp_servers: tuple[McpServer, ...] = ()
    #: Models that are served somewhere.
    model_services: tuple[ModelService, ...] = ()
    #: The agents.
    agents: tuple[AgentDef, ...] = ()
    #: Where conversations are kept.
    session: Session = Session()

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if not key.startswith("x-")}
        return data


#: An address to listen on: ``host:port``, ``:port`` or ``port``.
_LISTEN = re.compile(r"(?:(?P<host>.*):)?(?P<port>\d{1,5})")


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``:port``, ``[v6]:port`` or ``port``; no host is "".

    Raises:
        ValueError: it is none of them.
    """
    found = _LISTEN.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"{text[:60]!r} is not an address of the form host:port")
    host = found["host"] or ""
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text[:60]!r} is not an address of the form host:port")
    return host, int(found["port"])
