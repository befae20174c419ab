"""Virtual environments of locked versions in the cache, each made once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_READY = ".ready"


def cache() -> Path:
    """Return the developers' cache."""
    return Path(os.environ.get("AIXGO_DEV_CACHE") or Path.home() / ".cache" / "aixgo-dev")


def locked_python(lock: Path, say: Callable[[str], None]) -> Path:
    """Return the interpreter of the environment with what ``lock`` names; make it if it is not there.

    Args:
        lock: ``requirements.lock``; the name of its directory becomes a part of the environment's.
        say: Where progress goes.

    Raises:
        subprocess.CalledProcessError: it could not be made.
    """
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    directory = cache() / "venvs" / f"benchmarks-{lock.parent.name}-{wanted}"
    python = directory / "bin" / "python"
    if (directory / _READY).exists():
        return python
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        if not (directory / _READY).exists():
            say(f"installing {lock.parent.name} into {directory}")
            shutil.rmtree(directory, ignore_errors=True)
            _make(lock, directory, python)
            (directory / _READY).touch()
    return python


def _make(lock: Path, directory: Path, python: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    uvs = sorted(cache().glob("tools/uv-*/bin/uv"))
    if uvs:
        environment = {**os.environ, "UV_CACHE_DIR": str(cache() / "uv"), "UV_LINK_MODE": "copy"}
        command = [str(uvs[-1]), "pip", "sync", "-q", "--python", str(python), "--require-hashes", str(lock)]
        subprocess.run(command, check=True, env=environment)
        return
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(lock)], check=True)
