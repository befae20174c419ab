"""Structured logs: one JSON object a line, or readable text for people."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from aixgo.observability.plain_structlog import structlog
from aixgo.observability.redaction import redacted
from aixgo.observability.tracing import current_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

LogFormat = Literal["json", "text"]

#: What every line of the running call says beside its own fields.
_call: ContextVar[Mapping[str, str] | None] = ContextVar("aixgo_call", default=None)


def describe_call(**fields: str) -> None:
    """Let every line that is logged in this task from now on have these fields.

    The names are ``agent``, ``session_id`` and ``caller``. Trace and span id are added by themselves.
    """
    present = _call.get()
    _call.set(fields if present is None else {**present, **fields})


def configure_logging(log_format: LogFormat = "json", level: str = "info") -> None:
    """Send the logs of this process, those of its libraries included, to stdout.

    Args:
        log_format: ``json`` for machines, ``text`` for people.
        level: The lowest level that is written, such as ``info``.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_call,
        structlog.stdlib.ExtraAdder(),
    ]
    # The text of an exception is made before secrets are taken out.
    rendering: list[structlog.types.Processor] = [structlog.processors.format_exc_info, _redact]
    if log_format == "json":
        rendering += [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        rendering.append(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain))
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # Their INFO lines (every request, every HTTP call to a model) say nothing that the metrics do not.
    for chatty in ("httpx", "httpx2", "httpcore", "openai", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(threshold, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:-1],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> Any:
    """Return the structured logger called ``name``; its methods take an event and keyword arguments."""
    return structlog.stdlib.get_logger(name)


def _add_call(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in (_call.get() or {}).items():
        event.setdefault(name, value)
    ids = current_ids()
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = redacted(value)
    return event
