"""How long processes take to start, and how much memory they have then."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.common.machine import ROOT, clean_environment
from benchmarks.runtime.servers import until_ready

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Prints what a program in this interpreter has loaded, and sleeps until it is killed.
_REPORT: Final = """
import json, sys, time
print(json.dumps({"message": "there", "modules": len(sys.modules)}), flush=True)
time.sleep(60)
"""
#: Says at the end what a program used. The kernel's own peak would begin with that of the parent.
_AT_END: Final = """
import atexit, sys
def _at_end():
    with open("/proc/self/status") as status:
        kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    sys.stderr.write('{"rss": %s, "modules": %d}' % (int(kib) / 1024, len(sys.modules)))
atexit.register(_at_end)
"""
_CLI: Final = """
from aixgo_cli.main import main
main()
"""
#: All that the operator imports, its settings read and its parts made; what follows needs a cluster.
OPERATOR: Final = """
import sys
from pathlib import Path
from aixgo_operator.app import logs
from aixgo_operator.app.main import load_settings
logs.configure("INFO")
settings = load_settings(Path(sys.argv[1]))
import uvloop
from aixgo_operator.app.process import Process
process = Process(settings, health_host="127.0.0.1")
"""


def program(code: str, *arguments: str) -> list[str]:
    """Return the command that runs some code, says so, and waits."""
    return [sys.executable, "-c", code + _REPORT, *arguments]


def to_its_end(code: str, *arguments: str) -> list[str]:
    """Return the command that runs some code and says what it used."""
    return [sys.executable, "-c", _AT_END + code, *arguments]


def cli(*arguments: str) -> list[str]:
    """Return the command ``aixgo`` with arguments."""
    return to_its_end(_CLI, *arguments)


def operator_program(settings: Path) -> list[str]:
    """Return the command that makes an operator."""
    return program(OPERATOR, str(settings))


def time_to(command: Sequence[str], events: Sequence[str]) -> dict[str, float]:
    """Return milliseconds and MiB until a process has said all ``events`` on its standard output; it is
    killed then. Without events: until it ends.

    Raises:
        RuntimeError: it ended too early, or badly.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    if not events:
        _, errors = process.communicate()
        elapsed = time.perf_counter() - begin
        if process.returncode != 0:
            raise RuntimeError(f"{command}: exit code {process.returncode}")
        return {"ms": elapsed * 1e3, **json.loads(errors.splitlines()[-1])}
    try:
        said = until_ready((line.decode() for line in process.stdout), events)
        numbers = {"ms": (time.perf_counter() - begin) * 1e3, "rss": resident_mib(process.pid)}
    except RuntimeError as error:
        assert process.stderr is not None
        text = process.stderr.read().decode(errors="replace")[-2000:]
        raise RuntimeError(f"{command}: {error}: {text}") from error
    finally:
        process.kill()
        process.communicate()
    return numbers | ({"modules": said["modules"]} if "modules" in said else {})


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
