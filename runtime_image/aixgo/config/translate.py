"""From a configuration file to what a runtime needs: functions from data to data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from aixgo.config.models import split_address
from aixgo.config.problems import ConfigError, Problem
from aixgo.config.providers import ModelProblemError, Secrets, find_service, model_config
from aixgo.contract import AgentConfig, McpToolConfig, PromptConfig, SessionConfig, ToolConfig
from aixgo.contract.role_config import needs_model
from aixgo.runtime.errors import CycleError
from aixgo.runtime.phases import start_phases
from aixgo.runtime.routing import Routing
from aixgo.session.redis.options import parse_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aixgo.config.models import AgentDef, McpServer, Session
    from aixgo.config.reading import ConfigFile
    from aixgo.contract import Role, SecretFile

#: Seconds that a call of an agent may take.
CALL_TIMEOUT_SECONDS = 120
#: Settings of model_services that have an effect.
_SERVICE_SETTINGS = frozenset({"address", "api_key", "api_key_env", "token", "endpoint"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether connections between processes are protected, by TLS or because somebody said they need not."""

    tls_directory: Path | None = None
    allow_insecure: bool = False

    @property
    def only_loopback(self) -> bool:
        """Whether nothing may leave or enter the machine."""
        return self.tls_directory is None and not self.allow_insecure


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the runner does, in order, without a look at the file or the environment."""

    agents: tuple[AgentConfig, ...]
    secrets: Secrets
    #: For each agent of another process its address.
    remotes: Mapping[str, str] = field(default_factory=dict)
    #: Addresses to listen on for calls; none: no gRPC.
    listen: tuple[str, ...] = ()
    session: Session | None = None
    #: Names of the agents whose calls may have a session.
    persistent: tuple[str, ...] = ()
    #: Secret values that are HTTP headers of tool servers, by the name that stands for each of them.
    headers: Mapping[str, Mapping[str, SecretFile]] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    @property
    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """For each agent those that must be ready before it; an agent elsewhere only if one depends on it."""
        dependencies = {agent.name: agent.depends_on for agent in self.agents}
        needed = {name for names in dependencies.values() for name in names}
        elsewhere: dict[str, tuple[str, ...]] = {name: () for name in self.remotes if name in needed}
        return elsewhere | dependencies

    def read_headers(self, secret: str) -> dict[str, str]:
        """Return the HTTP headers for the tool server that ``secret`` stands for.

        Raises:
            AgentLoadError: the token is not there.
        """
        return {
            name: f"Bearer {self.secrets.read(token)}" for name, token in self.headers.get(secret, {}).items()
        }

    @property
    def routing(self) -> Routing:
        """The channels between the agents."""
        return Routing(
            {agent.name: agent.inputs for agent in self.agents},
            {agent.name: agent.outputs for agent in self.agents},
        )


def make_plan(
    file: ConfigFile,
    environment: Mapping[str, str],
    connection: Connection | None = None,
    grpc_port: int | None = None,
) -> Plan:
    """Return what is to be done for a configuration.

    Args:
        file: The configuration.
        environment: Where API keys and base URLs are.
        connection: How connections between processes are protected.
        grpc_port: Port to listen on for calls, besides the agents' own ``listen``.

    Raises:
        ConfigError: what the file asks for cannot be had here; all problems at once.
    """
    return _Translation(file, environment, connection or Connection(), grpc_port).plan()


class _Translation:
    def __init__(
        self,
        file: ConfigFile,
        environment: Mapping[str, str],
        connection: Connection,
        grpc_port: int | None,
    ) -> None:
        self._file = file
        self._config = file.config
        self._environment = environment
        self._connection = connection
        self._grpc_port = grpc_port
        self._secrets = Secrets(environment)
        self._headers: dict[str, dict[str, SecretFile]] = {}
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []

    def plan(self) -> Plan:
        agents = tuple(self._agent(index, agent) for index, agent in enumerate(self._config.agents))
        remotes = self._remotes()
        listen = self._listen()
        session = self._session(listen)
        self._check_order()
        self._warn_of_general_keys()
        self._warn_of_ends(agents, remotes)
        if self._problems:
            raise ConfigError(self._file.name, self._problems)
        return Plan(
            agents=agents,
            secrets=self._secrets,
            remotes=remotes,
            listen=listen,
            session=session,
            persistent=tuple(agent.name for agent in agents if agent.session.mode == "Persistent"),
            headers=self._headers,
            warnings=tuple(sorted(self._warnings)),
        )

    def _session(self, listen: tuple[str, ...]) -> Session | None:
        """Return the settings if conversations are kept: unless the file says no, and if any can arrive."""
        session = self._config.session
        if not session.enabled:
            return None
        unused = "base_dir" if session.store == "redis" else "redis"
        if unused in session.model_fields_set:
            self._warn(f"has no effect: the store is {session.store}", "session", unused)
        try:
            parse_addresses(session.redis.address)
        except ValueError as error:
            self._problem(str(error), "session", "redis", "address")
        if "session" in self._config.model_fields_set:
            if not listen:
                text = "no conversation can arrive: set listen on an agent, or give --grpc-port"
                self._warn(text, "session")
            return session
        return session if listen else None

    def _agent(self, index: int, agent: AgentDef) -> AgentConfig:
        role_config = self._role_config(index, agent)
        model = None
        try:
            if agent.model and needs_model(agent.role, role_config):
                model = model_config(
                    agent.model, self._config.model_services, self._environment, self._secrets
                )
        except ModelProblemError as problem:
            self._problem(str(problem), "agents", index, "model")
        if not agent.model and needs_model(agent.role, role_config):
            self._problem(f"role {agent.role} needs a model", "agents", index, "model")
        for key in ("model", "prompt"):
            if getattr(agent, key) and agent.role in ("producer", "logger", "custom"):
                self._warn(f"has no effect on role {agent.role}", "agents", index, key)
        if agent.tools:
            names = ", ".join(tool.name for tool in agent.tools)
            text = f"has no effect: tools in the file have no implementation ({names}); use mcp_servers"
            self._warn(text, "agents", index, "tools")
        if agent.session_mode == "lightweight":
            text = "session_mode: lightweight is kept durably, like enabled"
            self._warn(text, "agents", index, "session_mode")
        stateless = agent.session_mode == "disabled" or not self._config.session.enabled
        return AgentConfig(
            name=agent.name,
            namespace="",
            role=cast("Role", agent.role),  # the file was refused if it is another
            handler=agent.handler or None,
            role_config=role_config,
            prompt=PromptConfig(text=agent.prompt or None),
            model=model,
            tools=self._tools(index, agent),
            session=SessionConfig(mode="Stateless" if stateless else "Persistent"),
            inputs=tuple(dict.fromkeys(each.source for each in agent.inputs)),
            outputs=tuple(dict.fromkeys(each.target for each in agent.outputs)),
            depends_on=agent.depends_on,
            timeout_seconds=CALL_TIMEOUT_SECONDS,
            allowed_caller_namespaces=("*",),
        )

    def _role_config(self, index: int, agent: AgentDef) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for role in ("classifier", "aggregator", "planner", "producer"):
            key = f"{role}_config"
            given = getattr(agent, key)
            if given is None:
                continue
            if agent.role == role:
                settings = given.model_dump(mode="json", exclude_unset=True)
            else:
                self._warn(f"has no effect on role {agent.role}", "agents", index, key)
        if agent.role == "classifier" and agent.classifier_config is None:
            self._problem("role classifier needs classifier_config with categories", "agents", index, "role")
        if agent.interval and agent.role == "producer":
            settings["interval"] = agent.interval
        elif agent.interval:
            self._warn(f"has no effect on role {agent.role}", "agents", index, "interval")
        return settings

    def _tools(self, index: int, agent: AgentDef) -> tuple[ToolConfig, ...]:
        if agent.mcp_servers and agent.role != "react":
            self._warn(f"has no effect on role {agent.role}", "agents", index, "mcp_servers")
            return ()
        servers = {server.name: (place, server) for place, server in enumerate(self._config.mcp_servers)}
        found = [self._tool(*servers[name]) for name in agent.mcp_servers]
        return tuple(tool for tool in found if tool is not None)

    def _tool(self, index: int, server: McpServer) -> ToolConfig | None:
        path = ("mcp_servers", index)
        if server.transport == "local":
            text = "has no effect: transport local is a server inside a Go program; use transport http"
            self._warn(text, *path, "transport")
            return None
        if server.transport == "grpc":
            text = "transport grpc is not supported; use transport http and the server's URL as address"
            self._problem(text, *path, "transport")
            return None
        scheme = "http" if server.tls is False else "https"
        url = server.address if "://" in server.address else f"{scheme}://{server.address}"
        parts = urlsplit(url)
        if not server.address or parts.scheme not in ("http", "https") or not parts.hostname:
            self._problem("transport http needs the server's URL as address", *path, "address")
            return None
        if server.tls and parts.scheme != "https":
            self._problem("tls: true contradicts an address with http://", *path, "tls")
        return ToolConfig(
            name=server.name, mcp=McpToolConfig(url=url, headers_secret=self._header(index, server))
        )

    def _header(self, index: int, server: McpServer) -> str | None:
        auth = server.auth
        if auth is None:
            return None
        token = self._secrets.from_file(auth.token) if auth.token else None
        if auth.token_env:
            token = self._secrets.from_environment(auth.token_env)
            if token is None:
                text = f"{auth.token_env[:60]} is not set in the environment"
                self._problem(text, "mcp_servers", index, "auth", "token_env")
                return None
        if token is None:
            self._problem("auth needs token_env, or token", "mcp_servers", index, "auth")
            return None
        # OAuth access tokens are sent as bearer tokens, too; getting one is not this program's part.
        self._headers[server.name] = {"Authorization": token}
        return server.name

    def _remotes(self) -> dict[str, str]:
        local = {agent.name for agent in self._config.agents}
        remotes: dict[str, str] = {}
        for index, agent in enumerate(self._config.agents):
            for position, output in enumerate(agent.outputs):
                path = ("agents", index, "outputs", position, "addr")
                if not output.addr:
                    continue
                try:
                    host, port = split_address(output.addr)
                except ValueError as error:
                    self._problem(str(error), *path)
                    continue
                address = f"{host or 'localhost'}:{port}"
                if output.target in local:
                    self._warn(f"has no effect: {output.target} is an agent of this file", *path)
                elif remotes.setdefault(output.target, address) != address:
                    self._problem(f"{output.target} has another addr elsewhere in this file", *path)
                elif self._connection.only_loopback and (host or "localhost") not in _LOOPBACK:
                    text = f"{host} is not this machine: give --tls-dir (or --allow-insecure)"
                    self._problem(text, *path)
        return remotes

    def _listen(self) -> tuple[str, ...]:
        wanted: list[str] = []
        given: list[tuple[str, tuple[str | int, ...]]] = [
            (agent.listen, ("agents", index, "listen"))
            for index, agent in enumerate(self._config.agents)
            if agent.listen
        ]
        if self._grpc_port is not None:
            given.append((f":{self._grpc_port}", ()))
        for text, path in given:
            try:
                host, port = split_address(text)
            except ValueError as error:
                self._problem(str(error), *path)
                continue
            if self._connection.only_loopback and host not in _LOOPBACK:
                if host:
                    why = f"{host} is not the loopback address: give --tls-dir (or --allow-insecure)"
                    self._problem(why, *path)
                    continue
                why = f"listens on 127.0.0.1:{port} only, as there is no TLS: give --tls-dir for {text}"
                self._warn(why, *path)
                host = "127.0.0.1"
            wanted.append(f"{host or '[::]'}:{port}")
        return tuple(dict.fromkeys(wanted))

    def _check_order(self) -> None:
        remote = [each.target for agent in self._config.agents for each in agent.outputs if each.addr]
        needed: dict[str, tuple[str, ...]] = dict.fromkeys(remote, ())
        try:
            start_phases(needed | {agent.name: agent.depends_on for agent in self._config.agents})
        except CycleError as error:
            names = [agent.name for agent in self._config.agents]
            self._problem(str(error), "agents", names.index(error.cycle[0]), "depends_on")

    def _warn_of_general_keys(self) -> None:
        if self._config.supervisor is not None:
            self._warn("has no effect, as in the original: agents work by inputs and outputs", "supervisor")
        used = {
            service.name
            for agent in self._config.agents
            if agent.model and (service := find_service(self._config.model_services, agent.model)) is not None
        }
        for index, service in enumerate(self._config.model_services):
            path = ("model_services", index)
            if service.name not in used:
                self._warn("is not used by any agent", *path, "name")
            if service.transport == "grpc":
                self._warn("has no effect: models are asked over HTTP", *path, "transport")
            for key in sorted(service.config.model_fields_set - _SERVICE_SETTINGS):
                self._warn("has no effect", *path, "config", key)

    def _warn_of_ends(self, agents: tuple[AgentConfig, ...], remotes: Mapping[str, str]) -> None:
        routing = Plan(agents=agents, secrets=self._secrets).routing
        index_of = {agent.name: index for index, agent in enumerate(agents)}
        for name, target in routing.unread():
            if target not in remotes:
                position = [each.target for each in self._config.agents[index_of[name]].outputs].index(target)
                self._warn(f"nothing reads {target}", "agents", index_of[name], "outputs", position, "target")
        for name, source in routing.unfed():
            position = [each.source for each in self._config.agents[index_of[name]].inputs].index(source)
            text = f"no output feeds {source}"
            self._warn(text, "agents", index_of[name], "inputs", position, "source")

    def _problem(self, text: str, *path: str | int) -> None:
        self._problems.append(self._named(text, path))

    def _warn(self, text: str, *path: str | int) -> None:
        self._warnings.append(self._named(text, path))

    def _named(self, text: str, path: tuple[str | int, ...]) -> Problem:
        return self._file.problem(f"{self._file.spelled(*path)}: {text}" if path else text, *path)
