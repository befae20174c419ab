"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aixgo_cli.kube import Cluster

PANEL = "In the cluster"
DIRECTLY = "Directly"
DEFAULT_PREFIX = "aixgo:sessions:"

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
Client = Annotated[
    str | None,
    typer.Option(
        "--client",
        help="Client of the runtime (spec.clients) to call as; else one whose Secret you may read.",
        rich_help_panel=PANEL,
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Call this address.", rich_help_panel=DIRECTLY),
]
TlsDirectory = Annotated[
    Path | None,
    typer.Option(
        "--tls-dir",
        help="Folder with tls.crt, tls.key and ca.crt.",
        metavar="DIR",
        rich_help_panel=DIRECTLY,
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        "--server-name", help="Name in the server's certificate; else the host.", rich_help_panel=DIRECTLY
    ),
]
StorePrefix = Annotated[
    str,
    typer.Option(
        "--prefix",
        help="Prefix of the keys in Redis. That of a runtime ends with its namespace and a colon.",
        rich_help_panel=DIRECTLY,
    ),
]


def connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
    """Connect to the cluster that the options name."""
    from aixgo_cli.kube import Cluster

    return Cluster.connect(kubeconfig=kubeconfig, context=context, namespace=namespace)
