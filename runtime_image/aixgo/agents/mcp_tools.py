"""The tools of one MCP server, over streamable HTTP or, on a laptop, of a program over stdio.

Importing this module takes a second; only an agent with such a tool does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import McpError
from mcp import types as mcp_types
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.mcp import MCPToolset

from aixgo.agents.http_client import open_client
from aixgo.agents.url_guard import RefusedAddressError, check_url
from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import AgentLoadError
from aixgo.version import version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pydantic_ai.toolsets.abstract import ToolsetTool

    from aixgo.agents.services import AgentServices
    from aixgo.contract import McpToolConfig

#: Seconds until a server must have said what it offers; a program has to start first.
CONNECT_SECONDS: Final = 10.0
CONNECT_PROGRAM_SECONDS: Final = 60.0
#: Seconds between two tries to reach a server that is down: at first, and at most.
FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 15.0
#: More tools of one server than this are not offered: every one costs tokens in every request.
MOST_TOOLS: Final = 128
#: Headers of the protocol itself; a Secret cannot set them.
RESERVED_HEADERS: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "mcp-session-id",
    }
)
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: What the model is told.
NOT_REACHABLE: Final = "the tool server is not reachable"
#: What the library says when the server does not know our session any more.
SESSION_LOST: Final = "Session terminated"

_log = get_logger("aixgo.agents.mcp")


class McpServer:
    """One MCP server. A task of its own keeps the connection and makes it again when it is lost.

    A server that is down does not take the agent down: tools that are known are offered on, and a call of one
    says that the server is not reachable.
    """

    def __init__(self, name: str, config: McpToolConfig, services: AgentServices, timeout: float) -> None:
        """Make the source. Nothing is opened.

        Args:
            name: The name of the entry in the configuration.
            config: Where the server is.
            services: What the runtime gives to agents.
            timeout: The longest time of one call, in seconds.

        Raises:
            AgentLoadError: the configuration can never work here.
        """
        self.name = name
        self._config = config
        self._services = services
        self._timeout = timeout
        self._connect_seconds = CONNECT_SECONDS if config.stdio is None else CONNECT_PROGRAM_SECONDS
        self._headers = _headers(name, config, services)
        _check(name, config, services)
        self._toolset: MCPToolset[Any] | None = None
        self._known: dict[str, ToolsetTool[Any]] = {}
        self._problem: str | None = "not connected yet"
        self._missing: str | None = None
        #: Whether the newest try to connect has ended, well or not.
        self._tried = asyncio.Event()
        self._lost = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why the tools cannot be used now, or which of them are missing."""
        return self._problem or self._missing

    async def start(self) -> None:
        """Begin to connect; does not wait for it."""
        self._task = asyncio.create_task(self._keep_connected(), name=f"mcp {self.name}")

    async def stop(self) -> None:
        """Close the connection."""
        tasks = {task for task in (self._task, self._asking) if task is not None}
        self._task = self._asking = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def doubt(self) -> None:
        """Ask the server whether it still answers: a tool may be slow, and a server may hang."""
        if self._toolset is not None and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask_alive(self._toolset))

    async def _ask_alive(self, toolset: MCPToolset[Any]) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds):
                await toolset.client.list_tools()
        except Exception as error:  # noqa: BLE001 - whatever it is, this connection is of no use
            if toolset is self._toolset:
                self._lose(error)

    async def offered(self) -> Mapping[str, ToolsetTool[Any]]:
        """Return the tools of the server that the agent may use."""
        await self._wait_for_try()
        toolset = self._toolset
        if toolset is not None:
            try:
                self._remember(await toolset.get_tools(_NO_RUN))
            except Exception as error:  # noqa: BLE001 - whatever it is, the tools that are known stay
                self._lose(error)
        return self._known

    async def call(self, name: str, args: dict[str, Any], tool: ToolsetTool[Any]) -> Any:
        """Call a tool of the server.

        Raises:
            ToolFailed: the tool failed, or the server is not reachable.
        """
        began = time.perf_counter()
        outcome = "failed"
        try:
            result = await self._call(name, args, tool)
            outcome = "ok"
            return result
        finally:
            self._services.metrics.mcp_tool_called(
                name, "ok" if outcome == "ok" else "failed", time.perf_counter() - began
            )

    async def _call(self, name: str, args: dict[str, Any], tool: ToolsetTool[Any]) -> Any:
        try:
            return await self._ask(name, args, tool)
        except _SessionLostError:
            # The server has forgotten us and has not seen this call: a new session, and once more.
            try:
                return await self._ask(name, args, tool)
            except _SessionLostError as error:
                raise ToolFailed(NOT_REACHABLE) from error

    async def _ask(self, name: str, args: dict[str, Any], tool: ToolsetTool[Any]) -> Any:
        toolset = await self._reach()
        try:
            return await toolset.call_tool(name, args, _NO_RUN, tool)
        except (ToolFailed, asyncio.CancelledError):
            raise
        except ModelRetry as error:
            # The library's word for an error of the protocol.
            if isinstance(error.__cause__, McpError) and SESSION_LOST in str(error.__cause__):
                self._lose(error)
                raise _SessionLostError from error
            if not toolset.is_running or _connection_closed(error.__cause__):
                self._lose(error)
                raise ToolFailed(NOT_REACHABLE) from error
            raise ToolFailed(error.message) from error
        except Exception as error:
            self._lose(error)
            raise ToolFailed(NOT_REACHABLE) from error

    async def _reach(self) -> MCPToolset[Any]:
        if self._toolset is None:
            # Now, and not at the next time that is due.
            self._tried.clear()
            self._wanted.set()
            await self._wait_for_try()
        if self._toolset is None:
            raise ToolFailed(NOT_REACHABLE)
        return self._toolset

    async def _wait_for_try(self) -> None:
        if not self._tried.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._connect_seconds):
                    await self._tried.wait()

    def _lose(self, error: BaseException) -> None:
        if self._toolset is not None:
            _log.warning("connection to tool server lost", tool=self.name, error=type(error).__name__)
            self._toolset = None
            self._problem = "the MCP server is not reachable"
        self._lost.set()

    async def _keep_connected(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            for event in (self._lost, self._wanted, self._tried):
                event.clear()
            connected = False
            try:
                async with contextlib.AsyncExitStack() as stack:
                    async with asyncio.timeout(self._connect_seconds):
                        toolset = await stack.enter_async_context(self._open())
                        self._remember(await toolset.get_tools(_NO_RUN))
                    self._toolset, self._problem, connected = toolset, None, True
                    self._tried.set()
                    _log.info("tool server connected", tool=self.name, tools=len(self._known))
                    wait = FIRST_WAIT_SECONDS
                    await self._lost.wait()
            except Exception as error:  # noqa: BLE001 - a server may fail in any way; it is tried again
                self._failed(error, was_connected=connected)
            finally:
                self._toolset = None
            if connected:
                continue
            self._tried.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def _failed(self, error: Exception, *, was_connected: bool) -> None:
        # The texts of these errors may hold addresses and headers; the kind says enough.
        problem = "the MCP server is not reachable"
        if self._problem != problem and not was_connected:
            _log.warning("tool server not reachable", tool=self.name, error=type(error).__name__)
        self._problem = problem

    def _remember(self, tools: Mapping[str, ToolsetTool[Any]]) -> None:
        allowed = self._config.allowed_tools
        usable = {name: tool for name, tool in tools.items() if not allowed or name in allowed}
        self._known = dict(list(usable.items())[:MOST_TOOLS])
        missing = sorted(set(allowed) - usable.keys())
        self._missing = f"the MCP server does not offer {', '.join(missing)}" if missing else None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[MCPToolset[Any]]:
        """Connect, and disconnect at the end."""
        stdio = self._config.stdio
        common: dict[str, Any] = {
            "id": self.name,
            "max_retries": 1,
            "tool_error_behavior": "failed",
            "init_timeout": self._connect_seconds,
            "read_timeout": self._timeout,
            "client_info": mcp_types.Implementation(name="aixgo", version=version()),
        }
        if stdio is not None:
            transport = StdioTransport(
                stdio.command, list(stdio.args), env=dict(stdio.env) or None, keep_alive=False
            )
            async with MCPToolset[Any](transport, **common) as toolset:
                yield toolset
            return
        url = self._config.url or ""
        async with (
            open_client(
                url, self._services.policy, headers=self._headers, retries=False, redirects=True
            ) as client,
            MCPToolset[Any](url, http_client=client, **common) as toolset,
        ):
            yield toolset


class _SessionLostError(Exception):
    """The server does not know our session any more."""


#: What the library would ask the run for, it is given otherwise.
_NO_RUN: Final[Any] = None


def _check(name: str, config: McpToolConfig, services: AgentServices) -> None:
    if (config.url is None) == (config.stdio is None):
        raise AgentLoadError(f"tool {name}: an MCP server has either a url or a program (stdio)")
    if config.stdio is not None and not services.programs:
        raise AgentLoadError(f"tool {name}: MCP servers over stdio run in local mode only")
    if config.url is not None:
        try:
            check_url(config.url, services.policy)
        except RefusedAddressError as error:
            raise AgentLoadError(f"tool {name}: its url is refused: {error}") from error


def _headers(name: str, config: McpToolConfig, services: AgentServices) -> dict[str, str]:
    if config.headers_secret is None:
        return {}
    headers: dict[str, str] = {}
    for key, text in services.headers(config.headers_secret).items():
        value = text.strip()
        if not HEADER_NAME.fullmatch(key) or key.lower() in RESERVED_HEADERS:
            raise AgentLoadError(f"tool {name}: key {key!r} of its headers Secret cannot be a header")
        if not (value.isascii() and value.isprintable()):
            raise AgentLoadError(f"tool {name}: the value of header {key!r} cannot be sent")
        headers[key] = value
    return headers


def _connection_closed(error: BaseException | None) -> bool:
    return isinstance(error, McpError) and error.error.code == mcp_types.CONNECTION_CLOSED
