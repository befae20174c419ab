"""Requests to stop that reach a process as signals."""

from __future__ import annotations

import asyncio
import signal


def stop_requests() -> asyncio.Queue[signal.Signals]:
    """Return a queue of the requests to stop that come from now on; the second one means at once.

    SIGHUP, the end of the terminal, is only ever the first one: shells and service managers send it along
    with others. Under ``nohup`` it is none.
    """
    requests: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    asked = False

    def ask(number: signal.Signals) -> None:
        nonlocal asked
        if not asked or number is not signal.SIGHUP:
            requests.put_nowait(number)
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, ask, number)
    return requests
