"""In-process channels, and the order in which agents start."""

from __future__ import annotations

import asyncio

import pytest

from aixgo.message import Message
from aixgo.runtime.channels import Channels
from aixgo.runtime.errors import (
    ChannelFullError,
    CycleError,
    RuntimeNotStartedError,
    UnknownDependencyError,
)
from aixgo.runtime.phases import start_phases


def message(number: int) -> Message:
    return Message.new("test", {"number": number})


async def test_first_in_first_out_and_apart_from_each_other() -> None:
    channels = Channels()
    sent = [message(number) for number in range(3)]
    for item in sent:
        await channels.send("a", item)
    await channels.send("b", message(9))
    assert [await channels.receive("a") for _ in sent] == sent


async def test_a_full_channel_times_out_and_names_its_target() -> None:
    channels = Channels(buffer_size=1, send_timeout=0.01)
    await channels.send("slow", message(1))
    with pytest.raises(ChannelFullError, match=r"timeout sending message to slow \(channel full\)"):
        await channels.send("slow", message(2))
    stats = channels.stats("slow")
    assert stats is not None
    assert (stats.capacity, stats.length) == (1, 1)


async def test_a_receiver_that_goes_away_loses_nothing() -> None:
    channels = Channels()
    receiving = asyncio.create_task(channels.receive("a"))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.wait({receiving})
    await channels.send("a", message(1))
    assert (await channels.receive("a")).payload_as(dict) == {"number": 1}


async def test_closing_ends_waiting_receivers_and_refuses_senders() -> None:
    channels = Channels()
    receiving = asyncio.create_task(channels.receive("a"))
    await asyncio.sleep(0)
    channels.close()
    with pytest.raises(RuntimeNotStartedError):
        await receiving
    with pytest.raises(RuntimeNotStartedError):
        await channels.send("a", message(1))


def test_phases_are_levels_with_sorted_names() -> None:
    diamond = {"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}
    assert start_phases(diamond) == [["a"], ["b", "c"], ["d"]]
    assert start_phases({}) == []


@pytest.mark.parametrize(
    ("dependencies", "text"),
    [
        ({"a": ["a"]}, "dependency cycle detected: a -> a"),
        ({"a": ["b"], "b": ["a"]}, "dependency cycle detected: a -> b -> a"),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, "dependency cycle detected: a -> b -> c -> a"),
    ],
)
def test_a_circle_is_shown(dependencies: dict[str, list[str]], text: str) -> None:
    with pytest.raises(CycleError, match=f"^{text}$"):
        start_phases(dependencies)


def test_an_unknown_dependency_is_named() -> None:
    with pytest.raises(UnknownDependencyError, match='agent "a" depends on unknown agent "b"'):
        start_phases({"a": ["b"]})
