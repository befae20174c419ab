"""``python -m tests.support.cluster``: the test cluster and the project's images from the command line."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster import packages
from tests.support.cluster.cache import cache_dir
from tests.support.cluster.commands import ClusterError
from tests.support.cluster.kind import KindCluster, cluster

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Results go to standard output, progress and errors to standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the cluster, or do nothing if it is up")
    up.add_argument("--nodes", type=int, default=1)
    up.add_argument("--audit", action="store_true", help="write an API audit log")
    up.add_argument("--fast", action="store_true", help="notice lost nodes and load within seconds")
    up.add_argument("--metrics", action="store_true", help="run metrics-server")
    commands.add_parser("down", help="remove the cluster and its traces on this machine")
    commands.add_parser("status", help="what is running, as JSON")
    commands.add_parser("kubeconfig", help="print the kubeconfig's path")
    commands.add_parser("env", help="print shell commands that set KUBECONFIG and PATH")
    commands.add_parser("prerequisites", help="install the Debian packages that every test run needs")
    load = commands.add_parser("load", help="load image archives into all nodes")
    load.add_argument("archives", nargs="+", type=Path)
    images = commands.add_parser(
        "images", help="build the project's images; prints name, reference and archive"
    )
    images.add_argument("names", nargs="*", help="only these")
    images.add_argument("--load", action="store_true", help="and load them into the cluster")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.command == "prerequisites":
        # What a cluster needs besides is installed when one is started, if it is not Docker's.
        packages.require(packages.REDIS, what_for="the tests")
        return 0
    chosen = cluster()
    match options.command:
        case "up":
            chosen.up(nodes=options.nodes, audit=options.audit, fast=options.fast, metrics=options.metrics)
            print(chosen.kubeconfig)
        case "down":
            chosen.down()
        case "status":
            status = (
                chosen.status() if isinstance(chosen, KindCluster) else {"current": str(chosen.kubeconfig)}
            )
            print(json.dumps(status, indent=2))
            return 0 if status.get("running", True) else 1
        case "kubeconfig":
            print(chosen.kubeconfig)
        case "env":
            print(f"export KUBECONFIG={shlex.quote(str(chosen.kubeconfig))}")
            path = os.pathsep.join([str(cache_dir() / "bin"), os.environ.get("PATH", os.defpath)])
            print(f"export PATH={shlex.quote(path)}")
        case "load":
            chosen.load_image(*options.archives)
        case "images":
            from tests.support.cluster import images

            built = images.build(*options.names)
            for name, (reference, archive) in built.items():
                print(f"{name}\t{reference}\t{archive}")
            if options.load:
                chosen.load_image(*(archive for _, archive in built.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
