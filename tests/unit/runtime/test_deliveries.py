"""Messages on their way to readers: numbered, acknowledged, given back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from aixgo.message import Message
from aixgo.rpc.deliveries import WINDOW, Deliveries, Reader
from aixgo.rpc.metadata import Listening
from aixgo.runtime.channels import Channels, ChannelStats


async def fill(channels: Channels, count: int) -> list[Message]:
    sent = [Message.new("t", number) for number in range(count)]
    for message in sent:
        await channels.send("a", message)
    return sent


async def take(deliveries: Deliveries, reader: Reader, count: int) -> list[Message]:
    taken: list[Message] = []
    async with aclosing(deliveries.messages(reader)) as messages:  # type: ignore[type-var]
        while len(taken) < count:
            taken.append(await anext(messages))
    return taken


async def test_a_reader_that_comes_back_gets_what_it_has_not_acknowledged() -> None:
    channels = Channels()
    deliveries = Deliveries(channels)
    sent = await fill(channels, 5)
    with deliveries.connected("a", Listening("r")) as reader:
        assert await take(deliveries, reader, 3) == sent[:3]
        deliveries.note("a", Listening("r", reader.numbering, 1, "acknowledge"))
    with deliveries.connected("a", Listening("r", reader.numbering, 1)) as again:
        assert again is reader
        assert await take(deliveries, again, 4) == sent[1:]
    deliveries.close()
    assert channels.take_all("a") == sent[1:]


async def test_an_acknowledgement_does_not_change_the_numbers_of_an_open_connection() -> None:
    channels = Channels()
    deliveries = Deliveries(channels)
    sent = await fill(channels, 4)
    with deliveries.connected("a", Listening("r")) as reader:
        await take(deliveries, reader, 3)
    with deliveries.connected("a", Listening("r", reader.numbering, 0)) as reader:
        # It hands out what came before while the connection begins again.
        deliveries.note("a", Listening("r", reader.numbering, 3, "acknowledge"))
        assert await take(deliveries, reader, 4) == sent
    deliveries.close()
    assert channels.take_all("a") == sent[3:]


async def test_no_more_than_a_window_is_on_its_way() -> None:
    channels = Channels(buffer_size=2 * WINDOW)
    deliveries = Deliveries(channels)
    await fill(channels, WINDOW + 1)
    with deliveries.connected("a", Listening("r")) as reader:
        messages = deliveries.messages(reader)
        for _ in range(WINDOW):
            await anext(messages)
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        deliveries.note("a", Listening("r", reader.numbering, WINDOW, "acknowledge"))
        await waiting
        assert len(reader.sent) == 1
    deliveries.close()


async def test_a_reader_that_stays_away_or_leaves_gives_back() -> None:
    channels = Channels()
    deliveries = Deliveries(channels, return_seconds=0.01)
    sent = await fill(channels, 3)
    with deliveries.connected("a", Listening("r")) as reader:
        await take(deliveries, reader, 3)
    first = await channels.receive("a")  # waits until they are given back
    assert channels.stats("a") == ChannelStats(100, 2)
    channels.put_back("a", [first])
    with deliveries.connected("a", Listening("r", reader.numbering, 2)) as fresh:
        assert fresh.numbering != reader.numbering
        assert await take(deliveries, fresh, 3) == sent
        deliveries.note("a", Listening("r", fresh.numbering, 2, "leave"))
    assert channels.take_all("a") == sent[2:]


@pytest.mark.parametrize("value", ["x", "-", "1.5"])
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Listening.of([("aixgo-reader", "r"), ("aixgo-acknowledged", value)])
    with pytest.raises(ValueError, match="too long"):
        Listening.of([("aixgo-reader", "r" * 65)])
