"""``aixgo status``: the fleet at a glance."""

from __future__ import annotations

from typing import Annotated

import typer

from aixgo_cli.options import Context, Kubeconfig, Namespace, connect
from aixgo_cli.output import ListFormat, stderr, waiting, write_data, write_table

_EPILOG = """\b
Examples:
  aixgo status -A
  aixgo status -n quickstart -o json
"""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("status", epilog=_EPILOG)(status)


def status(
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")] = False,
    output: Annotated[ListFormat, typer.Option("-o", "--output", help="Format.")] = ListFormat.TABLE,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show every session backend, runtime and agent: ready or not, why, certificates and session backends."""
    from aixgo_cli.fleet import rows

    with waiting("asking the cluster"):
        cluster = connect(kubeconfig, context, namespace)
        scope = None if all_namespaces else cluster.namespace
        kinds = ("SessionBackend", "AgentRuntime", "Agent")
        items = [item for kind in kinds for item in cluster.objects(kind, scope)]
    found = rows(items)
    if output is not ListFormat.TABLE:
        write_data([row.as_data() for row in found], output)
        return
    if not found:
        stderr().print(f"Nothing in {'any namespace' if scope is None else f'namespace {scope}'}.")
        return
    write_table(
        ["NAMESPACE", "KIND", "NAME", "READY", "REASON", "SESSIONS", "CERTIFICATE EXPIRES", "MESSAGE"],
        [
            (
                row.namespace,
                row.kind,
                row.name,
                row.ready,
                row.reason,
                row.session_backend or "-",
                row.certificate_expires or "-",
                row.message,
            )
            for row in found
        ],
        wrap=True,
    )
