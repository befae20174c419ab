"""Files that are replaced while they are read.

Kubernetes replaces a mounted directory by swapping the symlink ``..data``. Reading through its target gives
files of one version; the target and the files' own stamps tell a new version from an old one without reading
anything.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: The symlink that Kubernetes swaps.
DATA_LINK = "..data"

#: Compares equal as long as nothing was replaced or written.
Stamp = tuple[object, ...]


def data_directory(directory: Path) -> Path:
    """Return where the present version is: the target of ``..data``, else the directory itself."""
    link = directory / DATA_LINK
    try:
        return directory / link.readlink()
    except OSError:
        return directory


def stamp(directory: Path, names: Iterable[str]) -> Stamp:
    """Return the stamp of some files of a directory. A missing file has a stamp, too."""
    current = data_directory(directory)
    parts: list[object] = [str(current)]
    for name in names:
        try:
            status = (current / name).stat()
        except OSError:
            parts.append(None)
        else:
            parts.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(parts)


def read_together(directory: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Read files of one and the same version of ``directory``.

    Raises:
        OSError: a file cannot be read, also when the version went away twice while it was read.
    """
    wanted = tuple(names)
    with contextlib.suppress(FileNotFoundError):
        return _read(data_directory(directory), wanted)
    return _read(data_directory(directory), wanted)  # the version was replaced in between


def _read(directory: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in names}
