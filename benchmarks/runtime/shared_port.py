"""``aixgo serve`` with SO_REUSEPORT, which the product refuses: two runtimes on a port share calls silently.

``python -m benchmarks.runtime.shared_port ROOT``. Everything else is the product's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aixgo.contract import RuntimePaths
from aixgo.rpc.server import server_options
from aixgo.server import app
from aixgo.server.main import run

if TYPE_CHECKING:
    from aixgo.contract import GrpcConfig


def _sharing(config: GrpcConfig, drain_seconds: int) -> list[tuple[str, int]]:
    others = [option for option in server_options(config, drain_seconds) if option[0] != "grpc.so_reuseport"]
    return [*others, ("grpc.so_reuseport", 1)]


if __name__ == "__main__":
    vars(app)["server_options"] = _sharing
    sys.exit(run(RuntimePaths.under(Path(sys.argv[1])), host="127.0.0.1"))
