"""Generate the gRPC code in ``aixgo/rpc`` from ``agent_service.proto``.

The result is committed; ``make generate`` runs this.
"""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTO_DIR = Path(__file__).resolve().parent
TARGET_DIR = PROTO_DIR.parent / "aixgo" / "rpc"
#: protoc writes an absolute import of a top-level module; the code lives in a package.
GENERATED_IMPORT = re.compile(r"^import agent_service_pb2 as", re.MULTILINE)


def generate(target: Path) -> None:
    """Write ``agent_service_pb2.py``, its type stub and ``agent_service_pb2_grpc.py`` into ``target``.

    Raises:
        RuntimeError: protoc refused the file; its own message is on stderr.
    """
    well_known_types = resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"--proto_path={PROTO_DIR}",
        f"--proto_path={well_known_types}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        "agent_service.proto",
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed")
    stub = target / "agent_service_pb2_grpc.py"
    code = stub.read_text(encoding="utf-8")
    stub.write_text(
        GENERATED_IMPORT.sub("from aixgo.rpc import agent_service_pb2 as", code), encoding="utf-8"
    )


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET_DIR)
