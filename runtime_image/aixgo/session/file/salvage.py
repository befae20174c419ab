"""What can be kept of a damaged log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aixgo.session import formats, positions

if TYPE_CHECKING:
    from collections.abc import Iterable


def readable_lines(lines: Iterable[bytes]) -> list[bytes]:
    """Return the lines of a damaged log that are entries.

    Of a damaged turn the messages that are left are kept. Positions are not: they may be wrong now.
    """
    kept: list[bytes] = []
    turn: list[bytes] = []
    wanted = 0
    for line in lines:
        try:
            entry = formats.decode_entry(line)
        except ValueError:
            continue
        if positions.is_position(entry):
            continue
        data = entry.get("data")
        if (
            entry["type"] == formats.METADATA
            and isinstance(data, dict)
            and data.get("event") == formats.TURN_EVENT
        ):
            kept += turn[1:]
            turn, wanted = [line], formats.turn_size(data)  # counts only if so many messages follow
        elif turn and entry["type"] == formats.MESSAGE:
            turn.append(line)
            if len(turn) > wanted:
                kept += turn
                turn = []
        else:
            kept += [*turn[1:], line]
            turn = []
    return [*kept, *turn[1:]]
