"""A real MCP server for tests, as a process of its own: ``python -P mcp_server.py stdio|PORT [FILE]``.

``FILE`` gets the headers of every HTTP request, a JSON object per line.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

if __name__ != "__main__":
    from tests.support.waiting import wait_until

START_SECONDS = 30.0


def serve(where: str, record: Path | None) -> None:
    """Serve until the process ends."""
    import uvicorn
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("tests", log_level="ERROR")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def process() -> int:
        """Tell the id of the process."""
        return os.getpid()

    @server.tool()
    def fail() -> str:
        """Fail."""
        raise ToolError("no such thing")

    @server.tool()
    async def wait(seconds: float) -> str:
        """Wait."""
        await asyncio.sleep(seconds)
        return "done"

    @server.tool()
    def environment(name: str) -> str:
        """Tell a variable of the environment."""
        return os.environ.get(name, "not set")

    if where == "stdio":
        server.run("stdio")
        return
    application: Any = server.streamable_http_app()

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and record is not None:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            with record.open("a") as file:
                file.write(json.dumps(headers) + "\n")
        await application(scope, receive, send)

    uvicorn.run(recording, host="127.0.0.1", port=int(where), log_level="error")


class McpProcess:
    """``with McpProcess(directory) as mcp:`` answers at ``mcp.url``; :meth:`kill` and :meth:`start` it."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._record = directory / f"mcp-{self.port}.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of all requests, oldest first."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        return [json.loads(line) for line in lines]

    def start(self) -> None:
        """Start the server, always on the same port, and wait until it listens."""
        arguments = ("-P", __file__, str(self.port), str(self._record))
        self._process = subprocess.Popen([sys.executable, *arguments])
        wait_until(self._listens, "the MCP server listens", timeout=START_SECONDS)

    def kill(self) -> None:
        """Kill the server, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the MCP server ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)
