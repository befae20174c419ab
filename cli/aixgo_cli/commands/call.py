"""``aixgo call``: one call of an agent."""

from __future__ import annotations

import secrets
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.options import (
    PANEL,
    Address,
    Client,
    Context,
    Kubeconfig,
    Namespace,
    ServerName,
    TlsDirectory,
    connect,
)
from aixgo_cli.output import AnswerFormat, printable, stderr, waiting, write_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aixgo_cli.calls import Answer, Call

_EPILOG = """\b
Examples:
  aixgo call assistant "Hello" -n quickstart
  aixgo call assistant "Remember this." --session new -n quickstart
  aixgo call assistant - --session 3f0c… < question.txt
  aixgo call assistant "Hello" --address agents.example.com:50051 --tls-dir ./client
"""
#: How many pods are tried when one goes away before it has answered.
_ATTEMPTS = 3


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("call", epilog=_EPILOG)(call)


def call(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.", show_default=False)],
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT|-", help="What to say; - reads it from standard input.", show_default=False
        ),
    ],
    session: Annotated[
        str,
        typer.Option(help='Session to go on with, or "new". Without it the call leaves no trace.'),
    ] = "",
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the answer as it is being produced.")
    ] = False,
    user: Annotated[str, typer.Option(help="Owner of the session.")] = "",
    idempotency_key: Annotated[
        str, typer.Option(help="The same key on the same session is executed once.", show_default=False)
    ] = "",
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds until the call is given up; else the agent's own limit."),
    ] = None,
    output: Annotated[AnswerFormat, typer.Option("-o", "--output", help="Format.")] = AnswerFormat.TEXT,
    address: Address = None,
    tls_dir: TlsDirectory = None,
    server_name: ServerName = None,
    kube: Annotated[
        bool,
        typer.Option("--kube", help="Through the cluster (the default).", rich_help_panel=PANEL),
    ] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    client: Client = None,
    pod: Annotated[
        str | None,
        typer.Option(help="Pod to call; else any that is Ready.", rich_help_panel=PANEL),
    ] = None,
) -> None:
    """Call an agent over gRPC with mutual TLS and print its answer.

    The answer goes to standard output; session, version and pod go to standard error.
    """
    if address is not None and (kube or client or pod):
        raise CliError(
            "--address does not go together with --kube, --client or --pod",
            then="choose one way",
            code=ExitCode.USAGE,
        )
    if tls_dir is not None and address is None:
        raise CliError("--tls-dir needs --address", then="add --address HOST:PORT", code=ExitCode.USAGE)

    from aixgo_cli.calls import Call

    question = Call(
        agent=agent,
        text=sys.stdin.read() if text == "-" else text,
        session_id=session,
        user_id=user,
        # With a key a call can be repeated on another pod without being executed twice.
        idempotency_key=idempotency_key or (secrets.token_hex(16) if session else ""),
        timeout=timeout,
    )
    on_partial = print_partial if stream and output is AnswerFormat.TEXT else None
    with nullcontext() if on_partial else waiting(f"waiting for {agent} to answer"):
        if address is not None:
            answer = call_directly(question, address, tls_dir, server_name, on_partial)
            place = f"address={address}"
        else:
            answer, name = call_in_cluster(
                question, (kubeconfig, context, namespace), client=client, pod=pod, on_partial=on_partial
            )
            place = f"pod={name}"
    _print(agent, answer, place, output, streamed=on_partial is not None)


def call_directly(
    question: Call,
    address: str,
    tls_dir: Path | None,
    server_name: str | None,
    on_partial: Callable[[str], None] | None,
) -> Answer:
    """Call the runtime at an address, with the client certificate in a folder.

    Raises CliError.
    """
    from aixgo_cli.calls import Endpoint, execute
    from aixgo_cli.credentials import from_directory

    if tls_dir is None:
        raise CliError(
            "--address needs --tls-dir: runtimes are called with mutual TLS",
            then="give a folder with tls.crt, tls.key and ca.crt",
            code=ExitCode.USAGE,
        )
    return execute(Endpoint(address, server_name, from_directory(tls_dir)), question, on_partial=on_partial)


def call_in_cluster(
    question: Call,
    cluster_options: tuple[str | None, str | None, str | None],
    *,
    client: str | None,
    pod: str | None,
    on_partial: Callable[[str], None] | None,
) -> tuple[Answer, str]:
    """Call a Ready pod; when it goes away before it has answered anything, try another one.

    Returns the answer and the name of the pod. Raises CliError.
    """
    from grpc import StatusCode

    from aixgo_cli import targets
    from aixgo_cli.calls import CallFailedError, Endpoint, execute
    from aixgo_cli.portforward import PortForward

    shown = False

    def show(text: str) -> None:
        nonlocal shown
        shown = True
        if on_partial is not None:
            on_partial(text)

    cluster = connect(*cluster_options)
    for attempt in range(1, _ATTEMPTS + 1):
        target = targets.find(cluster, cluster.namespace, question.agent, client=client, pod=pod)
        with PortForward(cluster, target.namespace, target.pod, target.port) as forward:
            endpoint = Endpoint(f"127.0.0.1:{forward.local_port}", target.server_name, target.identity)
            try:
                return execute(endpoint, question, on_partial=show if on_partial else None), target.pod
            except CallFailedError as error:
                error.where = f"agent {question.agent} on pod {target.namespace}/{target.pod}"
                if forward.error:
                    error.what = f"{error.status.name}: {forward.error}"
                repeatable = bool(question.idempotency_key) and pod is None and not shown
                if error.status is not StatusCode.UNAVAILABLE or not repeatable or attempt == _ATTEMPTS:
                    raise
                stderr().print(f"pod {target.pod} did not answer, trying another one")
    raise AssertionError("unreachable")


def print_partial(text: str) -> None:
    """Write a part of an answer, at once."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def _print(agent: str, answer: Answer, place: str, output: AnswerFormat, *, streamed: bool) -> None:
    if output is AnswerFormat.TEXT:
        sys.stdout.write("\n" if streamed else f"{printable(answer.text)}\n")
        sys.stdout.flush()
        facts = (
            [f"session={answer.session_id}", f"version={answer.session_version}"] if answer.session_id else []
        )
        typer.echo(" ".join([*facts, place]), err=True)
        return
    where, _, value = place.partition("=")
    write_data(
        {
            "agent": agent,
            "text": answer.text,
            "message": answer.message,
            "sessionId": answer.session_id or None,
            "sessionVersion": answer.session_version if answer.session_id else None,
            where: value,
        },
        output,
    )
