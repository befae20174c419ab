"""``python -m benchmarks.operator``: one run, a verdict per goal."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.common.command import finish, now
from benchmarks.common.environment import locked_python
from benchmarks.common.goals import judge
from benchmarks.common.machine import ROOT, about_machine, load, say
from benchmarks.common.results import Results
from benchmarks.operator.goals import goals
from benchmarks.operator.report import CHART, markdown
from benchmarks.operator.site import measured

_LIBRARIES = ("kopf", "kubernetes", "aiohttp", "pydantic", "uvloop")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=__doc__)
    parser.add_argument("--agents", type=int, default=5000, help="size of the large installation (5000)")
    parser.add_argument("--small", type=int, help="size of the small one (a fifth)")
    parser.add_argument("--steady", type=float, default=60.0, help="seconds of the steady state (60)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "operator")
    return parser.parse_args()


def main() -> int:
    """Run, print and write."""
    arguments = _arguments()
    # matplotlib is in the environment of another benchmark.
    drawing = locked_python(ROOT / "benchmarks" / "sessions" / "requirements.lock", say)
    arguments.out.mkdir(parents=True, exist_ok=True)
    small = arguments.small or arguments.agents // 5
    about = {
        **about_machine(),
        "versions": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        "load before": load(),
    }
    results = Results()
    for agents in (small, arguments.agents):
        with tempfile.TemporaryDirectory(dir=arguments.out, prefix="logs-") as folder:
            for step, numbers in measured(agents, Path(folder), steady=arguments.steady).items():
                results.add(step, str(agents), numbers)
    now(about)
    verdicts = judge(goals(str(small), str(arguments.agents)), results)
    text = markdown(results, verdicts, about)
    return finish(arguments.out, text, results, verdicts, about, CHART, drawing)


if __name__ == "__main__":
    sys.exit(main())
