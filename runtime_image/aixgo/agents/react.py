"""The role ``react``: a language model that thinks with the whole conversation in view, and acts with tools.

The loop is pydantic-ai's. Importing this module takes more than a second; :mod:`aixgo.agents.roles` imports
it when an agent needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic_ai import Agent as ModelAgent
from pydantic_ai import AgentRunResultEvent, ModelRetry, PartDeltaEvent, PartStartEvent, StructuredDict
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    TextPartDelta,
    UserPromptPart,
)
from pydantic_ai.usage import UsageLimits
from referencing import Registry

from aixgo.agents.input_check import checked
from aixgo.agents.text import ASSISTANT, ASSISTANT_TYPES, answer, text_of
from aixgo.contract.role_config import ReactConfig
from aixgo.errors import SessionNotInContextError
from aixgo.message import Message
from aixgo.runtime.errors import AgentLoadError
from aixgo.session import current_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aixgo.agents.language_model import LanguageModel
    from aixgo.agents.tools import AgentTools

#: Between what the model says before it uses a tool, and what it says afterwards.
PARAGRAPH: Final = "\n\n"


class ReactAgent:
    """An agent that asks a language model, lets it use tools, and answers with what it says in the end.

    The system prompt is the configured one, also in conversations that began with another. The session holds
    inputs and answers; what happened with tools in between is not stored.
    """

    role = "react"

    def __init__(
        self,
        name: str,
        *,
        prompt: str,
        model: LanguageModel,
        config: ReactConfig | None = None,
        tools: AgentTools | None = None,
    ) -> None:
        """Make the agent; nothing is opened.

        Raises:
            AgentLoadError: the output schema cannot be used.
        """
        config = config or ReactConfig()
        self.name = name
        self._model = model
        self._tools = tools
        self._limits = UsageLimits(
            request_limit=config.max_requests,
            tool_calls_limit=config.max_tool_calls,
            total_tokens_limit=config.max_total_tokens,
        )
        self._agent: ModelAgent[None, Any] = ModelAgent(
            model.model,
            instructions=prompt or None,
            model_settings=model.settings,
            name=name,
            output_type=_output(config),
            toolsets=[tools] if tools is not None else None,
        )
        if config.output_schema is not None:
            self._agent.output_validator(_check(config.output_schema))

    async def start(self) -> None:
        """Open the connection pool to the model provider and begin to connect tools. Waits for neither."""
        await self._model.open()
        if self._tools is not None:
            await self._tools.start()

    async def stop(self) -> None:
        """Close the connections."""
        if self._tools is not None:
            await self._tools.stop()
        await self._model.close()

    def ready(self) -> bool:
        """Whether :meth:`start` has run. The model's own health is probed by the server."""
        return self._model.opened

    @property
    def problem(self) -> str | None:
        """Which tools cannot be used now, and why; the agent answers without them."""
        return self._tools.problem if self._tools is not None else None

    async def execute(self, message: Message) -> Message:
        """Answer with the history of the current session, if there is one.

        Raises:
            InvalidRequestError: the input is empty, too long, or has control characters.
            ModelUnavailableError: the provider does not answer or refuses.
            ModelRateLimitError: the provider asks for fewer requests.
            UsageLimitError: a limit of the agent's for one call is reached.
            CallLoopError: agents that are tools call each other in a circle.
        """
        prompt = checked(text_of(message))
        history = await _history()
        with self._model.translated_errors():
            result = await self._agent.run(prompt, message_history=history, usage_limits=self._limits)
        return _answer(result.output)

    async def execute_stream(self, message: Message) -> AsyncIterator[Message]:
        """Yield the answer in parts as the model produces them; errors as in :meth:`execute`.

        What a model says before it uses a tool cannot be told from its answer while it says it: it is part of
        what is streamed, and of the answer then.
        """
        prompt = checked(text_of(message))
        history = await _history()
        said = paragraph = False
        with self._model.translated_errors():
            async with self._agent.run_stream_events(
                prompt, message_history=history, usage_limits=self._limits
            ) as events:
                async for event in events:
                    if isinstance(event, FunctionToolCallEvent):
                        paragraph = said
                    elif isinstance(event, AgentRunResultEvent):
                        if not isinstance(event.result.output, str):
                            yield _answer(event.result.output)
                    elif delta := _delta(event):
                        yield answer(PARAGRAPH + delta if paragraph else delta)
                        said, paragraph = True, False


def _output(config: ReactConfig) -> Any:
    if config.output_schema is None:
        return str
    try:
        return StructuredDict(config.output_schema, name="answer")
    except UserError as error:
        raise AgentLoadError(f"roleConfig.outputSchema: {error}") from error


def _check(schema: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a check of answers; the model hears what is wrong and tries again.

    Raises:
        AgentLoadError: the schema is none.
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise AgentLoadError(f"roleConfig.outputSchema: {error.message}") from error
    # An empty registry: what a schema refers to is in it, and is never fetched.
    validator = Draft202012Validator(schema, registry=Registry())

    def check(output: dict[str, Any]) -> dict[str, Any]:
        for error in validator.iter_errors(output):
            raise ModelRetry(f"{error.json_path}: {error.message}")
        return output

    return check


def _answer(output: Any) -> Message:
    return answer(output) if isinstance(output, str) else Message.new(ASSISTANT, dict(output))


def _delta(event: object) -> str:
    """Return the text that an event adds to the answer; "" if none."""
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""


async def _history() -> list[ModelMessage]:
    try:
        session = current_session()
    except SessionNotInContextError:
        return []
    return to_model_history(await session.get_messages())


def to_model_history(messages: Sequence[Message]) -> list[ModelMessage]:
    """Return stored messages, oldest first, as the model's history: answers are the model's, all others the
    user's.
    """
    return [
        ModelResponse(parts=[TextPart(text_of(message))])
        if message.type in ASSISTANT_TYPES
        else ModelRequest(parts=[UserPromptPart(text_of(message))])
        for message in messages
    ]
