"""``python -m benchmarks.sessions``: one run, every store, a verdict per goal."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.sessions.driver import ROOT, run
from benchmarks.sessions.environment import peers_python
from benchmarks.sessions.goals import judge
from benchmarks.sessions.plan import plan
from benchmarks.sessions.report import as_json, markdown
from tests.support.redis_server import REDIS_SERVER, running_redis


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds")
    parser.add_argument("--rounds", type=int, help="rounds (5, with --quick 3)")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="of every row")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "sessions")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.quick else 5
    return arguments


_BEGIN = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGIN:6.1f} s  {text}", file=sys.stderr, flush=True)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _about(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "event loop": arguments.loop,
        "machine": f"{os.cpu_count()} cores, {processor}, Linux {platform.release()}",
        "file system": _output("stat", "-f", "-c", "%T", str(directory)),
        "redis": _output(REDIS_SERVER, "--version"),
        "load before": _load(),
    }


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> int:
    """Run, print and write."""
    arguments = _arguments()
    theirs = peers_python(_say)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix="stores-") as name:
        directory = Path(name)
        about = _about(arguments, directory)
        everysec = running_redis(
            directory / "server-everysec", config=("appendonly yes", "appendfsync everysec")
        )
        always = running_redis(directory / "server-always", config=("appendonly yes", "appendfsync always"))
        with everysec as first, always as second:
            places = {
                "directory": str(directory),
                "redis_everysec": first.port,
                "redis_always": second.port,
                "loop": arguments.loop,
            }
            groups = plan(quick=arguments.quick)
            results = run(groups, arguments.rounds, places, (Path(sys.executable), theirs), _say)
    about["load after"] = _load()
    about["seconds"] = round(time.monotonic() - _BEGIN)
    verdicts = judge(results)
    text = markdown(results, verdicts, about)
    (arguments.out / "report.md").write_text(text)
    (arguments.out / "result.json").write_text(json.dumps(as_json(results, verdicts, about), indent=1))
    chart = [str(theirs), str(Path(__file__).with_name("chart.py"))]
    subprocess.run([*chart, str(arguments.out / "result.json"), str(arguments.out / "chart.png")], check=True)
    print(text)
    _say(f"written to {arguments.out}: report.md, result.json, chart.png")
    for key, error in results.errors.items():
        _say(f"{key}: {error}")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
