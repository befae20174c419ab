"""``python -m benchmarks.runtime``: one run, a verdict per goal."""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.command import command_line, finish, now, rounds
from benchmarks.common.environment import locked_python
from benchmarks.common.goals import judge, read_goals
from benchmarks.common.machine import ROOT, about_machine, load, output, say
from benchmarks.runtime.driver import Cores, run
from benchmarks.runtime.report import CHART, markdown
from tests.support.redis_server import REDIS_SERVER

if TYPE_CHECKING:
    import argparse

_LIBRARIES = ("grpcio", "protobuf", "uvloop", "redis", "hiredis", "kopf", "kubernetes")


def _arguments() -> argparse.Namespace:
    parser = command_line("runtime", __doc__)
    arguments = parser.parse_args()
    arguments.rounds = rounds(arguments)
    return arguments


def main() -> int:
    """Run, print and write."""
    arguments = _arguments()
    # matplotlib is in the environment of the other benchmark.
    drawing = locked_python(ROOT / "benchmarks" / "sessions" / "requirements.lock", say)
    arguments.out.mkdir(parents=True, exist_ok=True)
    cores = Cores.of_this_machine()
    about = {
        **about_machine(),
        "rounds": arguments.rounds,
        "quick": arguments.quick,
        "cores": f"servers {cores.server}, client {cores.client}, redis {cores.redis}",
        "versions": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        "redis": output(REDIS_SERVER, "--version"),
        "load before": load(),
    }
    seconds, samples = (0.2, 1) if arguments.quick else (0.5, 3)
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix="servers-") as name:
        about["file system"] = output("stat", "-f", "-c", "%T", name)
        results = run(Path(name), arguments.rounds, seconds, samples, cores)
    now(about)
    verdicts = judge(read_goals(Path(__file__).with_name("goals.csv")), results)
    text = markdown(results, verdicts, about)
    return finish(arguments.out, text, results, verdicts, about, CHART, drawing)


if __name__ == "__main__":
    sys.exit(main())
