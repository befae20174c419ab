"""What an agent keeps of its own, in the checkpoints of its sessions (Go: CheckpointableAgent)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from aixgo.session import validation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from aixgo.session.types import Checkpoint

#: The key in a checkpoint's metadata.
AGENT_STATE: Final = "agentState"


@runtime_checkable
class StateKeeper(Protocol):
    """An agent whose state is part of checkpoints. Both methods may also be coroutines."""

    def create_checkpoint(self) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Return the state, as anything that JSON can express."""

    def restore_from_checkpoint(self, state: Mapping[str, Any], /) -> Awaitable[None] | None:
        """Go back to a state that :meth:`create_checkpoint` returned."""


async def with_state(keeper: StateKeeper | None, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the metadata of a checkpoint, with the state of the agent.

    Raises:
        InvalidMessageError: JSON cannot express it, or it is too large.
    """
    checked = validation.metadata(metadata)
    if keeper is None:
        return checked
    state = keeper.create_checkpoint()
    if inspect.isawaitable(state):
        state = await state
    return validation.metadata({**checked, AGENT_STATE: state})


async def bring_back(keeper: StateKeeper, checkpoint: Checkpoint | None) -> None:
    """Give an agent the state that a checkpoint holds, if it holds any."""
    state = None if checkpoint is None else checkpoint.metadata.get(AGENT_STATE)
    if isinstance(state, dict):
        done = keeper.restore_from_checkpoint(state)
        if inspect.isawaitable(done):
            await done
