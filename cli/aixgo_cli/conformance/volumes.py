"""Mounted directories as the kubelet changes them."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def replace_volume(directory: Path, files: Mapping[str, bytes]) -> None:
    """Replace what a mounted directory holds in one step: a new directory, then a swap of a symlink.

    Keys of ``files`` may be paths (``secret/key``), as in a projected volume with several sources.
    """
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / "..data"
    old = directory / link.readlink() if link.is_symlink() else None
    version = directory / f"..{secrets.token_hex(8)}"
    version.mkdir()
    for name, content in files.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(content)
    new = directory / "..data_tmp"
    new.symlink_to(version.name)
    new.rename(link)
    for name in {Path(path).parts[0] for path in files}:
        visible = directory / name
        if not visible.is_symlink():
            visible.symlink_to(Path("..data") / name)
    if old is not None:
        shutil.rmtree(old)
