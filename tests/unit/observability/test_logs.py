"""Log lines: what they say of the call, and what they never say."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from aixgo.observability import redaction
from aixgo.observability.logs import configure_logging, describe_call, get_logger

SECRET = "sk-abcdefgh-0123"
LINES = ("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49", "AwEHBG0wawIBAQQg")
KEY = "\n".join(("-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----", ""))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    known, by_length = dict(redaction._secrets), redaction._by_length[:]
    yield
    root.handlers[:], root.level = before, level
    redaction._secrets.clear()
    redaction._secrets.update(known)
    redaction._by_length[:] = by_length
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["json", "text"])
def test_known_secrets_are_taken_out_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configure_logging("json" if form == "json" else "text", "debug")
    redaction.remember_secret(SECRET)
    redaction.remember_secret(KEY)
    log = get_logger("test")
    log.info("said", key=SECRET, nested={"a": [f"x{SECRET}y"]}, pem=KEY, odd=Exception(SECRET))
    logging.getLogger("library").debug("sent %s", {"Authorization": f"Bearer {SECRET}"})
    try:
        raise ValueError(f"cannot use {SECRET}") from RuntimeError(KEY)
    except ValueError:
        log.exception("failed")
    printed = capsys.readouterr().out
    assert [part for part in (SECRET, *LINES) if part in printed] == []
    assert printed.count(redaction.REPLACEMENT) >= 6
    assert "cannot use" in printed, "the rest of the text is still there"


async def test_lines_of_a_call_say_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    log = get_logger("test")

    async def call(agent: str) -> None:
        describe_call(agent=agent, caller="me")
        await asyncio.sleep(0)
        describe_call(session_id="s-" + agent)
        log.info("done")

    await asyncio.gather(*(asyncio.create_task(call(agent)) for agent in ("a", "b")))
    log.info("outside")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line.get("agent"), line.get("session_id"), line.get("caller")) for line in lines] == [
        ("a", "s-a", "me"),
        ("b", "s-b", "me"),
        (None, None, None),
    ]


def test_words_are_no_secrets_and_memory_is_bounded() -> None:
    redaction.remember_secret("default")
    assert redaction.redacted("the default user") == "the default user"
    for number in range(redaction.MOST + 10):
        redaction.remember_secret(f"password-{number}")
    assert len(redaction._secrets) == redaction.MOST
    assert redaction.redacted("password-0") == "password-0"
    assert redaction.redacted(f"password-{redaction.MOST}") == redaction.REPLACEMENT
