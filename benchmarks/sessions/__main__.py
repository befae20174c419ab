"""``python -m benchmarks.sessions``: one run, every store, a verdict per goal."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.command import command_line, finish, now, rounds
from benchmarks.common.environment import locked_python
from benchmarks.common.goals import judge, read_goals
from benchmarks.common.machine import about_machine, load, output, say
from benchmarks.sessions.driver import run
from benchmarks.sessions.plan import plan
from benchmarks.sessions.report import chart, markdown
from tests.support.redis_server import REDIS_SERVER, running_redis

if TYPE_CHECKING:
    import argparse


def _arguments() -> argparse.Namespace:
    parser = command_line("sessions", __doc__)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="of every row")
    arguments = parser.parse_args()
    arguments.rounds = rounds(arguments)
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
    now(about)
    verdicts = judge(read_goals(Path(__file__).with_name("goals.csv")), results)
    text = markdown(results, verdicts, about)
    return finish(arguments.out, text, results, verdicts, about, chart(results), theirs)


if __name__ == "__main__":
    sys.exit(main())
