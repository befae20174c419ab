"""``aixgo chat``: a conversation with an agent, in a session."""

from __future__ import annotations

import secrets
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from aixgo_cli.commands.call import call_directly, call_in_cluster, print_partial
from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.options import (
    DEFAULT_PREFIX,
    DIRECTLY,
    Address,
    Client,
    Context,
    Kubeconfig,
    Namespace,
    ServerName,
    StorePrefix,
    TlsDirectory,
    connect,
)
from aixgo_cli.output import printable, write_error
from aixgo_cli.store_options import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aixgo.session import Manager
    from aixgo_cli.calls import Answer, Call

_EPILOG = """\b
Examples:
  aixgo chat assistant -n quickstart
  aixgo chat assistant --session 3f0c… -n quickstart
  aixgo chat assistant --address 127.0.0.1:50051 --tls-dir ./client --store redis://localhost:6379
"""
_HELP = """/history           the conversation so far, and its checkpoints
/checkpoint        remember this place (not with a File store: its runtime alone writes to it)
/restore [ID]      go back to a checkpoint; without an id to the newest
/quit              end (also Ctrl-D); Ctrl-C only breaks an answer off"""
NEW_SESSION = "new"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("chat", epilog=_EPILOG)(chat)


def chat(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.", show_default=False)],
    session: Annotated[str, typer.Option(help="Session to go on with.", metavar="ID")] = NEW_SESSION,
    user: Annotated[str, typer.Option(help="Owner of the session.")] = "",
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds until an answer is given up; else the agent's own limit."),
    ] = None,
    address: Address = None,
    tls_dir: TlsDirectory = None,
    server_name: ServerName = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="AIXGO_SESSION_STORE",
            metavar="DIR|URL",
            help="Where the runtime keeps its sessions, for /checkpoint and /restore; found in a cluster.",
            rich_help_panel=DIRECTLY,
        ),
    ] = None,
    prefix: StorePrefix = DEFAULT_PREFIX,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    client: Client = None,
) -> None:
    """Talk with an agent. Every line is a question; the conversation is a session that can be resumed.

    /history, /checkpoint, /restore and /help are commands. Answers go to standard output.
    """
    if address is None and tls_dir is not None:
        raise CliError("--tls-dir needs --address", then="add --address HOST:PORT", code=ExitCode.USAGE)
    if address is not None and client is not None:
        raise CliError("--client is for the cluster", then="leave it out", code=ExitCode.USAGE)

    from aixgo_cli.calls import Call

    cluster = (kubeconfig, context, namespace)

    def ask(question: Call) -> Answer:
        if address is not None:
            return call_directly(question, address, tls_dir, server_name, print_partial)
        return call_in_cluster(question, cluster, client=client, pod=None, on_partial=print_partial)[0]

    def find_store() -> Store | None:
        if store is not None:
            return Store(store, None, prefix, None, None, cluster)
        return None if address is not None else _store_in_cluster(agent, cluster)

    question = Call(agent=agent, text="", session_id=session, user_id=user, timeout=timeout)
    Chat(question, ask, find_store).run()


def _store_in_cluster(agent: str, options: tuple[str | None, str | None, str | None]) -> Store | None:
    """Return the SessionBackend of the runtime that an agent is on; None if it has none."""
    cluster = connect(*options)
    runtime_ref = cluster.get("Agent", cluster.namespace, agent)["spec"]["runtimeRef"]
    home = runtime_ref.get("namespace") or cluster.namespace
    runtime = cluster.get("AgentRuntime", home, runtime_ref["name"])
    backend = runtime["spec"].get("sessionBackendRef")
    if backend is None:
        return None
    kubeconfig, context, _ = options
    return Store(
        None, None, "", backend["name"], home, (kubeconfig, context, backend.get("namespace") or home)
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block, as the shell counts it: the call that is running is cancelled."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # what is left is a word of farewell


class Chat:
    """One conversation, from the first question to the end of the input."""

    def __init__(
        self, question: Call, ask: Callable[[Call], Answer], find_store: Callable[[], Store | None]
    ) -> None:
        """Begin.

        Args:
            question: A call without its text; its session id is that of the conversation.
            ask: Makes a call and writes the answer while it comes.
            find_store: Finds where the session is; None if that is not known.
        """
        self._question = question
        self._ask = ask
        self._find_store = find_store
        #: What was said in this process; for conversations whose store is not known.
        self._transcript: list[tuple[str, str]] = []
        self._terminal = sys.stdin.isatty() and sys.stdout.isatty()

    def run(self) -> None:
        """Talk until the input ends. A failed answer is told, and the conversation goes on.

        Raises the last failure, when the input is no terminal: a script has to know.
        """
        try:
            with _ended_by_signals():
                failure = self._talk()
        finally:
            with suppress(OSError):  # the terminal may be gone
                self._say_how_to_resume()
        if failure is not None and not self._terminal:
            raise failure

    def _talk(self) -> CliError | None:
        """Talk until the input ends, and return the last failure."""
        failure: CliError | None = None
        if self._terminal:
            typer.echo(f"Talking with {self._question.agent}. /help shows the commands.", err=True)
        for line in self._lines():
            if line in ("/quit", "/exit"):
                break
            try:
                self._do(line)
            except CliError as error:
                failure = error
                if self._terminal:
                    write_error(error)
                else:
                    break
            except KeyboardInterrupt:
                typer.echo("\nbroken off; nothing of it is in the session", err=True)
        return failure

    def _lines(self) -> Iterator[str]:
        if self._terminal:
            with suppress(ImportError):
                import readline  # noqa: F401 - gives input() line editing
        while True:
            try:
                line = input("> " if self._terminal else "")
            except EOFError:
                return
            except KeyboardInterrupt:
                typer.echo("", err=True)
                if not self._terminal:
                    return
                continue
            if line.strip():
                yield line.strip()

    def _do(self, line: str) -> None:
        if not line.startswith("/"):
            self._say(line)
            return
        command, _, argument = line.partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "/history": self._history,
            "/checkpoint": self._checkpoint,
            "/restore": self._restore,
            "/help": lambda _: typer.echo(_HELP, err=True),
        }
        known = commands.get(command)
        if known is None:
            text = f"there is no command {printable(command)}"
            raise CliError(text, then="see /help", code=ExitCode.USAGE)
        known(argument.strip())

    def _say(self, text: str) -> None:
        # With a key of its own a question is answered once, however often it has to be sent.
        question = replace(self._question, text=text, idempotency_key=secrets.token_hex(16))
        answer = self._ask(question)
        sys.stdout.write("\n")
        sys.stdout.flush()
        self._transcript += [("user", text), (question.agent, answer.text)]
        if self._question.session_id != answer.session_id:
            typer.echo(f"session={answer.session_id}", err=True)
        self._question = replace(self._question, session_id=answer.session_id)

    def _history(self, _: str) -> None:
        store = self._find_store()
        if store is None or self._question.session_id == NEW_SESSION:
            for role, text in self._transcript:
                typer.echo(f"{role}: {printable(text)}")
            return

        async def read(manager: Manager) -> list[str]:
            from aixgo.agents.text import ASSISTANT_TYPES, text_of

            session = await manager.get(self._question.session_id)
            shown = [
                f"{self._question.agent if each.type in ASSISTANT_TYPES else 'user'}: {text_of(each)}"
                for each in await session.get_messages()
            ]
            shown += [
                f"checkpoint {each.id} at {each.message_count} messages"
                for each in await session.list_checkpoints()
            ]
            return shown

        for line in store.use(read):
            typer.echo(printable(line))

    def _checkpoint(self, _: str) -> None:
        async def remember(manager: Manager) -> str:
            return (await (await manager.get(self._question.session_id)).checkpoint()).id

        typer.echo(f"checkpoint {self._store().use(remember)}")

    def _restore(self, checkpoint_id: str) -> None:
        async def go_back(manager: Manager) -> int:
            session = await manager.get(self._question.session_id)
            wanted = checkpoint_id
            if not wanted:
                checkpoints = await session.list_checkpoints()
                if not checkpoints:
                    raise CliError("there is no checkpoint", then="make one with /checkpoint")
                wanted = max(checkpoints, key=lambda each: each.timestamp).id
            await session.restore(wanted)
            return session.message_count

        typer.echo(f"back at {self._store().use(go_back)} messages")

    def _store(self) -> Store:
        if self._question.session_id == NEW_SESSION:
            raise CliError("the conversation has not begun", then="say something first")
        store = self._find_store()
        if store is None:
            raise CliError(
                "it is not known where the sessions are",
                then="start the chat with --store, or give the runtime a session backend",
                code=ExitCode.USAGE,
            )
        return store

    def _say_how_to_resume(self) -> None:
        if self._question.session_id != NEW_SESSION:
            name, session = self._question.agent, self._question.session_id
            typer.echo(f"resume with: aixgo chat {name} --session {session}", err=True)
