"""Files of a mounted directory: stamps tell versions apart, and a read is of one version."""

from __future__ import annotations

from pathlib import Path

import pytest

from aixgo.files import read_together, stamp
from aixgo_cli.conformance.volumes import replace_volume


def test_a_swap_changes_the_stamp_and_nothing_else_does(tmp_path: Path) -> None:
    replace_volume(tmp_path, {"a": b"1", "b": b"1"})
    first = stamp(tmp_path, ("a", "b"))
    assert stamp(tmp_path, ("a", "b")) == first
    replace_volume(tmp_path, {"a": b"1", "b": b"1"})
    assert stamp(tmp_path, ("a", "b")) != first


def test_plain_files_count_too(tmp_path: Path) -> None:
    missing = stamp(tmp_path, ("a",))
    (tmp_path / "a").write_bytes(b"1")
    written = stamp(tmp_path, ("a",))
    assert written != missing
    (tmp_path / "a").write_bytes(b"12")
    assert stamp(tmp_path, ("a",)) != written


def test_read_together_takes_one_version(tmp_path: Path) -> None:
    replace_volume(tmp_path, {"a": b"old", "b": b"old"})
    replace_volume(tmp_path, {"a": b"new", "b": b"new"})
    assert read_together(tmp_path, ("a", "b")) == {"a": b"new", "b": b"new"}
    with pytest.raises(FileNotFoundError):
        read_together(tmp_path, ("c",))
