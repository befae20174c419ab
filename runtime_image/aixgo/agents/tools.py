"""The tools of an agent as one pydantic-ai toolset: those of MCP servers, and other agents."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets.abstract import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from aixgo.agents.text import text_of
from aixgo.errors import AixgoError
from aixgo.message import Message
from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import AgentLoadError, CallLoopError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_ai.tools import RunContext

    from aixgo.agents.services import AgentServices
    from aixgo.contract import AgentToolConfig, ToolConfig

#: What every provider accepts as the name of a tool.
NO_TOOL_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")
LONGEST_TOOL_NAME: Final = 64

_log = get_logger("aixgo.agents.tools")


class ToolSource(Protocol):
    """What one entry of an agent's tools offers. Nothing here may take the agent down."""

    name: str

    @property
    def problem(self) -> str | None:
        """Why the tools cannot be used now, fit for ``/statusz``; None if they can, as far as known."""

    async def start(self) -> None:
        """Begin to be available; does not wait for it."""

    async def stop(self) -> None:
        """Free what is held."""

    def doubt(self) -> None:
        """Hear that a call was not answered in time."""

    async def offered(self) -> Mapping[str, ToolsetTool[Any]]:
        """Return the tools by their own names: those that are known, when the source does not answer."""

    async def call(self, name: str, args: dict[str, Any], tool: ToolsetTool[Any]) -> Any:
        """Call a tool.

        Raises:
            ToolFailed: it failed; the text is for the model.
        """


@dataclass(kw_only=True)
class SourcedTool(ToolsetTool[Any]):
    """A tool with where it comes from."""

    source: ToolSource
    own: ToolsetTool[Any]


class AgentTools(AbstractToolset[Any]):
    """All tools of one agent, in the order of its configuration.

    A tool keeps the name that its server gives it. When an entry before it has that name already, it is
    offered as ``<entry>_<name>``: no server can take the place of another's tool.
    """

    def __init__(self, sources: Sequence[ToolSource], timeout: float) -> None:
        """Make the toolset; ``timeout`` is the longest time of one call, in seconds."""
        self.sources = tuple(sources)
        self._timeout = timeout

    @property
    def id(self) -> str | None:
        """The toolset's id; an agent has only this one."""
        return "tools"

    @property
    def problem(self) -> str | None:
        """Which tools cannot be used now, and why; None if all can."""
        problems = [
            f"tool {source.name}: {source.problem}" for source in self.sources if source.problem is not None
        ]
        return "; ".join(problems) or None

    async def start(self) -> None:
        """Start every source."""
        for source in self.sources:
            await source.start()

    async def stop(self) -> None:
        """Stop every source."""
        await asyncio.gather(*(source.stop() for source in self.sources), return_exceptions=True)

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Return the tools that the model may call now."""
        tools: dict[str, ToolsetTool[Any]] = {}
        for source, offered in zip(
            self.sources, await asyncio.gather(*(source.offered() for source in self.sources)), strict=True
        ):
            for own_name, own in offered.items():
                name = NO_TOOL_NAME.sub("_", own_name)[:LONGEST_TOOL_NAME]
                if name in tools:
                    name = f"{source.name}_{name}"[:LONGEST_TOOL_NAME]
                if name in tools:
                    continue
                tools[name] = SourcedTool(
                    toolset=self,
                    tool_def=replace(own.tool_def, name=name),
                    max_retries=1,
                    args_validator=own.args_validator,
                    source=source,
                    own=own,
                )
        return tools

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """Call a tool. What goes wrong with it is told to the model, which may do without.

        Raises:
            ToolFailed: it failed.
            CallLoopError: agents call each other in a circle; this ends the whole call.
        """
        if not isinstance(tool, SourcedTool):
            raise TypeError(f"{name} is not one of these tools")
        try:
            async with asyncio.timeout(self._timeout):
                return await tool.source.call(tool.own.tool_def.name, tool_args, tool.own)
        except TimeoutError as error:
            tool.source.doubt()
            raise ToolFailed(f"the tool did not answer within {self._timeout:g} s") from error


#: The arguments of an agent that is a tool.
_QUESTION: Final = SchemaValidator(
    core_schema.typed_dict_schema({"message": core_schema.typed_dict_field(core_schema.str_schema())})
)


class AgentTool:
    """Another agent as a tool: it gets a text and answers with one. It sees no session of the caller."""

    def __init__(self, name: str, target: AgentToolConfig, services: AgentServices) -> None:
        """Make the tool.

        Raises:
            AgentLoadError: this runtime calls no other agents.
        """
        if services.caller is None:
            raise AgentLoadError(f"tool {name}: agents cannot be tools here")
        self.name = name
        self._target = target
        self._caller = services.caller

    @property
    def problem(self) -> str | None:
        """None: whether the agent answers, a call tells."""
        return None

    async def start(self) -> None:
        """Do nothing: connections are made by the first call."""

    async def stop(self) -> None:
        """Do nothing: connections belong to the runtime."""

    def doubt(self) -> None:
        """Do nothing: the next call tells."""

    async def offered(self) -> Mapping[str, ToolsetTool[Any]]:
        """Return the agent as a tool."""
        about = self._caller.description(self._target)
        definition = ToolDefinition(
            name=self.name,
            description=about or f"Ask the agent {self._target.name}.",
            parameters_json_schema={
                "type": "object",
                "properties": {"message": {"type": "string", "description": "What the agent is asked."}},
                "required": ["message"],
                "additionalProperties": False,
            },
        )
        # The toolset that is called is always AgentTools; the one in here is not used.
        return {
            self.name: ToolsetTool(
                toolset=_NO_TOOLSET,
                tool_def=definition,
                max_retries=1,
                args_validator=_QUESTION,
            )
        }

    async def call(self, name: str, args: dict[str, Any], tool: ToolsetTool[Any]) -> str:
        """Ask the agent.

        Raises:
            ToolFailed: it does not answer.
            CallLoopError: agents call each other in a circle.
        """
        try:
            output = await self._caller.call(self._target, Message.new("user", {"text": args["message"]}))
        except CallLoopError:
            raise
        except AixgoError as error:
            _log.warning("agent as tool failed", tool=name, agent=self._target.name, error=str(error))
            raise ToolFailed(f"agent {self._target.name} failed: {error}") from error
        return text_of(output)


_NO_TOOLSET: Final = AgentTools((), 0)


def build_tools(tools: Sequence[ToolConfig], services: AgentServices, timeout: float) -> AgentTools | None:
    """Return the tools of an agent; None if it has none. Nothing is opened.

    Raises:
        AgentLoadError: a tool can never work as it is configured.
    """
    if not tools:
        return None
    sources: list[ToolSource] = []
    for tool in tools:
        if tool.mcp is not None:
            from aixgo.agents.mcp_tools import McpServer

            sources.append(McpServer(tool.name, tool.mcp, services, timeout))
        elif tool.agent is not None:
            sources.append(AgentTool(tool.name, tool.agent, services))
        else:
            raise AgentLoadError(f"tool {tool.name}: neither an MCP server nor an agent")
    return AgentTools(sources, timeout)
