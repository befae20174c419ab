"""`aixgo session import`: a file, a directory and a Redis, of this library and of Aixgo (Go) v0.3.3."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.integration.session.test_aixgo_redis import DATA, EXPECTED, load
from tests.support.aixgo_command import Result, aixgo
from tests.support.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run(store: object, *arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return aixgo("session", *arguments, "--store", str(store), env=env)


def listed(store: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run(store, "list", "-o", "json").stdout)
    return rows


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A directory as the original left it."""
    return shutil.copytree(DATA / "files", tmp_path / "original")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def test_a_redis_of_the_original_under_its_own_prefix(server: RedisServer, tmp_path: Path) -> None:
    with redis.Redis(port=server.port) as client:
        load(client, "aixgo:session:")
    url, store = f"redis://{server.address}", tmp_path / "new"
    first = run(store, "import", url)
    assert (first.code, first.stdout) == (0, ""), first.stderr
    assert f"{len(EXPECTED['cases'])} sessions imported" in first.stderr
    assert {row["id"] for row in listed(store)} == {case["sessionId"] for case in EXPECTED["cases"]}
    assert run(store, "verify").code == 0
    again = run(store, "import", url)
    assert again.code == 0
    assert f"0 sessions imported, {len(EXPECTED['cases'])} there already" in again.stderr

    # And on from there: into a Redis, and out of it again, by the prefix of this library.
    target = f"redis://{server.address}/1"
    assert run(target, "import", store).code == 0
    back = run(tmp_path / "back", "import", target, "--from-prefix", "aixgo:sessions:")
    assert back.code == 0, back.stderr
    assert listed(tmp_path / "back") == listed(target)


def test_a_directory_of_the_original_with_a_damaged_session(original: Path, tmp_path: Path) -> None:
    ids = {path.stem for path in original.glob("*/*.jsonl")}
    damaged = next(path for path in sorted(original.glob("*/*.jsonl")) if path.read_bytes().count(b"\n") > 2)
    lines = damaged.read_bytes().splitlines(keepends=True)
    damaged.write_bytes(b"".join([lines[0], b"no entry\n", *lines[1:]]))
    done = run(tmp_path / "new", "import", original)
    assert done.code == 1
    assert f"session {damaged.stem}: session log is corrupted" in done.stderr
    assert {row["id"] for row in listed(tmp_path / "new")} == ids - {damaged.stem}


def test_a_file_of_the_original_does_not_say_whose_it_is(original: Path, tmp_path: Path) -> None:
    file = next(path for path in sorted(original.glob("pager/*.jsonl")) if path.stat().st_size)
    assert run(tmp_path / "a", "import", file).code == 0
    assert [(row["id"], row["agent"]) for row in listed(tmp_path / "a")] == [(file.stem, "pager")]
    assert run(tmp_path / "b", "import", file, "--agent", "other", "--id", "mine").code == 0
    (row,) = listed(tmp_path / "b")
    assert (row["id"], row["agent"]) == ("mine", "other")
    assert row["messages"] > 0


def test_what_cannot_be_imported_is_wrong_input(original: Path, tmp_path: Path) -> None:
    store = tmp_path / "new"
    bad, empty = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    bad.write_text("no json\n")
    empty.touch()
    session = next(path.stem for path in sorted(original.glob("pager/*.jsonl")) if path.stat().st_size)
    exported = tmp_path / "exported.jsonl"
    assert run(tmp_path / "a", "import", original).code == 0
    assert run(tmp_path / "a", "export", session, "--file", exported).code == 0
    for arguments, where in (
        ((bad,), str(bad)),
        ((empty,), str(empty)),
        ((exported, "--id", "another"), "leave out --id"),
        ((original, "--id", "another"), "one file"),
        ((tmp_path / "nothing",), "no such file"),
        (("redis://user:S3CRET@host:port",), "not a Redis URL"),
        (("http://host/sessions",), "no such file"),
    ):
        result = run(store, "import", *arguments)
        assert (result.code, result.stdout) == (2, ""), result.stderr
        assert where in result.stderr
        assert "S3CRET" not in result.stderr
    assert run(store, "list").code == 3  # nothing was made


def test_the_url_of_the_source_may_come_from_the_environment(server: RedisServer, tmp_path: Path) -> None:
    with redis.Redis(port=server.port, db=2) as client:
        load(client, "aixgo:session:")
    environment = {"AIXGO_SESSION_SOURCE": f"redis://{server.address}/2"}
    assert run(tmp_path / "new", "import", env=environment).code == 0
    assert len(listed(tmp_path / "new")) == len(EXPECTED["cases"])


def test_certificates_of_the_one_store_do_not_keep_the_other_in_plaintext(
    server: RedisServer, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("not read")
    with redis.Redis(port=server.port, db=3) as client:
        load(client, "aixgo:session:")
    done = run(tmp_path / "new", "import", f"redis://{server.address}/3", "--ca", ca)
    assert (done.code, len(listed(tmp_path / "new"))) == (0, len(EXPECTED["cases"]))
