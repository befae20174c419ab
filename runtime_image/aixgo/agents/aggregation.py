"""What is aggregated and what comes out (the JSON keys of Aixgo), and what is computed without a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from aixgo.agents.input_check import checked
from aixgo.agents.similarity import Similarities, nearest
from aixgo.agents.votes import (
    DEFAULT_CONFIDENCE,
    Ballot,
    Verdict,
    majority,
    most_confident,
    normalized,
    unanimous,
    weighted,
)
from aixgo.runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aixgo.agents.similarity import Cluster
    from aixgo.contract.role_config import AggregatorConfig
    from aixgo.message import Message

#: Comparing every pair takes time; more inputs belong into several aggregators.
MAX_INPUTS: Final = 128
MAX_CHARACTERS: Final = 1_000_000
MAX_DIMENSIONS: Final = 4096
#: The keys of payloads that hold what an agent has to say, the first that is there.
_CONTENT_KEYS: Final = ("content", "text", "aggregated_content")
#: The keys that name the agent of an input; the first is that of Aixgo.
_NAME_KEYS: Final = ("agent_name", "agentName", "agent", "source", "name")


class AgentInput(BaseModel):
    """What one agent has to say (Go: AgentInput)."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    agent_name: Annotated[
        str,
        Field(min_length=1, validation_alias=AliasChoices(*_NAME_KEYS)),
    ]
    content: str
    #: None or 0: not given.
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    #: A vector of the sender's; used if all inputs have one of the same length.
    embedding: Annotated[tuple[float, ...], Field(max_length=MAX_DIMENSIONS)] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return value if isinstance(value, str) else orjson.dumps(value).decode()


class Conflict(BaseModel):
    """A contradiction and how it was settled (Go: ConflictResolution)."""

    topic: str
    conflicting_sources: list[str] = Field(default_factory=list)
    resolution: str
    reasoning: str = ""


class SemanticCluster(BaseModel):
    """Inputs that are alike (Go: SemanticCluster)."""

    cluster_id: str
    member_agents: list[str]
    core_concept: str
    avg_similarity: float


class AggregationResult(BaseModel):
    """The payload of an answer (Go: AggregationResult). ``consensus_reached`` is an addition."""

    aggregated_content: str
    sources: list[str]
    strategy_used: str
    conflicts_resolved: list[Conflict] = Field(default_factory=list)
    consensus_level: float
    consensus_reached: bool
    summary_insights: str = ""
    tokens_used: int = 0
    processing_time_ms: int = 0
    semantic_clusters: list[SemanticCluster] = Field(default_factory=list)

    def to_payload(self) -> dict[str, Any]:
        """Return the JSON object; lists and texts that are empty are left out, as in Go."""
        optional = ("conflicts_resolved", "summary_insights", "semantic_clusters")
        return self.model_dump(mode="json", exclude={key for key in optional if not getattr(self, key)})


@dataclass(frozen=True, slots=True)
class Contribution:
    """A content with all agents that said the same."""

    agents: tuple[str, ...]
    content: str
    weight: float


class Gathering:
    """Inputs, compared and weighted as the configuration says."""

    def __init__(self, inputs: Sequence[AgentInput], config: AggregatorConfig, question: str = "") -> None:
        """Take at most ``max_input_sources`` inputs: the nearest to the question, else the weightiest."""
        self.config = config
        self.question = question
        kept = list(inputs)
        if 0 < config.max_input_sources < len(kept):
            if config.aggregation_strategy == "rag_based" and question:
                places = nearest(question, [item.content for item in kept], config.max_input_sources)
            else:
                places = sorted(range(len(kept)), key=lambda place: -self._weight(inputs[place]))
            kept = [kept[place] for place in sorted(places[: config.max_input_sources])]
        self.inputs = kept
        self.weights = [self._weight(item) for item in kept]

    @property
    def sources(self) -> list[str]:
        """The names of the agents whose inputs count."""
        return [item.agent_name for item in self.inputs]

    # What follows compares every pair, at the first use: up to a second for the largest inputs.

    @cached_property
    def similarities(self) -> Similarities:
        """How alike the inputs are."""
        return Similarities([item.content for item in self.inputs], [item.embedding for item in self.inputs])

    @cached_property
    def clusters(self) -> list[Cluster]:
        """The inputs grouped by ``semantic_similarity_threshold``."""
        return self.similarities.clusters(self.config.semantic_similarity_threshold)

    @cached_property
    def consensus_level(self) -> float:
        """How alike the inputs are, weighted: from 0 to 1.

        For the semantic strategy members of one cluster count as equal.
        """
        clusters = self.clusters if self.config.aggregation_strategy == "semantic" else ()
        return self.similarities.agreement(self.weights, clusters)

    @cached_property
    def contributions(self) -> list[Contribution]:
        """The inputs without duplicates; what agents agree on has the sum of their weights."""
        options: dict[str, list[int]] = {}
        for place, option in enumerate(self._options()):
            options.setdefault(option, []).append(place)
        return [
            Contribution(
                agents=tuple(dict.fromkeys(self.inputs[place].agent_name for place in places)),
                content=self.inputs[places[0]].content,
                weight=sum(self.weights[place] for place in places),
            )
            for places in options.values()
        ]

    def vote(self) -> Verdict:
        """Return what the voting strategy of the configuration decides.

        Raises:
            VoteError: it decides nothing.
        """
        ties_by_weight = self.config.conflict_resolution == "highest_weight_wins"
        votes: dict[str, Callable[[Sequence[Ballot]], Verdict]] = {
            "voting_majority": lambda ballots: majority(ballots, ties_by_weight=ties_by_weight),
            "voting_unanimous": unanimous,
            "voting_weighted": weighted,
            "voting_confidence": most_confident,
        }
        # Without de-duplication every text would be an option of its own.
        options = self._options(equal_texts=True)
        ballots = [
            Ballot(item.agent_name, item.content, item.confidence or DEFAULT_CONFIDENCE, weight, option)
            for item, weight, option in zip(self.inputs, self.weights, options, strict=True)
        ]
        return votes[self.config.aggregation_strategy](ballots)

    def _weight(self, item: AgentInput) -> float:
        return self.config.source_weights.get(item.agent_name, item.confidence or DEFAULT_CONFIDENCE)

    def _options(self, *, equal_texts: bool = False) -> list[str]:
        """Return for each input a text that inputs which count as the same have in common."""
        if self.config.deduplication_method == "semantic":
            first = {member: cluster.members[0] for cluster in self.clusters for member in cluster.members}
            return [normalized(self.inputs[first[place]].content) for place in range(len(self.inputs))]
        if equal_texts or self.config.deduplication_method != "none":
            return [normalized(item.content) for item in self.inputs]
        return [str(place) for place in range(len(self.inputs))]


def read_inputs(message: Message) -> tuple[list[AgentInput], str]:
    """Return what a call wants aggregated, and the question behind it if there is one.

    The payload is a list of ``{agent, content, confidence?, embedding?}``, one of these, or an object with
    such a list as ``inputs`` and, if there is one, a ``question``. Anything else is one input.

    Raises:
        InvalidRequestError: an input is malformed; the text says which.
    """
    payload = _json(message.payload)
    question = ""
    items = payload
    if isinstance(payload, dict) and isinstance(payload.get("inputs"), list):
        items, asked = payload["inputs"], payload.get("question", "")
        question = checked(asked, "input.question") if isinstance(asked, str) and asked else ""
    if isinstance(payload, dict) and "content" in payload and payload.keys() & set(_NAME_KEYS):
        items = [payload]
    if not isinstance(items, list):
        return [input_of(message, "input")], question
    if not items:
        raise InvalidRequestError("input", "no inputs to aggregate")
    if len(items) > MAX_INPUTS:
        raise InvalidRequestError("input", f"more than {MAX_INPUTS} inputs")
    inputs = [_read_input(item, place) for place, item in enumerate(items)]
    if sum(len(item.content) for item in inputs) > MAX_CHARACTERS:
        raise InvalidRequestError("input", f"the inputs have more than {MAX_CHARACTERS} characters")
    return inputs, question


def input_of(message: Message, agent_name: str) -> AgentInput:
    """Return a whole message as one input.

    A category counts as the content of a classification, a ``content`` or ``text`` as that of another object;
    ``confidence`` and ``embedding`` are taken over.

    Raises:
        InvalidRequestError: the content has control characters or is too long.
    """
    payload = _json(message.payload)
    found: dict[str, Any] = {"agent_name": agent_name, "content": message.payload}
    if isinstance(payload, str):
        found["content"] = payload
    elif isinstance(payload, dict):
        keys = ("category", *_CONTENT_KEYS) if message.type == "classification" else _CONTENT_KEYS
        content = next((payload[key] for key in keys if payload.get(key) is not None), message.payload)
        found |= {"content": content}
        found |= {key: payload[key] for key in ("confidence", "embedding") if key in payload}
    try:
        made = AgentInput.model_validate(found)
    except ValidationError:
        # A confidence that is none of ours is no reason to refuse what was said.
        made = AgentInput.model_validate({"agent_name": agent_name, "content": found["content"]})
    if made.content.strip():
        checked(made.content)
    return made


def _read_input(item: Any, place: int) -> AgentInput:
    field = f"input[{place}]"
    if isinstance(item, str):
        item = {"agent_name": f"input_{place + 1}", "content": item}
    try:
        made = AgentInput.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(f"{field}.{where}" if where else field, first["msg"]) from error
    if made.content.strip():
        checked(made.content, f"{field}.content")
    return made


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
