"""What the roles have in common (Go: BaseAgent)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from aixgo.errors import AixgoError
from aixgo.observability.logs import get_logger
from aixgo.runtime.errors import RuntimeNotStartedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aixgo.agents.language_model import LanguageModel
    from aixgo.agents.protocol import Mailbox
    from aixgo.message import Message

#: The metadata that says which agent sent a message.
SENDER: Final = "agent"

_log = get_logger("aixgo.agents")


class RoleAgent:
    """An agent with a role of Aixgo, which may have a language model."""

    role: ClassVar[str]

    def __init__(self, name: str, model: LanguageModel | None = None) -> None:
        self.name = name
        self.model = model
        self._ready = False

    async def start(self) -> None:
        """Open the connections to the model. Nothing is sent."""
        if self.model is not None:
            await self.model.open()
        self._ready = True

    async def stop(self) -> None:
        """Close the connections."""
        self._ready = False
        if self.model is not None:
            await self.model.close()

    def ready(self) -> bool:
        """Whether :meth:`start` has run. The model's own health is probed by the server."""
        return self._ready


class WorkingAgent(RoleAgent):
    """An agent that also works by itself, on the channels of its runtime."""

    def __init__(
        self,
        name: str,
        *,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        model: LanguageModel | None = None,
    ) -> None:
        super().__init__(name, model)
        self.inputs = tuple(dict.fromkeys(inputs))
        self.outputs = tuple(dict.fromkeys(outputs))
        self.mailbox: Mailbox | None = None
        self._work: asyncio.Task[object] | None = None

    def bind(self, mailbox: Mailbox) -> None:
        """Take the runtime's channels."""
        self.mailbox = mailbox

    async def start(self) -> None:
        """Open the connections to the model; then, with inputs and channels, work until :meth:`stop`."""
        await super().start()
        if self.mailbox is not None and self.inputs:
            await self.run(self.mailbox)

    async def stop(self) -> None:
        """End the work and close the connections."""
        if self._work is not None:
            self._work.cancel()
        await super().stop()

    async def run(self, mailbox: Mailbox) -> None:
        """Run :meth:`work` as what :meth:`stop` ends."""
        self._work = asyncio.current_task()
        try:
            await self.work(mailbox)
        except* RuntimeNotStartedError:
            # The channels were closed: there is nothing left to do.
            _log.debug("work ended", agent=self.name)
        finally:
            self._work = None

    async def work(self, mailbox: Mailbox) -> None:
        """Do what the role does by itself, for ever."""
        raise NotImplementedError

    async def send_out(self, mailbox: Mailbox, message: Message) -> None:
        """Send to all outputs, signed with the agent's name.

        An output that takes nothing is logged and keeps nothing from the others.

        Raises:
            RuntimeNotStartedError: the channels were closed.
        """
        message = message.with_metadata(SENDER, self.name)
        for target in self.outputs:
            try:
                await mailbox.send(target, message)
            except RuntimeNotStartedError:
                raise
            except AixgoError as error:
                _log.warning("message not sent", agent=self.name, target=target, error=str(error))

    def log_failure(self, what: str, error: Exception) -> None:
        """Log what could not be done, and why."""
        known = isinstance(error, AixgoError)
        text = str(error) if known else type(error).__name__
        _log.warning(what, agent=self.name, error=text, exc_info=not known)
