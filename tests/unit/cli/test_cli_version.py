"""`aixgo version`: where the commit comes from."""

import json
from pathlib import Path

import pytest
from tests.support.aixgo_command import aixgo

from aixgo_cli.commands.version import COMMIT_VARIABLE, git_commit

COMMIT = "a" * 40


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    (tmp_path / "cli" / "aixgo_cli").mkdir(parents=True)
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def source(checkout: Path) -> Path:
    return checkout / "cli" / "aixgo_cli" / "version.py"


def test_commit_of_a_branch(checkout: Path) -> None:
    (checkout / ".git" / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    assert git_commit(source(checkout)) == COMMIT


def test_commit_of_a_packed_branch(checkout: Path) -> None:
    (checkout / ".git" / "packed-refs").write_text(
        f"# pack-refs\n{'b' * 40} refs/heads/x\n{COMMIT} refs/heads/main\n"
    )
    assert git_commit(source(checkout)) == COMMIT


def test_commit_of_a_detached_head(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text(COMMIT + "\n")
    assert git_commit(source(checkout)) == COMMIT


def test_branch_without_a_commit(checkout: Path) -> None:
    assert git_commit(source(checkout)) is None


def test_foreign_checkout_is_not_ours(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text(COMMIT + "\n")
    (checkout / "cli").rename(checkout / "venv")
    assert git_commit(checkout / "venv" / "aixgo_cli" / "version.py") is None


def test_image_knows_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, COMMIT)
    assert git_commit(tmp_path / "x") == COMMIT


def test_version_as_json() -> None:
    result = aixgo("version", "-o", "json", env={COMMIT_VARIABLE: COMMIT})
    facts = json.loads(result.stdout)
    assert result.code == 0
    assert (facts["contract"], facts["commit"]) == (1, COMMIT)
    assert facts["python"].startswith("3.")
    assert aixgo("--version").stdout == f"aixgo {facts['version']}\n"
