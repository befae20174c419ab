"""The command starts fast because it loads only what it needs."""

import json
import subprocess
import sys

import pytest

HEAVY = {"grpc", "redis", "kopf", "kubernetes", "aiohttp", "pydantic_ai", "yaml", "cryptography"}


def modules_after(*arguments: str) -> set[str]:
    program = (
        "import json, sys\n"
        "from aixgo_cli.main import main\n"
        f"sys.argv = ['aixgo', *{list(arguments)!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print()\nprint(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        ("version",),
        ("call", "--help"),
        ("session", "list", "--help"),
        ("serve", "--help"),
    ],
    ids=" ".join,
)
def test_loads_no_heavy_library(arguments: tuple[str, ...]) -> None:
    loaded = modules_after(*arguments)
    assert "typer" in loaded
    heavy = loaded & HEAVY
    assert not heavy
