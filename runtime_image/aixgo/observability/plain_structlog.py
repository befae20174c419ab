"""structlog without rich.

structlog loads rich as soon as it is installed, which it always is beside the command ``aixgo``: 150 ms and
11 MiB that JSON logs never use. In text logs its tracebacks would show local variables, and so secrets.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import structlog
else:
    _modules: dict[str, Any] = sys.modules
    _loaded = {name: module for name, module in _modules.items() if name.partition(".")[0] == "rich"}
    _names = {"rich", *_loaded}
    _modules.update(dict.fromkeys(_names))  # an import of None fails
    try:
        import structlog
    finally:
        for _name in _names:
            del _modules[_name]
        _modules.update(_loaded)

__all__ = ["structlog"]
