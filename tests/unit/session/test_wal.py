"""The write-ahead log: its records, where it ends, what is void."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aixgo.session.file import wal
from aixgo.session.file.paths import Directories
from aixgo.session.file.replay import replay
from aixgo.session.file.wal import Kind, Record, WalFile


@pytest.fixture
def base(tmp_path: Path) -> int:
    return Directories(tmp_path).open_base(create=True)


def records(log: WalFile) -> list[tuple[str, int, bytes]]:
    return [(each.session_id, each.offset, each.data) for each in wal.scan(log.fd)]


def append(log: WalFile, session_id: str, offset: int, data: bytes) -> tuple[int, int]:
    parts: list[bytes] = []
    names = wal.Names.of("agent", session_id)
    place = (log.end, wal.add_record(parts, Kind.APPEND, names, offset, data, log.epoch))
    log.append(b"".join(parts), 0)
    assert log.end == sum(place)
    return place


def test_what_was_written_comes_back(base: int) -> None:
    log = WalFile(base, 8192)
    append(log, "a", 0, b"one\n")
    append(log, "ä" * 60, 4, b"x" * 20_000)  # it grows
    append(log, "b", 1 << 40, b"")
    assert records(log) == [("a", 0, b"one\n"), ("ä" * 60, 4, b"x" * 20_000), ("b", 1 << 40, b"")]


def test_a_new_epoch_forgets_everything(base: int) -> None:
    log = WalFile(base, 8192)
    for number in range(5):
        append(log, "a", 0, b"old")
        log.begin_epoch()
        assert records(log) == []
        append(log, "a", number, b"new")
        assert records(log) == [("a", number, b"new")]
        log.begin_epoch()


def test_a_void_record_is_skipped_and_wiped_out(base: int, tmp_path: Path) -> None:
    log = WalFile(base, 8192)
    append(log, "a", 0, b"first")
    place = append(log, "secret-name", 5, b"secret data")
    append(log, "a", 5, b"last")
    log.void([place], [])
    assert records(log) == [("a", 0, b"first"), ("a", 5, b"last")]
    assert b"secret" not in (tmp_path / wal.WAL_FILE).read_bytes()


def test_records_of_earlier_epochs_are_wiped_out_as_far_as_they_are_left(base: int, tmp_path: Path) -> None:
    log = WalFile(base, 65536)
    places = [append(log, "secret", number, b"secret" * 50) for number in range(20)]
    log.begin_epoch()
    append(log, "a", 0, b"new" * 300)
    log.void([], places)
    assert records(log) == [("a", 0, b"new" * 300)]
    assert b"secret" not in (tmp_path / wal.WAL_FILE).read_bytes()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_torn_log_ends_before_the_first_record_that_is_not_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directories = Directories(tmp_path_factory.mktemp("log"))
    log = WalFile(directories.open_base(create=True), 16384)
    places = [append(log, f"s{number}", number, bytes([number]) * (number * 37)) for number in range(12)]
    torn = data.draw(st.integers(0, 11))
    begin, _ = places[torn]
    # Padding at the end of a record does not matter.
    used = wal.HEAD_SIZE + len("agent") + len(f"s{torn}") + torn * 37
    position = begin + data.draw(st.integers(0, used - 1))
    byte = os.pread(log.fd, 1, position)[0]
    os.pwrite(log.fd, bytes([byte ^ data.draw(st.integers(1, 255))]), position)
    assert [offset for _, offset, _ in records(log)] == list(range(torn))
    log.close()
    directories.close()


PIECES = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(pieces=PIECES, data=st.data())
def test_replay_is_idempotent_whatever_of_the_file_is_there(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], data: st.DataObject
) -> None:
    base = tmp_path_factory.mktemp("replay")
    directories = Directories(base)
    whole = b"".join(pieces)
    log = []
    for number, piece in enumerate(pieces):
        offset = sum(map(len, pieces[:number]))
        log.append(Record(0, Kind.APPEND if number else Kind.CREATE, "agent", "s", offset, piece))
    path = base / "agent" / "s.jsonl"
    if data.draw(st.booleans()):
        directories.open_agent("agent", create=True)
        there = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
        for index in data.draw(st.lists(st.integers(0, max(0, len(there) - 1)), max_size=5)):
            if there:
                there[index] = 0
        path.write_bytes(bytes(there))
    once = data.draw(st.integers(0, len(log)))  # it may itself be interrupted
    replay(directories, log[:once])
    replay(directories, log)
    assert path.read_bytes() == whole
    assert replay(directories, log) == []
    assert path.read_bytes() == whole
    directories.close()


def test_replay_does_not_bring_back_what_was_deleted(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    directories.open_agent("agent", create=True)
    replay(directories, [Record(0, Kind.APPEND, "agent", "s", 100, b"late\n")])
    assert list((tmp_path / "agent").iterdir()) == []


def test_what_was_taken_back_is_replaced(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    replay(
        directories,
        [
            Record(0, Kind.CREATE, "agent", "s", 0, b"one\n"),
            Record(1, Kind.APPEND, "agent", "s", 4, b"failed and longer\n"),
            Record(2, Kind.APPEND, "agent", "s", 4, b"two\n"),
        ],
    )
    assert (tmp_path / "agent" / "s.jsonl").read_bytes() == b"one\ntwo\n"
