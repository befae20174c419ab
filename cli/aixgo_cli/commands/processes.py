"""``aixgo serve`` and ``aixgo operator``: the processes of the two images."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from aixgo_cli import serving
from aixgo_cli.errors import missing_library
from aixgo_cli.serving import LogFormat, LogLevel  # noqa: TC001 - typer reads the annotations

#: The option of what talks to a cluster from inside or outside of it.
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Kubeconfig file; else $KUBECONFIG, or the pod's service account.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("serve", epilog="Example: aixgo serve --root ./runtime")(serve)
    group = typer.Typer(epilog="Example: aixgo operator")
    group.callback(invoke_without_command=True)(operator)
    group.command(
        "release-finalizers",
        epilog="Example: aixgo operator release-finalizers --kubeconfig ~/.kube/config",
    )(release_finalizers)
    app.add_typer(group, name="operator")


def serve(
    root: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with config/, tls/, secrets/, session-tls/ and sessions/; else the paths in a pod.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; else every address.", show_default=False)
    ] = "",
    log_format: Annotated[LogFormat, typer.Option(help="Format of the log.")] = "json",
    log_level: Annotated[LogLevel, typer.Option(help="Lowest level that is logged.")] = "info",
) -> None:
    """Serve agents over gRPC, as /etc/aixgo/config/runtime.json says."""
    exit_with(serving.serve(serving.Options(root, host, log_format, log_level)))


def operator(
    context: typer.Context,
    settings: Annotated[
        Path, typer.Option(dir_okay=False, help="Settings file (YAML), as the chart writes it.")
    ] = Path("/etc/aixgo-operator/settings.yaml"),
    kubeconfig: Kubeconfig = None,
    health_host: Annotated[
        str | None,
        typer.Option(help="Address of health and metrics; else every address.", show_default=False),
    ] = None,
    health_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of health and metrics.")] = 8081,
) -> None:
    """Run the operator: turns AgentRuntime, Agent and SessionBackend objects into running agents.

    Exit codes: 0 after SIGTERM; 1 something went wrong; 2 the settings cannot be used; 3 another one leads
    now; 4 the installed CRDs are older than this operator.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        from aixgo_operator.app.main import main
    except ModuleNotFoundError as error:
        raise missing_library(error, "operator") from error
    exit_with(
        main(
            settings=settings,
            kubeconfig=None if kubeconfig is None else str(kubeconfig),
            health_host=health_host,
            health_port=health_port,
        )
    )


def release_finalizers(
    settings: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Settings file of the operator; else all namespaces."),
    ] = None,
    kubeconfig: Kubeconfig = None,
    operator_namespace: Annotated[
        str | None,
        typer.Option(help="Namespace of the operator; else as the settings say.", show_default=False),
    ] = None,
    deployment: Annotated[str, typer.Option(help="Deployment of the operator.")] = "aixgo-operator",
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds that deletions which have begun have to end.")
    ] = 60.0,
) -> None:
    """Stop the operator for good, and release every SessionBackend, so that nothing waits for it for ever.

    No session is touched. The chart's uninstall hook runs this before it deletes the operator.
    """
    try:
        from aixgo_operator.app import main
    except ModuleNotFoundError as error:
        raise missing_library(error, "operator") from error
    exit_with(
        main.release_finalizers(
            settings=settings,
            kubeconfig=None if kubeconfig is None else str(kubeconfig),
            operator_namespace=operator_namespace,
            deployment=deployment,
            wait=wait,
        )
    )


def exit_with(result: Any) -> None:
    """Exit with the code that a process's main function returned; runs it first if it is a coroutine."""
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    raise typer.Exit(int(result or 0))
