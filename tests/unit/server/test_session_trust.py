"""Whom a runtime trusts for Redis: the file decides at every connection, so it is the file that is told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from tests.support.pki import Authority

from aixgo.contract import RuntimePaths, SessionBackendConfig
from aixgo.server.sessions import Sessions
from aixgo_operator.pki.inspect import fingerprints


def sessions(root: Path, kind: Any) -> Sessions:
    found = Sessions(RuntimePaths.under(root), None, lambda: None)  # type: ignore[arg-type]
    found._config = SessionBackendConfig(type=kind)
    return found


@pytest.mark.parametrize("kind", ["Redis", "File"])
def test_every_ca_of_the_file_is_told_as_it_is_now(tmp_path: Path, kind: str) -> None:
    old, new = Authority("old").pem, Authority("new", valid=dt.timedelta(days=2)).pem
    told = sessions(tmp_path, kind)
    assert told.status().trust_bundle is None
    folder = RuntimePaths.under(tmp_path).session_tls
    folder.mkdir(parents=True)
    for bundle in (old, old + new, new):
        (folder / "ca.crt").write_bytes(bundle)
        assert told.status().trust_bundle == (fingerprints(bundle) if kind == "Redis" else None)
    (folder / "ca.crt").write_bytes(b"half a certificate")
    assert told.status().trust_bundle is None
