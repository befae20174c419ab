"""Bare grpc.aio + uvloop: the same protobuf and no runtime around it.

``python -m benchmarks.runtime.bare JSON``; when ``tuned``, gRPC is set up as the runtime's is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop
from benchmarks.runtime.agents import CHUNK, CHUNKS
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from aixgo.rpc import agent_service_pb2 as pb
from aixgo.rpc import agent_service_pb2_grpc as pb_grpc
from aixgo.rpc.accepting import make_server
from aixgo.rpc.threads import let_the_loop_go_first

Context = grpc.aio.ServicerContext[Any, Any]


class Echo(pb_grpc.AgentServiceServicer):
    """Answers with what it gets, or with a stream of tokens."""

    def __init__(self) -> None:
        self._chunks = [
            pb.ExecuteStreamResponse(
                partial=pb.Message(
                    id="00000000-0000-4000-8000-000000000000",
                    type="assistant",
                    payload=json.dumps({"text": CHUNK}),
                    timestamp="2026-01-01T00:00:00Z",
                )
            )
            for _ in range(CHUNKS)
        ]

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteResponse:  # noqa: N802
        del context
        return pb.ExecuteResponse(output=request.input)

    async def ExecuteStream(self, request: pb.ExecuteRequest, context: Context) -> None:  # noqa: N802
        for chunk in self._chunks:
            await context.write(chunk)
        await context.write(pb.ExecuteStreamResponse(final=pb.ExecuteResponse(output=request.input)))


async def serve(tls: Path | None, *, tuned: bool) -> None:
    """Serve until killed; the port is printed when it is open."""
    server = make_server([]) if tuned else grpc.aio.server()
    pb_grpc.add_AgentServiceServicer_to_server(Echo(), server)  # type: ignore[no-untyped-call]
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        key, certificate, ca = ((tls / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))
        credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    if tuned:
        let_the_loop_go_first()
    await server.start()
    print(json.dumps({"message": "listening", "grpc_port": port}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    directory = wanted["tls"]
    uvloop.run(serve(Path(directory) if directory else None, tuned=wanted["tuned"]))
