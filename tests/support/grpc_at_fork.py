"""Imported before gRPC by whatever calls over gRPC and starts programs: gRPC then leaves these alone.

Between fork and exec it looks after its threads otherwise, and can abort the program while calls run
("Check failed: next_worker->state == KICKED"). ``aixgo serve`` sees to that itself and is tested so.
"""

import os

VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"
os.environ.setdefault(VARIABLE, "false")


def environment() -> dict[str, str]:
    """Return the environment as it would be without this, for programs of ours."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}
