"""The order in which agents start: everything that an agent depends on is ready before it starts.

Pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo.runtime.errors import CycleError, UnknownDependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def start_phases(dependencies: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the agents in phases; those of one phase depend on earlier phases only. Names are sorted in a
    phase.

    Args:
        dependencies: For each agent the names of those that it depends on.

    Raises:
        UnknownDependencyError: an agent depends on one that is not among them.
        CycleError: agents depend on each other in a circle.
    """
    for agent in sorted(dependencies):
        for dependency in dependencies[agent]:
            if dependency not in dependencies:
                raise UnknownDependencyError(agent, dependency)
    waiting = {agent: set(needed) for agent, needed in dependencies.items()}
    phases: list[list[str]] = []
    while waiting:
        phase = sorted(agent for agent, needed in waiting.items() if not needed)
        if not phase:
            raise CycleError(_cycle(waiting))
        phases.append(phase)
        for agent in phase:
            del waiting[agent]
        for needed in waiting.values():
            needed.difference_update(phase)
    return phases


def _cycle(waiting: Mapping[str, set[str]]) -> list[str]:
    """Return one circle among agents that all wait for each other, closed by its first member."""
    path = [min(waiting)]
    while True:
        following = min(waiting[path[-1]])
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
