"""Where built things are kept between runs, and how several processes share that place.

Everything below :func:`cache_dir` can be deleted at any time: the next run makes it again. An entry is
named by the hash of what it was made from and appears by a rename, so a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[3]


def cache_dir() -> Path:
    """Root of the developer cache: ``AIXGO_DEV_CACHE``, else ``~/.cache/aixgo-dev``."""
    override = os.environ.get("AIXGO_DEV_CACHE")
    root = Path(override) if override else Path.home() / ".cache" / "aixgo-dev"
    root.mkdir(parents=True, exist_ok=True)
    return root.resolve()


def progress(message: str) -> None:
    """One line on standard error: what is being done now."""
    print(f"[cluster {time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def content_hash(*parts: str | bytes | Path) -> str:
    """Hash of strings, bytes and files (their content, not their name) in the given order; 12 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` across processes; waits, saying so.

    The descriptor is not inheritable: a daemon started meanwhile cannot hold the lock for ever.
    """
    folder = cache_dir() / "locks"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that works on: {name}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def work_folder(beside: Path) -> Iterator[Path]:
    """An empty folder on the file system of `beside`, to be filled and renamed; gone at the end."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".part-", dir=beside.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def point_to(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to `target`, replacing what was there in one step."""
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(link) as folder:
        fresh = folder / "link"
        fresh.symlink_to(target)
        fresh.replace(link)
