"""`aixgo run`: its options, its environment, and what it says of a file that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aixgo_cli.main import main

VARIABLES = (
    "CONFIG_FILE",
    "PORT",
    "LOG_LEVEL",
    "GRPC_PORT",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["aixgo", "run", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agents.yaml"
    path.write_text("supervisor: {name: x}\nagents: [{name: a, role: logger, listen: ':50051'}]")
    return path


@pytest.mark.parametrize("option", ["-c", "--config", "-config"])
def test_check_says_whether_a_file_is_good(
    file: Path, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, option, file, "--check") == 0
    said = capsys.readouterr()
    assert said.out == f"{file}: 1 agents, no errors\n"
    assert f"warning: {file}:1:1: supervisor: has no effect" in said.err
    assert f"warning: {file}:2:34: agents[0].listen: listens on 127.0.0.1:50051 only" in said.err


def test_the_environment_of_the_original_names_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("CONFIG_FILE", str(file)),
        ("PORT", "0"),
        ("LOG_LEVEL", "error"),
        ("GRPC_PORT", "0"),
    ):
        monkeypatch.setenv(name, value)
    assert run(monkeypatch, "--check") == 0
    assert "1 agents" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "failed to read config: No such file or directory"),
        (
            "this is not valid YAML: [[[\nagents:\n  - name: test\n",
            "not valid YAML: while parsing a flow node",
        ),
        ("agents: [{name: a, role: unknown}]", "agents.yaml:1:20: agents[0].role: unknown role: unknown"),
        ("agents: [{name: a, role: react, model: gpt-4}]", "needs OPENAI_API_KEY in the environment"),
    ],
)
def test_what_cannot_be_used_is_told_with_exit_code_2(
    tmp_path: Path,
    content: str | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "agents.yaml"
    if content is not None:
        file.write_text(content)
    assert run(monkeypatch, "-c", file) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("-log-level", "loud"), ("--http-port", "99999"), ("--grpc-port", "x"), ("--tls-dir", "/none/such")],
)
def test_usage_errors_have_exit_code_2(
    file: Path, arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "-c", file, "--check", *arguments) == 2


def test_help_has_examples_and_says_where_keys_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    assert "aixgo run -c agents.yaml --check" in text
    assert "OPENAI_API_KEY" in text
