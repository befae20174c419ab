"""``python -m benchmarks.runtime``: one run, a verdict per goal."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.common.environment import locked_python
from benchmarks.common.goals import judge
from benchmarks.common.machine import BEGIN, ROOT, about_machine, load, output, say
from benchmarks.common.tables import as_json, write
from benchmarks.runtime.driver import Cores, run
from benchmarks.runtime.goals import GOALS
from benchmarks.runtime.report import CHART, markdown
from tests.support.redis_server import REDIS_SERVER

_LIBRARIES = ("grpcio", "protobuf", "uvloop", "redis", "hiredis", "kopf", "kubernetes")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds")
    parser.add_argument("--rounds", type=int, help="rounds (5, with --quick 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "runtime")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.quick else 5
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
    about["load after"] = load()
    about["seconds"] = round(time.monotonic() - BEGIN)
    verdicts = judge(GOALS, results)
    text = markdown(results, verdicts, about)
    write(arguments.out, text, as_json(results, verdicts, about, CHART), drawing)
    print(text)
    say(f"written to {arguments.out}: report.md, result.json, chart.png")
    for key, error in results.errors.items():
        say(f"{key}: {error}")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
