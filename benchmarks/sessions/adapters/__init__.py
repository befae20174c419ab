"""One module per store. Each is imported only in the environment that has what it needs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.sessions.adapters.base import Adapter

#: Name of a row -> module and class.
_HOMES: Final = {
    "file-fsync": ("aixgo_file", "AixgoFileFsync"),
    "file-os": ("aixgo_file", "AixgoFileOs"),
    "file-os@10": ("aixgo_file", "AixgoFileOs10"),
    "file-os@5000": ("aixgo_file", "AixgoFileOs5000"),
    "redis": ("aixgo_redis", "AixgoRedis"),
    "redis-always": ("aixgo_redis", "AixgoRedisAlways"),
    "limits": ("limits", "Limits"),
    "oa-sqlite": ("openai_agents", "OpenAISQLite"),
    "oa-redis": ("openai_agents", "OpenAIRedis"),
    "lg-sqlite": ("langgraph_sqlite", "LangGraphSQLite"),
    "adk-db": ("google_adk", "AdkDatabase"),
    "adk-sqlite": ("google_adk", "AdkSQLite"),
    "sqlite-full": ("handwritten_sqlite", "SQLiteFull"),
    "sqlite-normal": ("handwritten_sqlite", "SQLiteNormal"),
    "go-file": ("go_file", "GoFile"),
    "go-file@5000": ("go_file", "GoFile5000"),
    "go-redis": ("go_redis", "GoRedis"),
}


def load(row: str, **places: Any) -> Adapter:
    """Return a new adapter. ``places`` says where it may store, see :class:`base.Adapter`."""
    module, name = _HOMES[row]
    adapter: Adapter = getattr(importlib.import_module(f"{__name__}.{module}"), name)(**places)
    return adapter
