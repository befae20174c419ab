"""Language models that answer by a script, without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from aixgo.agents.language_model import LanguageModel

#: What every scripted answer costs.
TOKENS = 10
#: A dict is a tool call, a text is a text.
Answer = dict[str, Any] | str
Script = Callable[["Request"], Answer]


class Request:
    """What a model was asked."""

    def __init__(self, messages: list[ModelMessage], info: AgentInfo) -> None:
        self.messages = messages
        self.instructions = info.instructions or ""
        self.settings = dict(info.model_settings or {})
        self.schema = info.output_tools[0].parameters_json_schema if info.output_tools else {}

    @property
    def prompt(self) -> str:
        """The newest text for the model: the question, or what was wrong with the last answer."""
        return str(self.messages[-1].parts[-1].content)  # type: ignore[union-attr]


class ScriptedModel:
    """``ScriptedModel(answer, ...)`` gives these in turn; ``ScriptedModel(script)`` asks the script."""

    def __init__(self, *answers: Answer | Script, settings: ModelSettings | None = None) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self.model = LanguageModel(FunctionModel(self._answer), settings)

    @property
    def last(self) -> Request:
        """The newest request."""
        return self.requests[-1]

    def _answer(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        request = Request(messages, info)
        self.requests.append(request)
        script = self._answers[0]
        answer = script(request) if callable(script) else self._answers.pop(0)
        usage = RequestUsage(input_tokens=TOKENS - 3, output_tokens=3)
        if isinstance(answer, dict):
            return ModelResponse(parts=[ToolCallPart("answer", answer)], usage=usage)
        assert isinstance(answer, str)
        return ModelResponse(parts=[TextPart(answer)], usage=usage)
