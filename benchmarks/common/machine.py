"""Where and when a run was made, and saying how far it is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
BEGIN: Final = time.monotonic()


def say(text: str) -> None:
    """Tell the user how far it is."""
    print(f"{time.monotonic() - BEGIN:6.1f} s  {text}", file=sys.stderr, flush=True)


def about_machine() -> dict[str, Any]:
    """Return date, version and machine."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": output("git", "describe", "--always", "--dirty"),
        "machine": f"{os.cpu_count()} cores, {processor}, Linux {platform.release()}",
    }


def load() -> str:
    """Return the load averages."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def output(*command: str) -> str:
    """Return what a command says about the machine."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def clean_environment() -> dict[str, str]:
    """Return an environment without anybody's keys: SDKs of peers look for them."""
    kept = ("HOME", "PATH", "LANG", "TMPDIR")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    return variables | {
        "PYTHONPATH": str(ROOT),
        # As in an image: installed packages are compiled, and a start does not do it.
        "PYTHONPYCACHEPREFIX": str(ROOT / "build/benchmarks/bytecode"),
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
