"""``python -m benchmarks.sessions``: one run, every store, a verdict per goal."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.environment import locked_python
from benchmarks.common.goals import judge
from benchmarks.common.machine import BEGIN, ROOT, about_machine, load, output, say
from benchmarks.common.tables import as_json, write
from benchmarks.sessions.driver import run
from benchmarks.sessions.goals import GOALS
from benchmarks.sessions.plan import plan
from benchmarks.sessions.report import chart, markdown
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


def _about(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    return {
        **about_machine(),
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "event loop": arguments.loop,
        "file system": output("stat", "-f", "-c", "%T", str(directory)),
        "redis": output(REDIS_SERVER, "--version"),
        "load before": load(),
    }


def main() -> int:
    """Run, print and write."""
    arguments = _arguments()
    theirs = locked_python(Path(__file__).with_name("requirements.lock"), say)
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
            results = run(groups, arguments.rounds, places, (Path(sys.executable), theirs), say)
    about["load after"] = load()
    about["seconds"] = round(time.monotonic() - BEGIN)
    verdicts = judge(GOALS, results)
    text = markdown(results, verdicts, about)
    write(arguments.out, text, as_json(results, verdicts, about, chart(results)), theirs)
    print(text)
    say(f"written to {arguments.out}: report.md, result.json, chart.png")
    for key, error in results.errors.items():
        say(f"{key}: {error}")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
