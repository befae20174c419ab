"""What is concluded from answers of pods and of Redis."""

from __future__ import annotations

import json
import ssl

import pytest

from aixgo_operator.probe.redis_info import RedisEndpoint, classify, interpret
from aixgo_operator.probe.statusz import parse

ENDPOINT = RedisEndpoint("Standalone", ("redis:6379",), username="u", password="hidden")


def test_a_good_statusz() -> None:
    body = {
        "version": "1",
        "startedAt": "now",
        "configRevision": "r",
        "tls": {"mode": "Mutual"},
        "sessions": {"type": "None", "ready": True},
        "somethingNew": 1,
    }
    answer = parse(json.dumps(body).encode())
    assert answer.statusz is not None
    assert answer.statusz.config_revision == "r"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"version": 1}', b"\xff"])
def test_a_bad_statusz_is_an_answer_too(body: bytes) -> None:
    answer = parse(body)
    assert answer.statusz is None
    assert answer.error


def test_redis_in_order() -> None:
    info = {"redis_version": "7.4.1", "aof_enabled": 1, "maxmemory": 0, "maxmemory_policy": "noeviction"}
    probe = interpret(info, {"maxmemory-policy": "noeviction"}, {"save": ""})
    assert probe.failure is None
    assert (probe.server_version, probe.aof_enabled, probe.snapshots_enabled) == ("7.4.1", True, False)
    assert (probe.max_memory_bytes, probe.max_memory_policy) == (0, "noeviction")


def test_redis_that_tells_nothing() -> None:
    probe = interpret({}, None, None)
    assert probe.failure is None
    assert (probe.aof_enabled, probe.snapshots_enabled, probe.max_memory_policy) == (None, None, None)


def test_info_has_the_policy_when_config_is_refused() -> None:
    assert interpret({"maxmemory_policy": "allkeys-lru"}, None, None).max_memory_policy == "allkeys-lru"


def test_a_replica() -> None:
    probe = interpret({"role": "slave", "slave_read_only": 1}, None, None)
    assert probe.failure is not None
    assert probe.failure.reason == "ReadOnlyReplica"
    assert interpret({"role": "slave", "slave_read_only": 0}, None, None).failure is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError("refused"), "DialFailed"),
        (TimeoutError(), "DialFailed"),
        (ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED"), "TLSHandshakeFailed"),
        (RuntimeError("WRONGPASS invalid username-password pair"), "AuthFailed"),
        (RuntimeError("NOAUTH Authentication required."), "AuthFailed"),
    ],
)
def test_failures_are_told_apart(error: Exception, reason: str) -> None:
    wrapped = ConnectionError("outer")
    wrapped.__cause__ = error
    problem = classify(wrapped, ENDPOINT)
    assert problem.reason == reason
    assert "redis:6379" in problem.message
    assert "hidden" not in problem.message
    assert "hidden" not in repr(ENDPOINT)
