"""``aixgo serve`` itself, and its options where they are written plainly.

A pod starts with them. Everything else that can be written, help and mistakes included, is for the command in
:mod:`aixgo_cli.commands.processes`, whose library takes longer to load than all that serves.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from aixgo_cli.errors import missing_library

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How the process writes its log.
LogFormat = Literal["json", "text"]
#: How much the process writes to its log.
LogLevel = Literal["debug", "info", "warning", "error"]


class Options(NamedTuple):
    """The options of ``aixgo serve``."""

    #: Folder of the runtime's files. None: the paths in a pod.
    root: Path | None = None
    #: Address to listen on; "" is every address.
    host: str = ""
    log_format: LogFormat = "json"
    log_level: LogLevel = "info"


#: Allocations between two looks for garbage. A call makes hundreds of objects and leaves none in a cycle:
#: with the interpreter's 700 every other call would pay for a look.
_COLLECT_AFTER: Final = 10_000
_CHOICES: Final = {"log_format": get_args(LogFormat), "log_level": get_args(LogLevel)}


def read(arguments: Sequence[str]) -> Options | None:
    """Return the options in the arguments of ``aixgo``.

    Returns:
        None if they are those of another command, or not all written as ``--name value`` or ``--name=value``
        with a value that can be used.
    """
    if not arguments or arguments[0] != "serve":
        return None
    chosen: dict[str, Any] = {}
    rest = list(arguments[1:])
    while rest:
        written, equals, value = rest.pop(0).partition("=")
        if not equals:
            value = rest.pop(0) if rest else "-"
        name = written.removeprefix("--").replace("-", "_")
        if not written.startswith("--") or "_" in written or name not in Options._fields:
            return None
        if (
            value.startswith("-")
            or not (value or name == "host")
            or value not in _CHOICES.get(name, (value,))
        ):
            return None
        chosen[name] = Path(value) if name == "root" else value
    options = Options(**chosen)
    return options if options.root is None or options.root.is_dir() else None


def serve(options: Options) -> int:
    """Serve agents until SIGTERM, SIGINT or SIGHUP, and return the exit code.

    Raises:
        CliError: a library is not installed.
    """
    # What is loaded stays for good: looking through it for garbage would take a tenth of the start, and later
    # of every collection.
    gc.disable()
    try:
        from aixgo.contract import RuntimePaths
        from aixgo.server.main import run
    except ModuleNotFoundError as error:
        raise missing_library(error, "runtime") from error
    finally:
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
        gc.enable()
    root = options.root
    paths = RuntimePaths.in_pod() if root is None else RuntimePaths.under(root.resolve())
    return run(paths, host=options.host, log_format=options.log_format, log_level=options.log_level)
