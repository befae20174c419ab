"""``aixgo operator``: its options are those of the process, and its exit code is the process's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aixgo_cli.app import app
from aixgo_operator.app import main


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the process was started with."""
    calls: list[dict[str, Any]] = []

    def started(**options: Any) -> int:
        calls.append(options)
        return main.EXIT_LOST

    monkeypatch.setattr(main, "main", started)
    return calls


def test_without_options_it_runs_as_in_its_pod(asked: list[dict[str, Any]]) -> None:
    done = CliRunner().invoke(app, ["operator"])
    assert done.exit_code == main.EXIT_LOST
    (options,) = asked
    assert options == {
        "settings": main.DEFAULT_SETTINGS,
        "kubeconfig": None,
        "health_host": None,
        "health_port": main.HEALTH_PORT,
    }


def test_every_option_reaches_the_process(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    arguments = ["--settings", "s.yaml", "--kubeconfig", str(kubeconfig)]
    arguments += ["--health-host", "127.0.0.1", "--health-port", "9000"]
    assert CliRunner().invoke(app, ["operator", *arguments]).exit_code == main.EXIT_LOST
    assert asked == [
        {
            "settings": Path("s.yaml"),
            "kubeconfig": str(kubeconfig),
            "health_host": "127.0.0.1",
            "health_port": 9000,
        }
    ]


def test_settings_that_are_not_there_have_their_own_code(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["operator", "--settings", str(tmp_path / "none.yaml")])
    assert done.exit_code == main.EXIT_SETTINGS
    assert "none.yaml" in done.output


def test_help_tells_the_exit_codes(asked: list[dict[str, Any]]) -> None:
    text = " ".join(CliRunner().invoke(app, ["operator", "--help"]).output.split())
    for code, words in (
        (main.EXIT_FAILED, "something went wrong"),
        (main.EXIT_SETTINGS, "the settings cannot be used"),
        (main.EXIT_LOST, "another one leads now"),
        (main.EXIT_DEFINITIONS, "the installed CRDs are older"),
    ):
        assert f"{code} {words}" in text
    assert asked == []
