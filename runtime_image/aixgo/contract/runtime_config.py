"""``runtime.json``: what the operator writes for a runtime and the runtime reads."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, field

from aixgo.contract.model import ContractModel
from aixgo.version import CONTRACT_VERSION

Role = Literal["react", "classifier", "aggregator", "planner", "producer", "logger", "custom"]
#: The form of an agent's name, as a regular expression without its ends: libraries write them differently.
AGENT_NAME: Final = "[a-z][a-z0-9_-]{0,63}"
AgentName = Annotated[str, Meta(pattern=rf"^{AGENT_NAME}\Z")]


class SecretFile(ContractModel, frozen=True, kw_only=True):
    """A value that is in the file ``<secret>/<key>`` below the secrets directory, never in here."""

    secret: str
    key: str


class RuntimeIdentity(ContractModel, frozen=True, kw_only=True):
    """Who this runtime is. Its SPIFFE id is ``spiffe://<trustDomain>/ns/<namespace>/agentruntime/<name>``."""

    name: str
    namespace: str
    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"

    @property
    def spiffe_id(self) -> str:
        """The URI SAN that this runtime's certificate carries."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/agentruntime/{self.name}"


class GrpcConfig(ContractModel, frozen=True, kw_only=True):
    """The gRPC listener. A change needs a restart."""

    port: int = 50051
    max_connection_age_seconds: int = 600
    max_message_bytes: int = 16 * 1024 * 1024


class AdminConfig(ContractModel, frozen=True, kw_only=True):
    """The plaintext admin HTTP listener (health, metrics, statusz). A change needs a restart."""

    port: int = 8080


class LimitsConfig(ContractModel, frozen=True, kw_only=True):
    """Limits of the whole process."""

    #: 0: no limit.
    max_concurrent_calls: int = 0
    drain_timeout_seconds: int = 120


class TLSConfig(ContractModel, frozen=True, kw_only=True):
    """How the gRPC port is protected; the files are in the TLS directory of the contract."""

    mode: Literal["Mutual", "External", "Disabled"] = "Mutual"


class ModelConfig(ContractModel, frozen=True, kw_only=True):
    """The model behind an agent."""

    provider: Literal["openai", "anthropic", "google", "xai", "huggingface", "test"] = "openai"
    name: str
    base_url: str | None = field(default=None, name="baseURL")
    api_key: SecretFile | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class PromptConfig(ContractModel, frozen=True, kw_only=True):
    """The system prompt: either the text, or the file of a Secret that holds it."""

    text: str | None = None
    secret: SecretFile | None = None


class McpProgramConfig(ContractModel, frozen=True, kw_only=True):
    """A program that is an MCP server over stdio. It is started as it stands here, without a shell."""

    command: str
    args: tuple[str, ...] = ()
    #: Beside ``PATH``, ``HOME`` and the like. No secrets: every process of the same user can read them.
    env: dict[str, str] = field(default_factory=dict)


class McpToolConfig(ContractModel, frozen=True, kw_only=True):
    """An MCP server over streamable HTTP (``url``), or on a laptop a program (``stdio``): one of the two.

    Every key of the Secret directory ``headersSecret`` is a header.
    """

    url: str | None = None
    stdio: McpProgramConfig | None = None
    headers_secret: str | None = None
    allowed_tools: tuple[str, ...] = ()


class AgentToolConfig(ContractModel, frozen=True, kw_only=True):
    """Another agent as a tool; its address is in :attr:`RuntimeConfig.routes`."""

    name: str
    namespace: str


class ToolConfig(ContractModel, frozen=True, kw_only=True):
    """One tool of an agent: exactly one of ``mcp`` and ``agent`` is set."""

    name: str
    mcp: McpToolConfig | None = None
    agent: AgentToolConfig | None = None


class SessionConfig(ContractModel, frozen=True, kw_only=True):
    """How an agent uses sessions."""

    mode: Literal["Persistent", "Stateless"] = "Persistent"
    #: None: the backend's default. 0: sessions never expire.
    ttl_seconds: int | None = None
    #: How many of the newest messages the agent sees. None: all of them.
    history_limit: int | None = None
    concurrency: Literal["Serialize", "Parallel"] = "Serialize"


class AgentConfig(ContractModel, frozen=True, kw_only=True):
    """One agent of the runtime, resolved: no reference to another object is left in it."""

    name: AgentName
    namespace: str
    #: Hash of this agent's part of the configuration; ``/statusz`` has it once it is served.
    revision: str = ""
    role: Role = "react"
    operating_mode: Literal["Running", "Suspended"] = "Running"
    description: str = ""
    handler: str | None = None
    role_config: dict[str, Any] = field(default_factory=dict)
    prompt: PromptConfig = PromptConfig()
    model: ModelConfig | None = None
    tools: tuple[ToolConfig, ...] = ()
    session: SessionConfig = SessionConfig()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    timeout_seconds: int = 30
    #: Namespaces whose callers may call this agent, selectors resolved. ``("*",)``: every one.
    allowed_caller_namespaces: tuple[str, ...] = ()


class RouteConfig(ContractModel, frozen=True, kw_only=True):
    """Where an agent of another runtime is: what a caller dials and whom it must meet there."""

    agent: str
    namespace: str
    #: ``dns:///<runtime>-pods.<namespace>.svc.<clusterDomain>:<port>``
    address: str
    server_name: str
    spiffe_id: str


class RedisSessionConfig(ContractModel, frozen=True, kw_only=True):
    """A Redis session backend."""

    mode: Literal["Standalone", "Sentinel", "Cluster"] = "Standalone"
    addresses: tuple[str, ...]
    database: int = 0
    sentinel_master: str | None = None
    username: SecretFile | None = None
    password: SecretFile | None = None
    tls: bool = True
    #: Whether a client certificate (``tls.crt``, ``tls.key``) is beside ``ca.crt``.
    client_certificate: bool = False
    server_name: str | None = None


class FileSessionConfig(ContractModel, frozen=True, kw_only=True):
    """A File session backend on the volume of the sessions directory."""

    durability: Literal["fsync", "os"] = "fsync"


class SessionBackendConfig(ContractModel, frozen=True, kw_only=True):
    """The session backend: exactly one of ``redis`` and ``file`` is set, as ``type`` says."""

    type: Literal["Redis", "File"]
    #: The prefix that is really used: ``<keyPrefix><namespace of the runtime>:``.
    key_prefix: str = "aixgo:sessions:"
    #: Sliding time to live of a session without a TTL of its own. 0: none.
    default_ttl_seconds: int = 0
    redis: RedisSessionConfig | None = None
    file: FileSessionConfig | None = None


class RuntimeConfig(ContractModel, frozen=True, kw_only=True):
    """The whole of ``runtime.json``."""

    #: Major version of the contract. A runtime refuses a higher one than its own.
    contract: int = CONTRACT_VERSION
    #: Hash of everything below. ``/statusz`` reports the one that is being served.
    revision: str = ""
    runtime: RuntimeIdentity
    grpc: GrpcConfig = GrpcConfig()
    admin: AdminConfig = AdminConfig()
    limits: LimitsConfig = LimitsConfig()
    tls: TLSConfig = TLSConfig()
    agents: tuple[AgentConfig, ...] = ()
    routes: tuple[RouteConfig, ...] = ()
    sessions: SessionBackendConfig | None = None
