"""Asking a language model for an answer of a given form. Importing this module takes more than a second."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_ai import Agent as ModelAgent
from pydantic_ai import ModelRetry, TextOutput, ToolOutput
from pydantic_ai.models.test import TestModel
from pydantic_ai.settings import ModelSettings, merge_model_settings
from pydantic_ai.usage import RunUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pydantic import BaseModel

    from aixgo.agents.language_model import LanguageModel

T = TypeVar("T")

#: How often a model may correct an answer that does not have the form.
RETRIES: Final = 2
_FENCED: Final = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


class Question(Generic[T]):
    """A question whose answers are of type ``T``.

    The model may answer by a tool call or, as small models and plain servers do, by a text that is JSON.
    """

    def __init__(
        self,
        model: LanguageModel,
        form: type[T],
        *,
        name: str,
        instructions: str,
        settings: ModelSettings | None = None,
    ) -> None:
        self._model = model
        output: Any = form
        # The test model would answer any question that may be answered by a text with "success".
        if form is not str and not isinstance(model.model, TestModel):
            output = [ToolOutput(form, name="answer"), TextOutput(_parser(form))]
        self._agent: ModelAgent[Any, T] = ModelAgent(
            model.model,
            output_type=output,
            instructions=instructions,
            model_settings=merge_model_settings(model.settings, settings),
            name=name,
            deps_type=object,
            retries=RETRIES,
        )

        @self._agent.output_validator
        def check(context: Any, answer: T) -> T:
            if context.deps is None:
                return answer
            try:
                checked: T = context.deps(answer)
            except ValueError as error:
                raise ModelRetry(f"That does not work: {error}. Answer again.") from error
            return checked

    async def ask(
        self, prompt: str, check: Callable[[T], T] | None = None, usage: RunUsage | None = None
    ) -> tuple[T, int]:
        """Return the model's answer and how many tokens it took, both ways, with corrections.

        Args:
            prompt: What is asked.
            check: Returns the answer as it is to be used, or raises a :class:`ValueError` that tells the
                model what is wrong, so that it tries again.
            usage: Counts the tokens also when this raises.

        Raises:
            ModelError: the provider failed, or the model gave no usable answer.
        """
        usage = RunUsage() if usage is None else usage
        with self._model.translated_errors():
            result = await self._agent.run(prompt, deps=check, usage=usage)
        return result.output, usage.total_tokens


async def ask_all(questions: Sequence[Coroutine[Any, Any, T]], at_once: int = 4) -> list[T]:
    """Await all of these, a few at the same time, and return their results in order.

    Raises:
        Exception: the first one raised it; the others are cancelled.
    """
    slots = asyncio.Semaphore(at_once)

    async def one(question: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await question

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in questions]
    except ExceptionGroup as errors:
        failure = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    finally:
        # Those that had no slot yet were never awaited.
        for question in questions:
            question.close()
    # Outside of the block above, so that it keeps its own cause.
    raise failure


def settings_of(config: BaseModel, model: LanguageModel) -> ModelSettings:
    """Return the settings for a role: what roleConfig says, else the model's, else the role's defaults."""
    settings = ModelSettings()
    for key in ("temperature", "max_tokens"):
        if key in config.model_fields_set or key not in model.settings:
            settings[key] = getattr(config, key)
    return settings


def _parser(form: type[T]) -> Callable[[str], T]:
    adapter: TypeAdapter[T] = TypeAdapter(form)
    schema = json.dumps(adapter.json_schema(), separators=(",", ":"))

    def parse(text: str) -> T:
        fenced = _FENCED.search(text)
        try:
            return adapter.validate_json(fenced[1] if fenced else text.strip())
        except ValidationError as error:
            raise ModelRetry(
                f"Answer with one JSON object of this schema and nothing else: {schema}"
            ) from error

    # pydantic-ai reads the type of the output here.
    parse.__annotations__["return"] = form
    return parse
