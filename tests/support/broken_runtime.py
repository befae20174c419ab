"""A runtime that breaks the contract on purpose: ``python -m tests.support.broken_runtime DEFECT,... DIR``.

Each defect is one that a runtime written by somebody else could have; the rest of the process is real.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

from aixgo.contract import RuntimePaths
from aixgo.observability.prometheus import PrometheusMetrics
from aixgo.rpc import credentials
from aixgo.rpc import service as rpc_service
from aixgo.rpc.errors import RpcFailure
from aixgo.rpc.server import RpcServer
from aixgo.runtime.views import SessionView
from aixgo.server import app, main


def wrong_status() -> None:
    """Every error is INTERNAL and says whatever the exception says, that of the provider included."""

    def told(error: BaseException) -> str:
        return str(error) + (told(error.__cause__) if error.__cause__ is not None else "")

    truthful = rpc_service.to_failure

    def failure(error: Exception) -> RpcFailure:
        return dataclasses.replace(truthful(error), code=grpc.StatusCode.INTERNAL, text=told(error))

    rpc_service.to_failure = failure


def anybody() -> None:
    """No client certificate is asked for."""

    def without(store: Any) -> grpc.ServerCredentials:
        bundle = store.bundle
        return grpc.ssl_server_credentials([(bundle.key_pem, bundle.certificate_pem)])

    app.server_credentials = without
    credentials.server_credentials = without


def half_turns() -> None:
    """The question is stored before the agent has answered it."""
    whole = SessionView.get_messages

    async def storing(self: SessionView, **options: Any) -> Any:
        messages = await whole(self, **options)
        marker = messages[-1:] or []
        if marker:
            await self._session.append_messages(marker)
        return messages

    SessionView.get_messages = storing  # type: ignore[method-assign]


def uncounted() -> None:
    """Metrics are there and stay at nothing."""
    PrometheusMetrics.rpc_finished = lambda *_: None  # type: ignore[method-assign,assignment]


def always_serving() -> None:
    """Health says that everything serves, whatever does."""
    truthful = RpcServer.report_health

    async def lying(self: RpcServer, serving: dict[str, bool]) -> None:
        await truthful(self, dict.fromkeys(serving, True))

    RpcServer.report_health = lying  # type: ignore[method-assign]


def hasty() -> None:
    """SIGTERM ends the process at once."""
    main.stop_requests = _no_requests


def _no_requests() -> Any:
    import asyncio

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    return asyncio.Queue()


def lenient() -> None:
    """A bad configuration at the start is no reason to stop."""
    main._refuse = lambda *_: 0


DEFECTS = {
    defect.__name__: defect
    for defect in (wrong_status, anybody, half_turns, uncounted, always_serving, hasty, lenient)
}

if __name__ == "__main__":
    for name in filter(None, sys.argv[1].split(",")):
        DEFECTS[name]()
    sys.exit(main.run(RuntimePaths.under(Path(sys.argv[2])), host="127.0.0.1"))
