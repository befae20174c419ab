"""Running programs: limits, errors, and nothing left running."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.cluster.cache import content_hash, locked, point_to, work_folder
from tests.support.cluster.commands import CommandError, daemon, run, succeeds
from tests.support.waiting import wait_until


def test_output_and_input_go_through() -> None:
    assert run(["cat"], timeout=10, stdin="some text") == "some text"


def test_a_failure_tells_the_command_the_code_and_what_it_said() -> None:
    with pytest.raises(CommandError, match=r"(?s)^ls /nowhere: exit code 2\n.*/nowhere") as caught:
        run(["ls", "/nowhere"], timeout=10)
    assert caught.value.argv == ["ls", "/nowhere"]


def test_at_the_limit_its_children_end_too(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    begin = time.monotonic()
    with pytest.raises(CommandError, match="not done after 1 s"):
        run(["sh", "-c", script], timeout=1)
    assert time.monotonic() - begin < 10
    child = Path("/proc") / (tmp_path / "pid").read_text().strip()
    wait_until(lambda: not child.exists(), "the child is gone")


def test_a_daemon_ends_with_its_block(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, daemon(["sleep", "60"], log=log) as process:
        assert process.poll() is None
    assert process.returncode is not None


def test_a_missing_program_is_no_success() -> None:
    assert succeeds(["true"], timeout=10)
    assert not succeeds(["false"], timeout=10)
    assert not succeeds(["no-such-program-here"], timeout=10)


def test_hashes_know_where_a_part_ends(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("ab")
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert content_hash(file) == content_hash("ab") == content_hash(b"ab")


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    link = tmp_path / "bin" / "program"
    for name in ("one", "two", "two"):
        point_to(link, tmp_path / name)
        assert link.readlink() == tmp_path / name
    assert [path.name for path in link.parent.iterdir()] == ["program"]


def test_a_work_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with work_folder(tmp_path / "result") as folder:
            (folder / "half").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_other_processes_respect_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIXGO_DEV_CACHE", str(tmp_path))
    with locked("thing"):
        lock = tmp_path / "locks" / "thing.lock"
        assert not succeeds(["flock", "--nonblock", lock, "true"], timeout=10)
    assert succeeds(["flock", "--nonblock", lock, "true"], timeout=10)
