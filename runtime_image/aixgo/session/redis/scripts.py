"""The Lua scripts: each change of a session is one call, all or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

_CHANGES: Final = frozenset({"create", "append", "restore", "checkpoint", "delete", "import"})


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a script and the SHA-1 under which Redis keeps it."""

    name: str
    text: str
    sha: str

    @property
    def changes(self) -> bool:
        """Whether it changes what is stored; leases do not count."""
        return self.name in _CHANGES


@cache
def script(name: str, *, alone: bool = False) -> Script:
    """Return a script of the folder ``lua``, with what all of them share unless it stands alone."""
    folder = resources.files(__package__).joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    if not alone:
        text = folder.joinpath("common.lua").read_text(encoding="utf-8") + text
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha)
