"""Two caches never share a cluster."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from tests.support.cluster.site import site


def test_another_home_is_another_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a run with a HOME of its own would take the developer's cluster down."""
    seen = []
    for home in (tmp_path / "a", tmp_path / "b"):
        home.mkdir()
        monkeypatch.delenv("AIXGO_DEV_CACHE", raising=False)
        monkeypatch.setenv("HOME", str(home))
        seen.append(site())
        monkeypatch.setenv("AIXGO_DEV_CACHE", str(home / ".cache" / "aixgo-dev"))
        assert site() == seen[-1], "the variable with the default's value changes nothing"
    assert len({s.name for s in seen} | {"aixgo"}) == 3
    assert len({s.network for s in seen} | {"10.99.0"}) == 3
    assert all(len(s.name) <= 13 for s in seen)


def test_the_accounts_own_cache_has_the_short_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = pwd.getpwuid(0)
    monkeypatch.setenv("AIXGO_DEV_CACHE", str(tmp_path / ".cache" / "aixgo-dev"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd((*real[:5], str(tmp_path), real[6])))
    assert site().name == "aixgo"
