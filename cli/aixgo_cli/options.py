"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aixgo_cli.kube import Cluster

PANEL = "In the cluster"

Namespace = Annotated[
    str | None,
    typer.Option("-n", "--namespace", help="Namespace; else the context's own.", rich_help_panel=PANEL),
]
Context = Annotated[
    str | None,
    typer.Option("--context", help="Context of the kubeconfig; else the current one.", rich_help_panel=PANEL),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig",
        help="Kubeconfig file; else KUBECONFIG, else ~/.kube/config.",
        metavar="FILE",
        rich_help_panel=PANEL,
    ),
]


def connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
    """Connect to the cluster that the options name."""
    from aixgo_cli.kube import Cluster

    return Cluster.connect(kubeconfig=kubeconfig, context=context, namespace=namespace)
