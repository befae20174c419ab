"""runtime.json: what is refused, and that the reason is one line without values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aixgo.server.configuration import ConfigurationError, load_configuration, parse_configuration

MINIMAL: dict[str, Any] = {"runtime": {"name": "r", "namespace": "team"}}


def parse(**changes: Any) -> Any:
    return parse_configuration(json.dumps({**MINIMAL, **changes}).encode())


def test_unknown_fields_are_ignored_and_missing_revisions_made() -> None:
    config = parse(future={"x": 1}, agents=[{"name": "a", "namespace": "team", "role": "logger"}])
    assert config.revision
    assert config.agents[0].revision
    assert parse(revision="abc").revision == "abc"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not JSON: line 1"),
        (b'{"runtime":', "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"contract": 2, "whatever": true}', "contract version 2; this runtime speaks 1"),
        (b"{}", "document: Object missing required field runtime"),
        (
            b'{"runtime":{"name":"r","namespace":"n"},"agents":[{"name":"Bad!","namespace":"n"}]}',
            "agents[0].name",
        ),
    ],
)
def test_bad_content_is_told_in_one_line(content: bytes, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(content)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_agents_of_one_name() -> None:
    agent = {"name": "a", "namespace": "team", "role": "logger"}
    with pytest.raises(ConfigurationError, match="more than one agent is called a"):
        parse(agents=[agent, agent])


def test_values_are_not_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(grpc={"port": "s3cret"})
    assert "grpc.port" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read runtime.json: No such file or directory"):
        load_configuration(tmp_path)
