"""``aixgo serve`` reads plain options itself, as the command line's library does, and leaves it the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aixgo_cli import app as commands
from aixgo_cli import main as command
from aixgo_cli import serving
from aixgo_cli.serving import Options


def by_the_library(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> Options | None:
    """Return the options that typer finds; None if it does not run the command."""
    found: list[Options] = []

    def serve(options: Options) -> int:
        found.append(options)
        return 7

    monkeypatch.setattr(serving, "serve", serve)
    with pytest.raises(SystemExit) as end:
        commands.app(arguments)
    if not found:
        return None
    assert end.value.code == 7
    return found[0]


PLAIN = [
    [],
    ["--root", "."],
    ["--root=."],
    ["--host", "127.0.0.1"],
    ["--host", "::1"],
    ["--host="],
    ["--log-format", "text", "--log-level=debug"],
    ["--log-level", "debug", "--log-level", "warning"],
    ["--host", "a=b"],
]
OTHERS = [
    ["-h"],
    ["--help"],
    ["--root", ".", "--help"],
    ["--root"],
    ["--root="],
    ["--root", "/nonexistent"],
    ["--root", str(Path(__file__))],
    ["--log-level", "loud"],
    ["--log-level", "INFO"],
    ["--log-format="],
    ["--log_level", "info"],
    ["--host", "-x"],
    ["--nothing", "x"],
    ["-root", "."],
    ["root", "."],
    ["."],
    ["--"],
]


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_plain_options_are_those_of_the_library(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    read = serving.read(["serve", *arguments])
    assert read is not None
    assert read == by_the_library(monkeypatch, ["serve", *arguments])


@pytest.mark.parametrize("arguments", OTHERS, ids=" ".join)
def test_everything_else_is_left_to_the_library(arguments: list[str]) -> None:
    assert serving.read(["serve", *arguments]) is None


@pytest.mark.parametrize("arguments", [[], ["operator"], ["--version"], ["--host", "serve"]])
def test_other_commands_are_not_its_affair(arguments: list[str]) -> None:
    assert serving.read(arguments) is None


def test_the_exit_code_is_the_processs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["aixgo", "serve", "--host", "127.0.0.1"])
    monkeypatch.setattr(serving, "serve", lambda options: 2 if options.host == "127.0.0.1" else 0)
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
