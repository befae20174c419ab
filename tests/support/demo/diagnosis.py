"""What is worth seeing when a step has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.cluster.commands import ClusterError
from tests.support.demo.steps import NAMESPACE, OBJECTS, OPERATOR_NAMESPACE, command

if TYPE_CHECKING:
    from tests.support.cluster.kind import Cluster


def diagnose(chosen: Cluster) -> str:
    """Return conditions, pods, events and the ends of the logs; where something cannot be read, why."""
    parts = []
    for target in OBJECTS:
        result = command(chosen, "explain", target, "-n", NAMESPACE)
        parts.append(result.stdout.rstrip() or result.stderr.rstrip())
    quickstart, system = ("-n", NAMESPACE), ("-n", OPERATOR_NAMESPACE)
    for title, arguments in (
        ("pods", ("get", "pods", "-A", "-o", "wide")),
        ("events", (*quickstart, "get", "events", "--sort-by=.lastTimestamp")),
        (
            "operator",
            (*system, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=40", "--prefix"),
        ),
        ("runtime", (*quickstart, "logs", "-l", "aixgo.dev/runtime=agents", "--tail=30", "--prefix")),
        ("redis", (*quickstart, "logs", "-l", "aixgo.dev/session-backend=sessions", "--tail=15", "--prefix")),
    ):
        try:
            text = chosen.kubectl(*arguments, timeout=30)
        except (ClusterError, OSError) as error:
            text = str(error)
        parts.append(f"--- {title}\n" + "\n".join(text.rstrip().splitlines()[-60:]))
    return "\n\n".join(parts)
