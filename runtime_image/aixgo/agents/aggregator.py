"""The role ``aggregator``: makes one result of what several agents say (Go: AggregatorAgent).

Four strategies are votes and need no model; for the other five the model writes and the code measures. The
libraries of the model are imported when a strategy needs one.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aixgo.agents.aggregation import (
    AgentInput,
    AggregationResult,
    Gathering,
    SemanticCluster,
    input_of,
    read_inputs,
)
from aixgo.agents.base import SENDER, WorkingAgent
from aixgo.agents.errors import NoAgreementError
from aixgo.agents.votes import VoteError
from aixgo.message import Message
from aixgo.runtime.errors import AgentLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.agents.language_model import LanguageModel
    from aixgo.agents.protocol import Mailbox
    from aixgo.agents.synthesis import Synthesizer
    from aixgo.contract.role_config import AggregatorConfig

RESULT_TYPE: Final = "aggregation_result"
#: How many messages of all inputs may wait while a result is being made; more wait in their channels.
_WAITING: Final = 64


class AggregatorAgent(WorkingAgent):
    """An agent that aggregates.

    A call brings all inputs in its payload: see :func:`~aixgo.agents.aggregation.read_inputs`. By itself the
    agent collects one message per sender, from the first one for ``timeout_ms`` or until all inputs or
    ``max_input_sources`` senders have sent, and sends the result to its outputs.
    """

    role = "aggregator"

    def __init__(
        self,
        name: str,
        *,
        config: AggregatorConfig,
        prompt: str = "",
        model: LanguageModel | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
    ) -> None:
        """Make an aggregator.

        Raises:
            AgentLoadError: the strategy needs a model and there is none.
        """
        super().__init__(name, inputs=inputs, outputs=outputs, model=None if config.votes else model)
        self.config = config
        self._synthesis: Synthesizer | None = None
        if not config.votes:
            if model is None:
                raise AgentLoadError(f"the aggregation strategy {config.aggregation_strategy} needs a model")
            from aixgo.agents.synthesis import Synthesizer

            self._synthesis = Synthesizer(config, prompt, model)

    async def execute(self, message: Message) -> Message:
        """Aggregate the inputs in the payload.

        Raises:
            InvalidRequestError: they are malformed.
            NoAgreementError: the vote has no result.
            ModelError: the model provider failed, or gave no usable answer.
        """
        inputs, question = read_inputs(message)
        result = await self.aggregate(inputs, question)
        return Message.new(RESULT_TYPE, result.to_payload())

    async def aggregate(self, inputs: Sequence[AgentInput], question: str = "") -> AggregationResult:
        """Return the result of these inputs; errors as in :meth:`execute`."""
        begun = time.perf_counter()
        gathering = Gathering(inputs, self.config, question)
        # Comparing texts takes its time; the calls of other agents must not wait for it.
        if self._synthesis is None:
            compares = self.config.deduplication_method == "semantic"
            result = await asyncio.to_thread(self._vote, gathering) if compares else self._vote(gathering)
        else:
            await asyncio.to_thread(_measure, gathering)
            result = await self._synthesize(gathering, self._synthesis)
        result.processing_time_ms = round((time.perf_counter() - begun) * 1000)
        return result

    def _vote(self, gathering: Gathering) -> AggregationResult:
        try:
            verdict = gathering.vote()
        except VoteError as error:
            raise NoAgreementError(self.name, str(error)) from error
        return AggregationResult(
            aggregated_content=verdict.content,
            sources=gathering.sources,
            strategy_used=self.config.aggregation_strategy,
            consensus_level=verdict.agreement,
            consensus_reached=verdict.agreement >= self.config.consensus_threshold,
            summary_insights=verdict.explanation,
        )

    async def _synthesize(self, gathering: Gathering, synthesizer: Synthesizer) -> AggregationResult:
        written, tokens = await synthesizer.write(gathering)
        level, names = gathering.consensus_level, gathering.sources
        clusters = gathering.clusters if self.config.aggregation_strategy == "semantic" else []
        return AggregationResult(
            aggregated_content=written.aggregated_content,
            sources=names,
            strategy_used=self.config.aggregation_strategy,
            conflicts_resolved=written.conflicts_resolved,
            consensus_level=level,
            consensus_reached=level >= self.config.consensus_threshold,
            summary_insights=written.summary_insights if self.config.summarization_enabled else "",
            tokens_used=tokens,
            semantic_clusters=[
                SemanticCluster(
                    cluster_id=f"cluster_{number}",
                    member_agents=[names[member] for member in cluster.members],
                    core_concept=cluster.concept,
                    avg_similarity=cluster.average_similarity,
                )
                for number, cluster in enumerate(clusters)
            ],
        )

    async def work(self, mailbox: Mailbox) -> None:
        """Aggregate what comes from the inputs, window by window."""
        received: asyncio.Queue[tuple[str, Message]] = asyncio.Queue(_WAITING)

        async def receive(source: str) -> None:
            while True:
                await received.put((source, await mailbox.recv(source)))

        async with asyncio.TaskGroup() as group:
            for source in self.inputs:
                group.create_task(receive(source))
            while True:
                inputs = await self._collect(received)
                if not inputs:
                    continue
                try:
                    result = await self.aggregate(inputs)
                except Exception as error:  # noqa: BLE001 - the next window must not suffer
                    self.log_failure("inputs not aggregated", error)
                    continue
                await self.send_out(mailbox, Message.new(RESULT_TYPE, result.to_payload()))

    async def _collect(self, received: asyncio.Queue[tuple[str, Message]]) -> list[AgentInput]:
        """Return the newest input of every sender in one window, which opens with the first message."""
        inputs: dict[str, AgentInput] = {}
        heard: set[str] = set()
        source, message = await received.get()
        ends = asyncio.get_running_loop().time() + self.config.timeout_ms / 1000
        while True:
            try:
                sender = str(message.metadata.get(SENDER) or source)
                inputs[sender] = input_of(message, sender)
                heard.add(source)
            except Exception as error:  # noqa: BLE001 - a message out of a channel may be anything
                self.log_failure("message not aggregated", error)
            if self._is_complete(inputs, heard):
                break
            try:
                async with asyncio.timeout_at(ends):
                    source, message = await received.get()
            except TimeoutError:
                break
        return list(inputs.values())

    def _is_complete(self, inputs: dict[str, AgentInput], heard: set[str]) -> bool:
        limit = self.config.max_input_sources
        if limit and len(inputs) >= limit:
            return True
        # A single input may be a topic of many senders: only time tells.
        return len(self.inputs) > 1 and len(heard) == len(set(self.inputs))


def _measure(gathering: Gathering) -> tuple[object, ...]:
    return gathering.consensus_level, gathering.contributions
