"""The agents of the process: built from the configuration, replaced one by one while calls run, and reported
truthfully.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aixgo.agents.factory import build_agent, import_ahead
from aixgo.contract import AgentConfig, AgentStatus
from aixgo.observability.logs import get_logger
from aixgo.rpc.service import Callee
from aixgo.runtime.errors import AgentLoadError, AgentNotFoundError, AgentNotReadyError
from aixgo.runtime.hosting import RunningAgent
from aixgo.runtime.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aixgo.agents.services import AgentServices
    from aixgo.runtime.pump import InputPump
    from aixgo.server.agent_channels import AgentChannels
    from aixgo.server.secret_files import SecretFiles

#: How long an agent may take until it is ready, in seconds (Go: AgentStartTimeout).
START_TIMEOUT_SECONDS = 30.0

_log = get_logger("aixgo.server.agents")


@dataclass(frozen=True, slots=True)
class Served:
    """An agent that answers calls, with the configuration that it was built from."""

    config: AgentConfig
    running: RunningAgent
    callee: Callee = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "callee", Callee(self.config, self.running.agent))


class HostedAgent:
    """One agent: what is wanted, what is served, and why they differ if they do."""

    def __init__(self, wanted: AgentConfig) -> None:
        #: The newest configuration. Who may call and whether it is suspended count at once, whatever is
        #: served.
        self.wanted = wanted
        self.key = ""
        self.served: Shared[Served] | None = None
        self.load_error: str | None = None
        self.loading: asyncio.Task[None] | None = None
        #: Reads the inputs, if the agent does not by itself.
        self.pump: InputPump | None = None

    @property
    def suspended(self) -> bool:
        """Whether the agent must not answer calls."""
        return self.wanted.operating_mode == "Suspended"

    @property
    def loaded(self) -> bool:
        """Whether the newest configuration is the one in force."""
        if self.suspended:
            return True
        return (
            self.served is not None
            and self.served.value.config.revision == self.wanted.revision
            and not self.load_error
        )

    def why_not_ready(self) -> str | None:
        """Why the agent does not answer calls now; None if it does."""
        if self.wanted.operating_mode == "Suspended":
            return "suspended"
        if self.served is None:
            return self.load_error or "loading"
        return self.served.value.running.why_not_ready

    def problem(self) -> str | None:
        """What does not work although the agent answers calls, such as one of its tools; None if nothing."""
        if self.served is None:
            return None
        return self.served.value.running.problem


class AgentSet:
    """All agents of the process. For the event loop's thread only."""

    def __init__(
        self,
        secrets: SecretFiles,
        model_error: Callable[[AgentConfig], str | None],
        on_change: Callable[[], None],
        services: AgentServices | None = None,
        channels: AgentChannels | None = None,
    ) -> None:
        """Make an empty set.

        Args:
            secrets: Where API keys and secret prompts are.
            model_error: Says why the model of an agent is not reachable; None if it is, as far as known.
            on_change: Called after an agent was loaded, or could not be.
            services: What agents get from the runtime.
            channels: Their inputs and outputs; None: they have none.
        """
        self._channels = channels
        self._services = services
        self._secrets = secrets
        self._model_error = model_error
        self._on_change = on_change
        self._agents: dict[str, HostedAgent] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def names(self) -> list[str]:
        """Return the names of all agents, ready or not, in order."""
        return sorted(self._agents)

    def wanted(self, name: str) -> AgentConfig | None:
        """Return the newest configuration of the agent called ``name``, if there is one."""
        hosted = self._agents.get(name)
        return hosted.wanted if hosted is not None else None

    def use(self, name: str) -> _Use:
        """Return the agent called ``name`` as it is being served; it is not stopped before the block ends.

        Raises (on entering): AgentNotFoundError: there is none. AgentNotReadyError: it does not answer calls
        now; the text says why.
        """
        return _Use(self._agents.get(name), name)

    def apply(self, configs: Iterable[AgentConfig]) -> None:
        """Make these the agents. Only those whose configuration or secrets changed are rebuilt, in the
        background.

        Calls that are running end on the agent that they began on.
        """
        wanted = {config.name: config for config in configs}
        if self._channels is not None:
            self._channels.apply(wanted.values())
        for name in self._agents.keys() - wanted.keys():
            self._remove(self._agents.pop(name))
        for name, config in wanted.items():
            hosted = self._agents.get(name)
            if hosted is None:
                hosted = self._agents[name] = HostedAgent(config)
            hosted.wanted = config
            self._load_if_changed(hosted)

    def reload_secrets(self) -> None:
        """Rebuild the agents whose secret files have another content now."""
        for hosted in self._agents.values():
            self._load_if_changed(hosted)

    def retry_failed(self) -> None:
        """Try again to load what could not be loaded."""
        for hosted in self._agents.values():
            if hosted.load_error and (hosted.loading is None or hosted.loading.done()):
                hosted.loading = asyncio.create_task(self._load(hosted, hosted.wanted))

    async def wait_loaded(self) -> None:
        """Wait until no agent is being loaded."""
        loading = [hosted.loading for hosted in self._agents.values() if hosted.loading is not None]
        if loading:
            await asyncio.wait(loading)

    def statuses(self) -> tuple[AgentStatus, ...]:
        """Return what ``/statusz`` says of the agents, in order of their names."""
        return tuple(self._status(self._agents[name]) for name in self.names())

    async def close(self) -> None:
        """Stop all agents."""
        for hosted in self._agents.values():
            self._remove(hosted)
        self._agents.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    def _status(self, hosted: HostedAgent) -> AgentStatus:
        why = hosted.why_not_ready() or self._model_error(hosted.wanted)
        served = hosted.served.value.config.revision if hosted.served is not None else ""
        return AgentStatus(
            name=hosted.wanted.name,
            ready=why is None,
            revision=hosted.wanted.revision if hosted.suspended else served,
            error=hosted.load_error or why or hosted.problem(),
            loaded=hosted.loaded,
        )

    def _load_if_changed(self, hosted: HostedAgent) -> None:
        key = f"{hosted.wanted.revision}:{self._secrets.digest(self._secrets.of_agent(hosted.wanted))}"
        if key == hosted.key:
            return
        hosted.key = key
        if hosted.loading is not None:
            hosted.loading.cancel()
        if hosted.suspended:
            hosted.load_error = None
            self._retire(hosted)
            return
        hosted.loading = asyncio.create_task(self._load(hosted, hosted.wanted))

    async def _load(self, hosted: HostedAgent, config: AgentConfig) -> None:
        try:
            running = await self._start(config)
        except AgentLoadError as error:
            if hosted.load_error != str(error):
                _log.error("agent not loaded", agent=config.name, revision=config.revision, error=str(error))
            hosted.load_error = str(error)
            self._on_change()
            return
        old, hosted.served = hosted.served, Shared(Served(config, running), self._close_agent)
        hosted.load_error = None
        self._connect(hosted, config, running)
        _log.info("agent loaded", agent=config.name, revision=config.revision, role=config.role)
        self._on_change()
        if old is not None:
            old.retire()

    async def _start(self, config: AgentConfig) -> RunningAgent:
        # Imports take seconds; the calls of other agents must not wait for them.
        await asyncio.to_thread(import_ahead, config)
        running = RunningAgent(config.name, build_agent(config, self._secrets.read, self._services))
        mailbox = self._channels.mailbox(config) if self._channels is not None else None
        await running.start(START_TIMEOUT_SECONDS, mailbox)
        return running

    def _remove(self, hosted: HostedAgent) -> None:
        if hosted.loading is not None:
            hosted.loading.cancel()
        self._retire(hosted)

    def _connect(self, hosted: HostedAgent, config: AgentConfig, running: RunningAgent) -> None:
        """Let the agent that is served now read its inputs, in place of the one before."""
        if self._channels is not None:
            old, hosted.pump = hosted.pump, self._channels.begin(config, running.agent)
            self._channels.end(old, float(config.timeout_seconds))

    def _retire(self, hosted: HostedAgent) -> None:
        if self._channels is not None:
            self._channels.end(hosted.pump, float(hosted.wanted.timeout_seconds))
            hosted.pump = None
        old, hosted.served = hosted.served, None
        if old is not None:
            old.retire()

    def _close_agent(self, served: Served) -> None:
        task = asyncio.create_task(served.running.stop())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Use:
    """A block that uses an agent. One is made for every call: a generator would cost as much as a call of
    the agent.
    """

    __slots__ = ("_hosted", "_name", "_shared")

    def __init__(self, hosted: HostedAgent | None, name: str) -> None:
        self._hosted = hosted
        self._name = name

    async def __aenter__(self) -> Callee:
        hosted = self._hosted
        if hosted is None:
            raise AgentNotFoundError(self._name)
        why = hosted.why_not_ready()
        served = hosted.served
        if why is not None or served is None:
            raise AgentNotReadyError(self._name, why or "")
        self._shared = served
        return served.take().callee

    async def __aexit__(self, *_: object) -> None:
        self._shared.give_back()
