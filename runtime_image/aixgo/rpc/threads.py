"""How gRPC's threads and the event loop share a core (decision 0019)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Final

#: Read by gRPC when it is imported.
VARIABLE: Final = "GRPC_EXPERIMENTS"
#: gRPC's switch for connections that are read by the thread that waits for calls, not by a pool of threads.
ONE_THREAD: Final = "-event_engine_listener"
#: With "false" gRPC leaves a new process alone between fork and exec. What it does there by default can abort
#: that process while calls are running; only programs are started here, such as MCP servers.
_AT_FORK: Final = "GRPC_ENABLE_FORK_SUPPORT"
#: The thread that hands what happened to the event loop ends in this name.
_POLLER: Final = "(_poll_wrapper)"
#: How much less the kernel prefers it to the event loop. At 5 half of the gain is lost; at 19 calls wait long
#: beside a thread that computes.
LOWER: Final = 10


def set_up_grpc() -> None:
    """Let the servers of this process read their connections in one thread, and programs start safely.

    To be called before gRPC is imported; what the environment says already stays.
    """
    os.environ.setdefault(VARIABLE, ONE_THREAD)
    os.environ.setdefault(_AT_FORK, "false")


def let_the_loop_go_first() -> None:
    """Let gRPC's thread not interrupt the event loop on a core that they share.

    It is heard when the loop waits. To be called when there is a server; again does nothing. In a container
    only its own threads compete by these priorities.
    """
    if sys.platform != "linux":  # elsewhere a priority is one of a whole process
        return
    normal = os.getpriority(os.PRIO_PROCESS, os.getpid())
    for thread in threading.enumerate():
        if thread.name.endswith(_POLLER) and thread.native_id is not None:
            lower = min(normal + LOWER, 19)
            with contextlib.suppress(OSError):  # a sandbox may not allow it; it is only faster with it
                if os.getpriority(os.PRIO_PROCESS, thread.native_id) < lower:
                    os.setpriority(os.PRIO_PROCESS, thread.native_id, lower)
