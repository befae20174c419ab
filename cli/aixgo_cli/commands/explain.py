"""``aixgo explain``: why an object is not Ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.options import Context, Kubeconfig, Namespace, connect
from aixgo_cli.output import AnswerFormat, stdout, waiting, write_data, write_table

if TYPE_CHECKING:
    from aixgo_cli.kube import Cluster, Object

_EPILOG = """\b
Examples:
  aixgo explain agentruntime/agents -n quickstart
  aixgo explain agent/assistant -n quickstart -o json
"""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("explain", epilog=_EPILOG)(explain)


def explain(
    target: Annotated[
        str,
        typer.Argument(
            metavar="KIND/NAME",
            help="agentruntime/NAME, agent/NAME or sessionbackend/NAME.",
            show_default=False,
        ),
    ],
    output: Annotated[AnswerFormat, typer.Option("-o", "--output", help="Format.")] = AnswerFormat.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show all conditions of an object and how each of its pods is."""
    from aixgo_cli.fleet import living_first, pod_lines

    kind, name = parse(target)
    with waiting("asking the cluster"):
        cluster = connect(kubeconfig, context, namespace)
        item = cluster.get(kind, cluster.namespace, name)
        item.setdefault("kind", kind)
        pods = living_first(_pods(cluster, item))
    conditions = item.get("status", {}).get("conditions") or []

    if output is not AnswerFormat.TEXT:
        write_data(
            {
                "kind": kind,
                "namespace": cluster.namespace,
                "name": name,
                "generation": item["metadata"].get("generation"),
                "conditions": conditions,
                "pods": [{"name": pod["metadata"]["name"], "state": pod_lines(pod)} for pod in pods],
            },
            output,
        )
        return
    console = stdout()
    console.print(f"{kind} {cluster.namespace}/{name}, generation {item['metadata'].get('generation')}")
    write_table(
        ["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"],
        [
            (
                entry["type"],
                entry["status"],
                entry["reason"],
                entry["lastTransitionTime"],
                entry.get("message", ""),
            )
            for entry in conditions
        ],
        wrap=True,
    )
    console.print("Pods:" if pods else "No pods.")
    for pod in pods:
        first, *details = pod_lines(pod)
        console.print(f"  {first}")
        for line in details:
            console.print(f"    {line}")


def parse(target: str) -> tuple[str, str]:
    """Return kind and name of ``KIND/NAME``. Raises CliError (usage) for anything else."""
    from aixgo_cli.kube import KIND_NAMES

    kind, slash, name = target.partition("/")
    if not slash or not name or kind.lower() not in KIND_NAMES:
        raise CliError(
            f"{target!r} is no KIND/NAME",
            then="write agentruntime/NAME, agent/NAME or sessionbackend/NAME",
            code=ExitCode.USAGE,
        )
    return KIND_NAMES[kind.lower()], name


def _pods(cluster: Cluster, item: Object) -> list[Any]:
    """Return the pods that serve an object; of an Agent those of its runtime."""
    from aixgo_operator.api.constants import LABEL_RUNTIME, LABEL_SESSION_BACKEND
    from aixgo_operator.domain.naming import label_value

    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    if item["kind"] == "SessionBackend":
        return cluster.pods(namespace, f"{LABEL_SESSION_BACKEND}={label_value(name)}")
    if item["kind"] == "Agent":
        reference = item["spec"]["runtimeRef"]
        namespace, name = reference.get("namespace") or namespace, reference["name"]
    return cluster.pods(namespace, f"{LABEL_RUNTIME}={label_value(name)}")
