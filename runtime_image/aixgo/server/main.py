"""``aixgo serve``: start, run until SIGTERM, drain, exit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from aixgo.observability.logs import LogFormat, configure_logging, get_logger
from aixgo.rpc.certificates import InvalidCertificateError
from aixgo.rpc.threads import let_the_loop_go_first
from aixgo.runtime.errors import ListenError
from aixgo.server.app import RuntimeServer
from aixgo.server.configuration import ConfigurationError, load_configuration
from aixgo.server.stopping import stop_requests

if TYPE_CHECKING:
    from types import TracebackType

    from aixgo.contract import RuntimePaths

#: Exit codes of the runtime contract; DIRTY is for calls that had to be cut off.
OK, DIRTY, BAD_CONFIGURATION = 0, 1, 2
#: Where Kubernetes reads why a container ended.
TERMINATION_LOG = Path("/dev/termination-log")

_log = get_logger("aixgo.server")


def run(
    paths: RuntimePaths,
    *,
    host: str = "",
    log_format: LogFormat = "json",
    log_level: str = "info",
    termination_log: Path = TERMINATION_LOG,
) -> int:
    """Serve the runtime that ``paths`` describe until SIGTERM, SIGINT or SIGHUP.

    Args:
        paths: Where the files of the contract are.
        host: The address to listen on; "" is every address.
        log_format: ``json`` or ``text``.
        log_level: The lowest level that is logged.
        termination_log: Gets the reason when the configuration is bad, if it exists.

    Returns:
        0 after a drained shutdown, 1 if calls had to be cut off, 2 on bad configuration at the start.
    """
    configure_logging(log_format, log_level)
    sys.excepthook = _log_crash
    return uvloop.run(_serve(paths, host, termination_log))


async def _serve(paths: RuntimePaths, host: str, termination_log: Path) -> int:
    stop = stop_requests()
    try:
        server = RuntimeServer(paths, load_configuration(paths.config), host)
    except (ConfigurationError, InvalidCertificateError, ValueError) as error:
        return _refuse(str(error), termination_log)
    except ListenError as error:
        return _refuse(str(error), termination_log)
    try:
        let_the_loop_go_first()
        await server.start()
        await stop.get()
        draining = asyncio.create_task(server.drain())
        impatient = asyncio.create_task(stop.get())
        await asyncio.wait({draining, impatient}, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        if not draining.done():
            draining.cancel()
            return DIRTY
        drained = draining.result()
    except OSError as error:
        return _refuse(f"cannot listen on the admin port: {error.strerror}", termination_log)
    finally:
        await server.close()
    _log.info("stopped", drained=drained)
    return OK if drained else DIRTY


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what nobody caught, instead of printing it: printed, it would not be redacted."""
    _log.critical("crashed", exc_info=(kind, error, trace))


def _refuse(reason: str, termination_log: Path) -> int:
    """Say why the process does not start: one log line, and the file that Kubernetes shows to users."""
    _log.error("bad configuration", error=reason)
    if termination_log.exists():
        with contextlib.suppress(OSError):
            termination_log.write_text(reason, encoding="utf-8")
    return BAD_CONFIGURATION
