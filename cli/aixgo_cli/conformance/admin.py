"""The admin port: health, metrics, /statusz."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from aixgo.version import CONTRACT_VERSION
from aixgo_cli.conformance.check import Checks, NotCheckableError, ViolationError, require
from aixgo_cli.conformance.subject import ask
from aixgo_cli.conformance.wire import NOBODY

if TYPE_CHECKING:
    from aixgo_cli.conformance.subject import Subject

check = Checks()

HEALTH_KEYS = {"status", "timestamp", "version", "uptime", "checks", "system"}
CHECK_KEYS = {"status", "message", "last_checked", "duration"}
SYSTEM_KEYS = {"num_goroutines", "num_cpu", "mem_alloc_mb", "mem_sys_mb"}
#: The metrics of Aixgo v0.3.3.
METRICS = (
    "aixgo_http_requests_total",
    "aixgo_http_request_duration_seconds",
    "aixgo_mcp_tool_calls_total",
    "aixgo_mcp_tool_call_duration_seconds",
    "aixgo_grpc_requests_total",
    "aixgo_grpc_request_duration_seconds",
    "aixgo_agent_messages_total",
    "aixgo_agent_execution_duration_seconds",
    "aixgo_active_connections",
    "aixgo_memory_usage_bytes",
    "aixgo_goroutines",
)
#: What /statusz must have, below each of its parts.
STATUSZ_KEYS = {
    "": {
        "version",
        "contract",
        "startedAt",
        "configRevision",
        "draining",
        "inFlight",
        "agents",
        "tls",
        "sessions",
    },
    "agents": {"name", "ready", "revision", "error"},
    "tls": {"mode", "serialNumber", "sha256Fingerprint", "notAfter", "trustBundle", "lastReloadError"},
    "sessions": {"type", "ready", "error"},
}
TYPE_LINE = re.compile(r"^# TYPE (\S+) ", re.MULTILINE)


@check("admin-health", "/health has the JSON keys of Aixgo v0.3.3 and fits its HTTP status")
async def health(subject: Subject) -> None:
    """Look at the keys."""
    code, document = await subject.document("/health")
    missing = HEALTH_KEYS - document.keys()
    require(not missing, f"/health lacks {', '.join(sorted(missing))}")
    require(document["status"] in ("healthy", "degraded", "unhealthy"), f"status is {document['status']!r}")
    require((code == 503) == (document["status"] == "unhealthy"), f"HTTP {code} with {document['status']}")
    require(isinstance(document["uptime"], int), "uptime is not a whole number of nanoseconds")
    require(document["checks"], "there are no checks")
    for name, entry in document["checks"].items():
        require(
            entry.keys() >= CHECK_KEYS, f"check {name} lacks {', '.join(sorted(CHECK_KEYS - entry.keys()))}"
        )
    require(document["system"].keys() >= SYSTEM_KEYS, "system lacks keys")


@check("admin-live", '/health/live is 200 {"status": "alive"}')
async def live(subject: Subject) -> None:
    """Ask."""
    require(await subject.document("/health/live") == (200, {"status": "alive"}), "it is not")


@check("admin-ready", '/health/ready is 200 {"status": "ready"} or 503 {"status": "not ready"}')
async def ready(subject: Subject) -> None:
    """Ask, and compare with /health."""
    answer = await subject.document("/health/ready")
    require(answer in ((200, {"status": "ready"}), (503, {"status": "not ready"})), f"it is {answer}")
    code, _ = await subject.document("/health")
    require(code == answer[0], f"/health/ready is {answer[0]} and /health is {code}")


@check("admin-statusz", "/statusz has the schema of the contract")
async def statusz(subject: Subject) -> None:
    """Look at the keys and the types."""
    code, document = await subject.document("/statusz")
    require(code == 200, f"/statusz is HTTP {code}")
    parts: list[tuple[str, Any]] = [("", document)]
    parts += [("agents", agent) for agent in document.get("agents", [])]
    parts += [(name, document.get(name, {})) for name in ("tls", "sessions")]
    for name, part in parts:
        missing = STATUSZ_KEYS[name] - part.keys()
        require(not missing, f"{name or '/statusz'} lacks {', '.join(sorted(missing))}")
    require(
        document["contract"] == CONTRACT_VERSION,
        f"contract is {document['contract']}, not {CONTRACT_VERSION}",
    )
    datetime.fromisoformat(document["startedAt"])
    require(document["configRevision"], "configRevision is empty")
    await subject.statusz()


@check("admin-statusz-certificate", "/statusz names the certificate that new connections meet")
async def certificate(subject: Subject) -> None:
    """Shake hands and compare."""
    identity = subject.identity
    if identity is None:
        raise NotCheckableError("called in plaintext: give --tls-dir")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=identity.ca.decode())
    context.set_alpn_protocols(["h2"])
    with tempfile.TemporaryDirectory() as name:
        chain = Path(name) / "chain.pem"
        chain.touch(0o600)
        chain.write_bytes(identity.certificate + identity.key)
        context.load_cert_chain(chain)
    host, _, port = subject.target.rpartition(":")
    _, writer = await asyncio.open_connection(
        host, int(port), ssl=context, server_hostname=subject.server_name or host
    )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    seen = hashlib.sha256(der).hexdigest()
    said = (await subject.statusz()).tls
    require(said.mode == "Mutual", f"/statusz says TLS mode {said.mode}")
    require(said.sha256_fingerprint == seen, "/statusz has the fingerprint of another certificate")


@check("admin-metrics", "/metrics has every aixgo_* metric of Aixgo v0.3.3")
async def metrics(subject: Subject) -> None:
    """Look for the names."""
    code, text = await subject.get("/metrics")
    require(code == 200, f"/metrics is HTTP {code}")
    present = set(TYPE_LINE.findall(text))
    missing = [name for name in METRICS if name not in present and name.removesuffix("_total") not in present]
    require(not missing, f"/metrics lacks {', '.join(missing)}")


@check("admin-metrics-fed", "metrics are really fed: a call is counted with its method and status")
async def metrics_fed(subject: Subject) -> None:
    """Count a refused call."""
    before = await _count(subject)
    await subject.refused(subject.execute(ask(NOBODY, "x")), grpc.StatusCode.NOT_FOUND)
    after = await _count(subject)
    require(after > before, f"aixgo_grpc_requests_total of NOT_FOUND went from {before:g} to {after:g}")


async def _count(subject: Subject) -> float:
    _, text = await subject.get("/metrics")
    lines = [line for line in text.splitlines() if line.startswith("aixgo_grpc_requests_total{")]
    try:
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'status="NOT_FOUND"' in line)
    except ValueError:
        raise ViolationError("/metrics is not in the Prometheus text format") from None
