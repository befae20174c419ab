"""Where `session:` keeps conversations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from aixgo.config.models import Session
from aixgo.config.sessions import open_backend
from aixgo.session import FileBackend


@pytest.mark.parametrize(
    ("base_dir", "environment", "path"),
    [
        ("", {}, ".aixgo/sessions"),
        ("", {"AIXGO_SESSION_DIR": "~/from-environment"}, "from-environment"),
        ("~/from-file", {"AIXGO_SESSION_DIR": "~/from-environment"}, "from-file"),
    ],
)
def test_the_directory(
    base_dir: str, environment: Mapping[str, str], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    backend = open_backend(Session(base_dir=base_dir), environment)
    assert isinstance(backend, FileBackend)
    assert backend.path == tmp_path / path


def test_the_password_of_redis_is_not_shown() -> None:
    session = Session.model_validate({"store": "redis", "redis": {"address": "r:1", "username": "u"}})
    backend = open_backend(session, {"REDIS_PASSWORD": "s3cret-of-redis"})
    assert "s3cret" not in repr(backend) + repr(vars(backend))
