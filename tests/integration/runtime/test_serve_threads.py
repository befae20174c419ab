"""Decision 0019: which of gRPC's threads work for a call, and that they do not interrupt the event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.grpc_at_fork import environment
from tests.support.pki import Leaf
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, custom, runtime_json

from aixgo.rpc.threads import LOWER

CALLS = 200


def threads(pid: int) -> dict[int, tuple[str, int, int]]:
    """Return name, nice value and count of voluntary switches of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(")")
        status = (task / "status").read_text().split()
        switches = int(status[status.index("voluntary_ctxt_switches:") + 1])
        found[int(task.name)] = name, int(fields.split()[16]), switches
    return found


async def test_grpcs_thread_leaves_the_core_to_the_event_loop(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        pid = runtime.process.pid
        own = threads(pid)
        (poller,) = (tid for tid, (_, nice, _) in own.items() if nice == min(own[pid][1] + LOWER, 19))
        async with runtime.client(me) as client:
            await client.execute("recall", "x")
            before = threads(pid)
            for _ in range(CALLS):
                await client.execute("recall", "x")
            after = threads(pid)
        assert after[poller][2] > before[poller][2] + CALLS // 4  # it is the one that works for calls


async def test_no_pool_of_threads_reads_the_connections(files: RuntimeFiles, me: Leaf) -> None:
    files.configure(runtime_json([custom("recall")]))
    async with RuntimeProcess(files) as runtime:
        await runtime.ready()
        async with runtime.client(me) as client:
            await client.execute("recall", "x")
            before = threads(runtime.process.pid)
            for _ in range(CALLS):
                await client.execute("recall", "x")
            after = threads(runtime.process.pid)
        pool = {tid: switches for tid, (name, _, switches) in after.items() if name == "event_engine"}
        woken = sum(switches - before.get(tid, ("", 0, 0))[2] for tid, switches in pool.items())
        assert woken < CALLS  # else it is three to four times per call
        assert "experiment" not in "".join(runtime.output).lower()  # gRPC names those that it does not know


PROGRAMS = """
import asyncio, sys
import aixgo.server, grpc, uvloop

async def echo(request, context):
    return request

async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t", {"echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/t/echo")
        async def load():
            while True:
                await call(b"x")
        tasks = [asyncio.create_task(load()) for _ in range(16)]
        for _ in range(40):
            program = await asyncio.create_subprocess_exec("/bin/true")
            assert await program.wait() == 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await server.stop(None)

uvloop.run(main())
"""


def test_programs_are_started_while_calls_run() -> None:
    """gRPC's own work between fork and exec says that it skips something, and can abort the program."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "fork" not in done.stderr
