"""What ``roleConfig`` may hold, per role (Aixgo: ``classifier_config``, ``aggregator_config``,
``planner_config``).

Every key may be written in snake_case, as in Aixgo's YAML, or in camelCase. A key that a role does not have
is an error, so that a misspelt one cannot be ignored.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from aixgo.contract.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

AggregationStrategy = Literal[
    "consensus",
    "weighted",
    "semantic",
    "hierarchical",
    "rag_based",
    "voting_majority",
    "voting_unanimous",
    "voting_weighted",
    "voting_confidence",
]
PlanningStrategy = Literal[
    "chain_of_thought",
    "tree_of_thought",
    "react_planning",
    "monte_carlo",
    "backward_chaining",
    "hierarchical_plan",
]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]

#: The shortest time between two messages of a producer, in seconds.
SHORTEST_INTERVAL_SECONDS: Final = 0.001


class RoleConfigError(ValueError):
    """A ``roleConfig`` that its role cannot use. The text names the key; it is fit for a status."""


_camel = cache(to_camel)


class RoleModel(BaseModel):
    """A part of a ``roleConfig``."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name in cls.model_fields:
                if (alias := _camel(name)) != name and name in data and alias in data:
                    raise ValueError(f"{name} and {alias} are the same key: write one of them")
        return data


class NoConfig(RoleModel):
    """The configuration of a role that has none (logger)."""


class FallbackSecret(RoleModel):
    """The file with the API key of a fallback model, below the secrets directory."""

    #: The name of the Secret.
    secret: Text
    #: The key in it.
    key: Text


class FallbackModel(RoleModel):
    """A model that is asked when the ones before it fail."""

    #: The name that the provider knows it by.
    name: Text
    #: Default: the provider, base URL and key of the agent's model. A key never goes to another provider or
    #: base URL than its own.
    provider: Literal["openai", "anthropic", "google", "xai", "huggingface", "test"] | None = None
    #: Where it is.
    base_url: Text | None = Field(default=None, alias="baseURL")
    #: Its key, if it needs one of its own.
    api_key: FallbackSecret | None = None


class ReactConfig(RoleModel):
    """Settings of the role ``react``."""

    #: Requests to the model in one call. Every round of tools takes one.
    max_requests: Annotated[int, Field(ge=1, le=1000)] = 25
    #: Calls of tools in one call.
    max_tool_calls: Annotated[int, Field(ge=0, le=1000)] = 50
    #: Tokens of all requests of one call, in and out. Default: no limit.
    max_total_tokens: Annotated[int, Field(ge=1)] | None = None
    #: The longest time of one tool call, in seconds. The deadline of the call ends it before.
    tool_timeout_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 60.0
    #: A JSON schema of type object: the answer is one that has this form.
    output_schema: dict[str, Any] | None = None
    #: Models, or their names, that are asked in this order when the ones before fail.
    fallback_models: tuple[FallbackModel, ...] = ()

    @field_validator("fallback_models", mode="before")
    @classmethod
    def _names_are_models(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("output_schema")
    @classmethod
    def _an_object(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "object":
            raise ValueError("a schema of type object is needed")
        return value


class Category(RoleModel):
    """One category of a classifier."""

    #: What results name it by.
    name: Text
    #: What belongs into it.
    description: str = ""
    #: Words that speak for it.
    keywords: tuple[str, ...] = ()
    #: Inputs that belong into it.
    examples: tuple[str, ...] = ()


class ClassifiedExample(RoleModel):
    """An input with its right category, for the prompt (Go: Example)."""

    #: A text.
    input: Text
    #: Its category.
    category: Text
    #: Why.
    reason: str = ""


class ClassifierConfig(RoleModel):
    """Settings of the role ``classifier`` (Go: ClassifierConfig)."""

    #: What inputs are sorted into.
    categories: Annotated[tuple[Category, ...], Field(min_length=1)]
    #: Put the categories and examples that are most like the input first, and only the nearest examples in.
    use_embeddings: bool = False
    #: Results below it say ``accepted: false``; with ``multi_label`` the labels above it count.
    confidence_threshold: Fraction = 0.7
    #: Whether an input may have several categories.
    multi_label: bool = False
    #: Inputs with their right categories, for the prompt.
    few_shot_examples: tuple[ClassifiedExample, ...] = ()
    #: How freely the model chooses its words.
    temperature: Temperature = 0.3
    #: The longest answer of the model, in tokens.
    max_tokens: Annotated[int, Field(gt=0)] = 500

    @model_validator(mode="after")
    def _names_agree(self) -> ClassifierConfig:
        names = [category.name for category in self.categories]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"categories: {twice[0]!r} is there twice")
        for example in self.few_shot_examples:
            if example.category not in names:
                raise ValueError(f"few_shot_examples: {example.category!r} is none of the categories")
        return self


class AggregatorConfig(RoleModel):
    """Settings of the role ``aggregator`` (Go: AggregatorConfig)."""

    #: How inputs become one result. The ones that vote need no model.
    aggregation_strategy: AggregationStrategy = "consensus"
    #: How contradictions are settled: ``llm_mediated``, ``highest_weight_wins`` (which also breaks the ties
    #: of ``voting_majority``), ``majority_wins``, or any other text, which the model gets as the rule.
    conflict_resolution: Text = "llm_mediated"
    #: Which inputs count as the same: none, equal texts, or texts as alike as
    #: ``semantic_similarity_threshold``.
    deduplication_method: Literal["none", "exact", "exact_match", "semantic"] = "none"
    #: Whether the result has ``summary_insights``.
    summarization_enabled: bool = False
    #: How many inputs one result may have. 0: no limit.
    max_input_sources: Annotated[int, Field(ge=0)] = 0
    #: How long inputs are collected after the first one, in milliseconds.
    timeout_ms: Annotated[int, Field(gt=0)] = 5000
    #: How alike texts are that count as the same, or as of one group.
    semantic_similarity_threshold: Fraction = 0.85
    #: Weight by the name of the agent that an input comes from. An input without one weighs its confidence.
    source_weights: dict[str, Weight] = Field(default_factory=dict)
    #: Results below it say ``consensus_reached: false``.
    consensus_threshold: Fraction = 0.7
    #: How freely the model chooses its words.
    temperature: Temperature = 0.5
    #: The longest answer of the model, in tokens.
    max_tokens: Annotated[int, Field(gt=0)] = 1500

    @field_validator("conflict_resolution", "deduplication_method", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any, info: Any) -> Any:
        # The zero value in Go.
        return cls.model_fields[info.field_name].default if value == "" else value

    @property
    def votes(self) -> bool:
        """Whether the strategy is a vote, which needs no model."""
        return self.aggregation_strategy.startswith("voting_")


class ExamplePlan(RoleModel):
    """A problem with a good plan for it, for the prompt (Go: ExamplePlan)."""

    #: A problem.
    problem: Text
    #: A good plan for it.
    steps: Annotated[tuple[str, ...], Field(min_length=1)]
    #: Why it is good.
    explanation: str = ""


class PlannerConfig(RoleModel):
    """Settings of the role ``planner`` (Go: PlannerConfig)."""

    #: How the model comes to its plan.
    planning_strategy: PlanningStrategy = "chain_of_thought"
    #: The longest plan.
    max_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    #: How detailed a step is, in words for the model.
    step_detail_level: Text = "detailed"
    #: Whether a plan has ``backup_plans``, and the next best candidate is taken when the best is no valid
    #: plan.
    enable_backtracking: bool = False
    #: Whether the model reviews its plan (``self_critique``).
    enable_self_critique: bool = False
    #: How many levels of reasoning, of sub-goals, or candidate plans there are.
    reasoning_depth: Annotated[int, Field(ge=1, le=10)] = 3
    #: Whether the plan says which steps may run at the same time (``parallel_groups``).
    parallelizable_steps: bool = False
    #: Whether steps have ``alternatives``.
    include_alternatives: bool = False
    #: How freely the model chooses its words.
    temperature: Temperature = 0.7
    #: The longest answer of the model, in tokens.
    max_tokens: Annotated[int, Field(gt=0)] = 2000
    #: Problems with good plans, for the prompt.
    example_plans: tuple[ExamplePlan, ...] = ()

    @field_validator("step_detail_level", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return "detailed" if value == "" else value


class ProducerConfig(RoleModel):
    """Settings of the role ``producer``. ``interval`` stands beside ``role`` in Aixgo's YAML."""

    #: The time between two messages, as a Go duration such as ``500ms``; at least 1ms.
    interval: str = "1s"
    #: The type of the messages.
    type: Text = "ray_burst"
    #: The payload, a text that is sent as it is. Neither this nor ``payload``: Aixgo's cosmic rays.
    message: str | None = None
    #: The payload, any JSON value.
    payload: Any = None

    @field_validator("interval")
    @classmethod
    def _positive(cls, value: str) -> str:
        if parse_duration(value) < SHORTEST_INTERVAL_SECONDS:
            raise ValueError(f"{value!r} is too short: at least 1ms")
        return value

    @model_validator(mode="after")
    def _one_payload(self) -> ProducerConfig:
        if self.message is not None and self.payload is not None:
            raise ValueError("message and payload exclude each other")
        return self

    @property
    def interval_seconds(self) -> float:
        """The interval in seconds."""
        return parse_duration(self.interval)


RoleConfig = ReactConfig | ClassifierConfig | AggregatorConfig | PlannerConfig | ProducerConfig | NoConfig

_MODELS: Final[dict[str, type[RoleConfig]]] = {
    "react": ReactConfig,
    "logger": NoConfig,
    "classifier": ClassifierConfig,
    "aggregator": AggregatorConfig,
    "planner": PlannerConfig,
    "producer": ProducerConfig,
}


def parse_role_config(role: str, config: Mapping[str, Any], where: str = "roleConfig") -> RoleConfig:
    """Return the settings of ``role``, with every default filled in.

    Args:
        role: A role other than ``custom``, whose configuration is its own affair.
        config: What the user wrote.
        where: What the user calls it; error texts begin with it.

    Raises:
        RoleConfigError: keys are unknown or values are wrong, or the role is; the text names each.
    """
    model = _MODELS.get(role)
    if model is None:
        raise RoleConfigError(f"role {role} has no {where} of a fixed form")
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        wrong = [_wrong(role, item, where) for item in error.errors() if not _follows(item)]
        raise RoleConfigError("; ".join(wrong)) from error


def needs_model(role: str, config: Mapping[str, Any]) -> bool:
    """Return whether an agent of this role needs a language model. An aggregator does unless it votes."""
    if role == "aggregator":
        return not _strategy(config).startswith("voting_")
    return role in ("react", "classifier", "planner")


def role_problems(
    role: str, config: Mapping[str, Any], *, has_model: bool, where: str = "roleConfig"
) -> tuple[str, ...]:
    """Return what stands in the way of an agent of this role, in words; empty if nothing does."""
    problems: list[str] = []
    if role in _MODELS:
        try:
            parse_role_config(role, config, where)
        except RoleConfigError as error:
            problems.append(str(error))
    if not has_model and needs_model(role, config):
        problems.append(_missing_model(role, config))
    return tuple(problems)


def _strategy(config: Mapping[str, Any]) -> str:
    default = AggregatorConfig.model_fields["aggregation_strategy"].default
    return str(config.get("aggregation_strategy", config.get("aggregationStrategy", default)))


def _missing_model(role: str, config: Mapping[str, Any]) -> str:
    if role == "aggregator":
        return (
            f"the aggregation strategy {_strategy(config)} needs a model: set model, or choose a strategy"
            " that votes, such as voting_majority"
        )
    return f"role {role} needs a model"


def _follows(item: ErrorDetails) -> bool:
    """Whether the error only follows from another one: the items of a list were wrong, so it seems empty."""
    return item["type"] == "too_short" and bool(item["input"])


def _wrong(role: str, item: ErrorDetails, where: str) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        text = f"unknown key of role {role}"
        if len(item["loc"]) == 1 and (known := ", ".join(_MODELS[role].model_fields)):
            text += f"; known: {known}"
    elif item["type"] == "missing":
        text = f"role {role} needs it"
    return f"{where}{key}: {text}"
