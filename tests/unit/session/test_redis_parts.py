"""The pure parts of the Redis backend: options, keys, records, errors. No server."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
import redis.exceptions as redis_errors
from hypothesis import given, settings
from hypothesis import strategies as st

from aixgo.session import CheckpointCorruptedError, RedisOptions, RedisTLS
from aixgo.session.redis import records
from aixgo.session.redis.calls import TooFewReplicasError, storage_error
from aixgo.session.redis.keys import Keys, ranges, ranges_text
from aixgo.session.redis.options import parse_addresses, parse_url
from aixgo.session.redis.scripts import script


def test_addresses() -> None:
    assert parse_addresses("redis") == [("redis", 6379)]
    assert parse_addresses("a:1, b:2,") == [("a", 1), ("b", 2)]
    assert parse_addresses(["[::1]:7000", "host"]) == [("::1", 7000), ("host", 6379)]
    for bad in ("", [], "a:port", "a:1/x", "user@host", "a:99999"):
        with pytest.raises(ValueError, match=r"(?i)redis address"):
            parse_addresses(bad)


def test_urls() -> None:
    assert parse_url("redis://host") == ("host:6379", {"db": 0})
    address, options = parse_url("rediss://user:p%40ss@[::1]:7000/3")
    assert address == "[::1]:7000"
    assert options == {"db": 3, "tls": True, "username": "user", "password": "p@ss"}
    for bad in (
        "http://host",
        "redis://",
        "redis://host/x",
        "redis://host/0?db=3",
        "redis://u:S3CRET@host:port/0",
    ):
        with pytest.raises(ValueError) as caught:
            parse_url(bad)
        assert "S3CRET" not in str(caught.value)


def test_options_hide_passwords_and_refuse_nonsense() -> None:
    options = RedisOptions(username="u", password="S3CRET", sentinel_password="S3CRET", tls=RedisTLS())
    assert "S3CRET" not in repr(options)
    assert options.key_prefix == "aixgo:sessions:"
    wrong: list[dict[str, Any]] = [
        {"cluster": True, "sentinel_master": "m"},
        {"cluster": True, "db": 1},
        {"db": -1},
        {"ttl": -1},
        {"pool_size": 0},
        {"lease_seconds": 0},
    ]
    for each in wrong:
        with pytest.raises(ValueError):
            RedisOptions(**each)


def test_keys_of_a_session_share_a_hash_tag() -> None:
    keys = Keys("p:")
    assert keys.session("id")[0] == "p:{id}:meta"
    assert len({key.partition("{")[2].partition("}")[0] for key in keys.session("id")}) == 1
    assert keys.indexes("agent", "user") == ["p:agent:agent", "p:user:agent/user", "p:agents"]


@given(st.sets(st.integers(0, 200)))
def test_ranges(nodes: set[int]) -> None:
    text = ranges_text(sorted(nodes))
    assert [place for first, last in ranges(text) for place in range(first, last)] == sorted(nodes)


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_ids_are_escaped_as_in_json(text: str) -> None:
    assert records.unescape(records.escape(text)) == text


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), st.integers(0, 9)))
def test_checkpoint_records(metadata: dict[str, int]) -> None:
    moment = datetime(2026, 2, 8, 1, 2, 3, 4, UTC)
    body = records.checkpoint_body("c", moment, metadata)
    raw = records.checkpoint_record(
        body, "leaf", "chain", 3, "0:2,5:6", 9, records.newest([b"c", b"b", b"a"])
    )
    stored = records.parse_checkpoint("s", raw)
    assert stored.nodes() == [0, 1, 5]
    assert (stored.checkpoint.id, stored.checkpoint.timestamp) == ("c", moment)
    assert (stored.checkpoint.entry_id, stored.checkpoint.message_count) == ("leaf", 3)
    assert stored.checkpoint.metadata == metadata
    for place in range(0, len(raw), 7):
        damaged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(CheckpointCorruptedError):
            records.parse_checkpoint("s", damaged)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_microseconds(moment: datetime) -> None:
    assert records.moment(records.micros(moment)) == moment


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (redis_errors.ResponseError("OOM command not allowed"), "redis is out of memory (maxmemory)"),
        (redis_errors.OutOfMemoryError("command not allowed"), "redis is out of memory (maxmemory)"),
        (redis_errors.ResponseError("MISCONF Redis is configured"), "redis cannot write to its disk"),
        (redis_errors.ReadOnlyError("You can't write"), "redis is a read-only replica"),
        (redis_errors.NoPermissionError("User u has no"), "the redis user may not do this"),
        (redis_errors.AuthenticationError("invalid"), "redis refused the user name or the password"),
        (redis_errors.TimeoutError("Timeout reading from 10.0.0.1:6379"), "redis does not answer in time"),
        (redis_errors.BusyLoadingError("loading"), "redis is loading its data"),
        (
            chained(redis_errors.ConnectionError("10.0.0.1:6379"), OSError(111, "Connection refused")),
            "redis is not reachable: Connection refused",
        ),
        (
            chained(redis_errors.ConnectionError("10.0.0.1"), ssl.SSLError(1, "x")),
            "redis is not reachable: TLS failed (handshake)",
        ),
        (redis_errors.ConnectionError("Error to 10.0.0.1:6379"), "redis is not reachable"),
        (redis_errors.MovedError("1 10.0.0.1:6379"), "redis is a cluster; say so in the options"),
        (redis_errors.ClusterCrossSlotError("Keys in request"), "redis is a cluster; say so in the options"),
        (redis_errors.MasterDownError("Link with MASTER is down"), "redis lost its master"),
        (redis_errors.ClusterDownError("The cluster is down"), "redis cluster is down"),
        (redis_errors.ClusterError("TTL exhausted."), "redis cluster is moving slots"),
        (TooFewReplicasError(), "redis has too few replicas"),
        (redis_errors.ResponseError("ERR odd"), "redis refused: ResponseError: ERR odd"),
    ],
)
def test_errors_say_what_is_wrong_without_an_address(error: BaseException, text: str) -> None:
    assert str(storage_error(error)) == text


def test_every_script_can_be_loaded() -> None:
    for name in ("create", "append", "checkpoint", "restore", "messages", "delete", "acquire", "renew"):
        assert len(script(name).sha) == 40
        assert "local META" in script(name).text
    for name in ("index", "claim", "unlist"):
        assert "local META" not in script(name, alone=True).text
