"""The options that say which session store is meant, for every command that works on one."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from aixgo_cli.errors import CliError, ExitCode
from aixgo_cli.options import (
    DEFAULT_PREFIX,
    DIRECTLY,
    PANEL,
    Context,
    Kubeconfig,
    Namespace,
    StorePrefix,
    connect,
)
from aixgo_cli.output import waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from aixgo.session import Manager

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Store:
    """The store that the options mean. It is opened by :meth:`use`."""

    location: str | None
    ca: Path | None
    prefix: str
    backend: str | None
    consumer: str | None
    cluster: tuple[str | None, str | None, str | None]

    def use(self, work: Callable[[Manager], Awaitable[T]], *, create: bool = False) -> T:
        """Open the store, await ``work`` with its manager, and return what that returns.

        Args:
            work: What to do.
            create: Whether a directory that is not there is made.

        Raises CliError with what the store refuses.
        """

        async def run() -> T:
            async with self._open(create=create) as manager:
                return await work(manager)

        with waiting("talking to the session store"):
            return asyncio.run(run())

    def _open(self, *, create: bool) -> AbstractAsyncContextManager[Manager]:
        from aixgo_cli.stores import cluster_store, local_store

        if self.backend is None:
            return local_store(self.location, ca=self.ca, prefix=self.prefix, create=create)
        return cluster_store(connect(*self.cluster), self.backend, consumer=self.consumer)


def _options(
    store: Annotated[
        str | None,
        typer.Option(
            envvar="AIXGO_SESSION_STORE",
            metavar="DIR|URL",
            help="Directory, redis:// or rediss:// URL; else ~/.aixgo/sessions. "
            "Keep a URL with a password in the environment variable: arguments can be seen by others.",
            rich_help_panel=DIRECTLY,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="CA certificates that the Redis must be signed by.",
            rich_help_panel=DIRECTLY,
        ),
    ] = None,
    prefix: StorePrefix = DEFAULT_PREFIX,
    kube: Annotated[bool, typer.Option("--kube", help="Through the cluster.", rich_help_panel=PANEL)] = False,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME", help="SessionBackend to look into.", rich_help_panel=PANEL)
    ] = None,
    consumer: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE",
            help="Namespace of the runtimes whose sessions are meant; else that of the backend.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> Store:
    """Put the options together. Their declarations are what :func:`with_store` adds to a command."""
    if kube and backend is None:
        raise CliError("--kube needs --backend", then="add --backend NAME", code=ExitCode.USAGE)
    return Store(store, ca, prefix, backend, consumer, (kubeconfig, context, namespace))


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of a store; its first parameter becomes the :class:`Store`."""
    added = inspect.signature(_options).parameters
    _, *own = inspect.signature(command).parameters.values()

    def wrapper(**values: Any) -> None:
        chosen = _options(**{name: values.pop(name) for name in added})
        command(chosen, **values)

    # What typer reads: the parameters of both, with their annotations.
    hints = {**get_type_hints(command, include_extras=True), **get_type_hints(_options, include_extras=True)}
    parameters = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*own, *added.values())
    ]
    vars(wrapper)["__signature__"] = inspect.Signature(parameters)
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper
