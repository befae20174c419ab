"""A real OTLP receiver on loopback: takes what the exporter sends over HTTP and keeps the spans."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str
    failed: bool
    events: tuple[tuple[str, dict[str, Any]], ...]
    status_text: str


class TraceCollector:
    """``async with TraceCollector() as collector:``; ``collector.environment`` goes to the processes."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        #: Everything that was received, undecoded: for searching secrets.
        self.bodies: list[bytes] = []
        self.endpoint = ""
        self._arrived = asyncio.Condition()
        application = web.Application()
        application.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    @property
    def environment(self) -> dict[str, str]:
        """What lets a process export here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.endpoint = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def wait_for(self, *names: str, timeout: float = 20) -> list[ReceivedSpan]:
        """Wait until spans of these names (each as often as it is given) have come; return all spans."""

        def complete() -> bool:
            present = [span.name for span in self.spans]
            return all(present.count(name) >= names.count(name) for name in names)

        try:
            async with asyncio.timeout(timeout), self._arrived:
                await self._arrived.wait_for(complete)
        except TimeoutError:
            raise AssertionError(f"only these spans came: {sorted(s.name for s in self.spans)}") from None
        return list(self.spans)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.bodies.append(body)
        message = ExportTraceServiceRequest.FromString(body)
        async with self._arrived:
            for group in message.resource_spans:
                resource = _plain(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [_span(span, resource, scope.scope.name) for span in scope.spans]
            self._arrived.notify_all()
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def _span(span: Any, resource: dict[str, Any], scope: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        attributes=_plain(span.attributes),
        resource=resource,
        scope=scope,
        failed=span.status.code == 2,
        events=tuple((event.name, _plain(event.attributes)) for event in span.events),
        status_text=span.status.message,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value") for item in attributes
    }
