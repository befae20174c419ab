"""Failures are explained (what, where, what next) with their exit code and without a traceback."""

import sys
from pathlib import Path

import pytest
from tests.support.aixgo_command import aixgo

from aixgo_cli import app as commands
from aixgo_cli import main as command
from aixgo_cli.errors import CliError, ExitCode


def run_main(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> int | str | None:
    def app() -> None:
        raise failure

    monkeypatch.setattr(commands, "app", app)
    monkeypatch.setattr(sys, "argv", ["aixgo", "status"])
    with pytest.raises(SystemExit) as end:
        command.main()
    return end.value.code


def test_error_says_what_where_and_what_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = CliError(
        "no such thing", where="namespace [demo]", then="look elsewhere", code=ExitCode.NOT_FOUND
    )
    assert run_main(monkeypatch, failure) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["Error: no such thing", "where: namespace [demo]", " next: look elsewhere"]


def test_unexpected_error_has_no_traceback_and_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The text of a foreign exception may hold anything, a password in a URL for example.
    assert run_main(monkeypatch, RuntimeError("redis://user:hunter2@host")) == 1
    err = capsys.readouterr().err
    assert "RuntimeError" in err
    assert "AIXGO_DEBUG" in err
    assert "hunter2" not in err
    assert "Traceback" not in err


def test_interrupt_exits_like_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(monkeypatch, KeyboardInterrupt()) == 130


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "No such command"),
        (("call", "assistant"), "Missing argument"),
        (("call", "a", "b", "--address", "h:1", "--kube"), "--address does not go together"),
        (("call", "a", "b", "--tls-dir", "."), "--tls-dir needs --address"),
        (("call", "a", "b", "--address", "h:1"), "--address needs --tls-dir"),
        (("call", "a", "b", "--address", "h:1", "--tls-dir", "/nonexistent"), "cannot read tls.crt"),
        (("explain", "assistant"), "is no KIND/NAME"),
        (("explain", "pod/x"), "is no KIND/NAME"),
        (("status",), "no usable kubeconfig"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], says: str) -> None:
    result = aixgo(*arguments)
    assert (result.code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_context_lists_the_known_ones(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {token: t0psecret}}]\n"
        "contexts: [{name: one, context: {cluster: c, user: u}}]\n"
    )
    result = aixgo("status", "--context", "two", kubeconfig=config)
    assert result.code == 2
    assert "no context 'two'" in result.stderr
    assert "use one of: one" in result.stderr


def test_silent_cluster_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    # Port 1 of loopback refuses connections.
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {token: t0psecret}}]\n"
        "contexts: [{name: one, context: {cluster: c, user: u, namespace: demo}}]\n"
    )
    result = aixgo("status", kubeconfig=config)
    assert result.code == 1
    assert "does not answer" in result.stderr
    assert "https://127.0.0.1:1" in result.stderr
    assert "t0psecret" not in result.stderr


def test_colours_are_for_terminals_only() -> None:
    result = aixgo("call", "a", "b", "--tls-dir", ".", env={"TERM": "xterm-256color"})
    assert "\x1b" not in result.stderr
