"""A disk that forgets what was not flushed.

Inside a worker, :func:`watch` remembers every file and directory of a store as it was when it was last
flushed. After the worker was killed, :func:`lose_power` rebuilds the store from that: of what was not flushed
some is there, some is not, some is garbage.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import stat
import threading
from pathlib import Path
from typing import Any


def watch(store: Path, shadow: Path) -> None:
    """Remember in ``shadow`` what is flushed of the files below ``store``. Flushing itself is left out."""
    shadow.mkdir(exist_ok=True)

    one_at_a_time = threading.Lock()

    def remember(fd: int) -> None:
        with one_at_a_time:  # else an older state may come after a newer one
            remember_state(fd)

    def remember_state(fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(f"/proc/self/fd/{fd}") as entries:
                names = {entry.name: entry.inode() for entry in entries}
            data = json.dumps({"names": names}).encode()
        else:
            data = Path(f"/proc/self/fd/{fd}").read_bytes()
        _replace(shadow / str(status.st_ino), data)

    # What is there already is on the disk.
    for path in [store, *store.rglob("*")]:
        if not path.is_symlink():
            _remember_path(path, remember)
    os.fsync = os.fdatasync = remember  # type: ignore[assignment]
    _pin_inodes(shadow)


def _pin_inodes(shadow: Path) -> None:
    """Keep what is removed or replaced, so that no new file gets its number, and with it its past."""
    unlink, rename = os.unlink, os.rename

    def pin(name: Any, dir_fd: int | None) -> None:
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            inode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino
            os.link(name, shadow / f"{inode}.pinned", src_dir_fd=dir_fd)

    def pinned_unlink(name: Any, *, dir_fd: int | None = None) -> None:
        pin(name, dir_fd)
        unlink(name, dir_fd=dir_fd)

    def pinned_rename(
        name: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        if src_dir_fd is not None:
            pin(target, dst_dir_fd)
        rename(name, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    os.unlink, os.rename = pinned_unlink, pinned_rename


def _remember_path(path: Path, remember: Any) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        remember(fd)
    finally:
        os.close(fd)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.rename(path)


def lose_power(store: Path, shadow: Path, chance: random.Random) -> None:
    """Rebuild the store as a power cut may leave it. ``shadow`` is removed."""
    rebuilt = store.with_name(store.name + ".rebuilt")
    _rebuild_directory(store, rebuilt, shadow, chance)
    shutil.rmtree(store)
    rebuilt.rename(store)
    shutil.rmtree(shadow)


def _rebuild_directory(source: Path, target: Path, shadow: Path, chance: random.Random) -> None:
    target.mkdir(mode=0o700)
    now = {path.name: path.stat().st_ino for path in source.iterdir()}
    flushed = _flushed(shadow, source.stat().st_ino)
    before = json.loads(flushed)["names"] if flushed is not None else {}
    for name in sorted({*now, *before}):
        if (name in now) != (name in before) and chance.random() < 0.5:
            if name in now:
                continue  # made, but the directory was not flushed
        elif name not in now:
            continue  # removed
        inode = now.get(name, before.get(name))
        path = source / name
        if name in now and path.is_dir():
            _rebuild_directory(path, target / name, shadow, chance)
            continue
        if name in now and name in before and now[name] != before[name] and chance.random() < 0.5:
            inode = before[name]  # replaced, but the directory was not flushed
        current = path.read_bytes() if name in now and inode == now[name] else None
        data = _content(current, _flushed(shadow, inode), chance)
        if data is not None:
            (target / name).write_bytes(data)
            (target / name).chmod(0o600)


def _flushed(shadow: Path, inode: int) -> bytes | None:
    path = shadow / str(inode)
    return path.read_bytes() if path.exists() else None


def _content(current: bytes | None, flushed: bytes | None, chance: random.Random) -> bytes | None:
    if current is None or current == flushed:
        return flushed
    old = flushed or b""
    kept = chance.choice(("old", "new", "prefix", "zeros", "pages"))
    if kept == "old":
        return old
    if kept == "new":
        return current
    if kept == "pages":  # some pages were written, others were not
        size = max(len(old), len(current))
        pages = []
        for begin in range(0, size, 4096):
            page = chance.choice((old, current))[begin : begin + 4096]
            pages.append(page.ljust(min(4096, size - begin), b"\0"))
        return b"".join(pages)
    # What was overwritten in place is in doubt, the tail as well.
    size = chance.randint(min(len(old), len(current)), max(len(old), len(current)))
    base = old[:size] if len(old) >= size else old
    rest = current[len(base) : size] if kept == "prefix" else bytes(size - len(base))
    return base + rest
