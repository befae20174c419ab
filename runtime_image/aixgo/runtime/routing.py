"""Which channel a message goes to and comes from, out of the inputs and outputs that agents declare.

Pure functions and data. Two styles are in use, and both deliver:

* by topic: ``A outputs: news`` and ``B inputs: news`` name the same topic;
* from agent to agent: ``A outputs: B`` and ``B inputs: A`` name each other.

Every reader has a channel of its own for every input, so readers of one topic each get every message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Routing:
    """The channels between agents. What nobody reads goes to the channel that has its target's name."""

    def __init__(
        self, inputs: Mapping[str, Sequence[str]], outputs: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Take over what agents declare.

        Args:
            inputs: For each agent, also one without inputs, the sources that it reads: topics or agents.
            outputs: For each agent the targets that it sends to. Only :meth:`unread` and :meth:`unfed` need
                them.
        """
        self._inputs = {agent: tuple(dict.fromkeys(sources)) for agent, sources in inputs.items()}
        self._outputs = {agent: tuple(dict.fromkeys(targets)) for agent, targets in (outputs or {}).items()}
        self._agents = self._inputs.keys() | self._outputs.keys()
        self._readers: dict[str, list[str]] = {}
        for agent in sorted(self._inputs):
            for source in self._inputs[agent]:
                self._readers.setdefault(source, []).append(agent)

    def destinations(self, target: str, sender: str = "") -> tuple[str, ...]:
        """Return the channels into which a message goes.

        Args:
            target: What the sender named: an agent, or a topic.
            sender: The agent that sends; "" for code that is no agent.
        """
        return self._declared_destinations(target, sender) or (target,)

    def channel(self, reader: str, source: str) -> str:
        """Return the channel from which ``reader`` takes what comes from ``source``."""
        return _inbox(reader, source) if source in self._inputs.get(reader, ()) else source

    def inboxes(self, reader: str) -> tuple[str, ...]:
        """Return the channels of the inputs of ``reader``."""
        return tuple(_inbox(reader, source) for source in self._inputs.get(reader, ()))

    def is_topic(self, name: str) -> bool:
        """Say whether somebody reads ``name`` and it is no agent."""
        return name in self._readers and name not in self._agents

    def unread(self) -> list[tuple[str, str]]:
        """Return the declared outputs (agent, target) that no agent reads, in order."""
        return [
            (agent, target)
            for agent in sorted(self._outputs)
            for target in self._outputs[agent]
            if not self._declared_destinations(target, agent)
        ]

    def unfed(self) -> list[tuple[str, str]]:
        """Return the declared inputs (agent, source) that no agent's output feeds, in order."""
        fed = {
            channel
            for agent, targets in self._outputs.items()
            for target in targets
            for channel in self._declared_destinations(target, agent)
        }
        return [
            (agent, source)
            for agent in sorted(self._inputs)
            for source in self._inputs[agent]
            if _inbox(agent, source) not in fed
        ]

    def _declared_destinations(self, target: str, sender: str) -> tuple[str, ...]:
        if target not in self._agents or target == sender:
            # A topic. An agent that sends to its own name publishes under it.
            return tuple(_inbox(reader, target) for reader in self._readers.get(target, ()))
        # An agent: those who read *from* it get what it sends, not what is sent to it.
        sources = self._inputs.get(target, ())
        matching = [source for source in (sender, target) if source and source in sources]
        if not matching:
            # From elsewhere: another process, or code that is no agent. An input that no agent here feeds is
            # the likeliest to wait for it.
            matching = [source for source in sources if source not in self._agents] or list(sources)
        return (_inbox(target, matching[0]),) if matching else ()


def _inbox(reader: str, source: str) -> str:
    return f"{source} -> {reader}"


#: Nothing is declared: every name is a channel.
NO_ROUTING = Routing({})
