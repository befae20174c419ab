"""Opening session stores: a directory, a Redis URL, or a SessionBackend of the cluster."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aixgo.contract.paths import TLS_CA
from aixgo.errors import (
    AixgoError,
    CheckpointNotFoundError,
    SessionNotFoundError,
    StorageError,
)
from aixgo.session import FileBackend, Manager
from aixgo_cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aixgo.session import Backend
    from aixgo_cli.kube import Cluster, Object
    from aixgo_cli.portforward import PortForward


@asynccontextmanager
async def local_store(
    location: str | None,
    *,
    ca: Path | None,
    prefix: str,
    create: bool = False,
    called: str = "the Redis of --store",
) -> AsyncIterator[Manager]:
    """Open a directory (None: ``~/.aixgo/sessions``) or a ``redis://`` or ``rediss://`` URL.

    Args:
        location: Which.
        ca: CA certificates of the Redis.
        prefix: Of its keys.
        create: Whether a directory that is not there is made.
        called: What messages call a Redis: the URL may hold a password.
    """
    if location is not None and location.startswith(("redis://", "rediss://")):
        backend, where = _redis_at(location, ca, prefix), called
    else:
        backend, where = _directory_at(location, create=create)
    async with _managed(backend, where) as manager:
        yield manager


@asynccontextmanager
async def cluster_store(cluster: Cluster, name: str, *, consumer: str | None) -> AsyncIterator[Manager]:
    """Open the managed Redis of a SessionBackend through a port-forward.

    Args:
        cluster: Where it is, in the cluster's namespace.
        name: Of the SessionBackend.
        consumer: Namespace of the runtimes whose sessions are meant. None: the backend's own.
    """
    item = cluster.get("SessionBackend", cluster.namespace, name)
    where = f"SessionBackend {cluster.namespace}/{name}"
    if item["spec"]["type"] != "Redis" or "managed" not in item["spec"].get("redis", {}):
        raise CliError(
            "only the sessions of a managed Redis can be reached through the cluster",
            where=where,
            then="use --store with the URL of the Redis, or with the directory of the sessions",
            code=ExitCode.USAGE,
        )
    with ExitStack() as stack:
        forward, backend = _open_managed(cluster, item, consumer or cluster.namespace, stack)
        async with _managed(backend, where, forward) as manager:
            yield manager


def _directory_at(location: str | None, *, create: bool) -> tuple[FileBackend, str]:
    if location is not None and "://" in location:
        raise CliError(
            "neither a directory nor a redis:// or rediss:// URL", then="check --store", code=ExitCode.USAGE
        )
    try:
        backend = FileBackend(location)
    except StorageError as error:
        raise CliError(str(error), then="name a store with --store", code=ExitCode.USAGE) from error
    directory = backend.path
    if not directory.is_dir() and (not create or directory.exists()):
        raise CliError(
            "no such directory",
            where=str(directory),
            then="name a store with --store",
            code=ExitCode.NOT_FOUND,
        )
    return backend, str(directory)


def _redis_at(url: str, ca: Path | None, prefix: str) -> Backend:
    from aixgo.session import RedisBackend, RedisTLS

    if ca is not None and not url.startswith("rediss://"):
        raise CliError("--ca needs TLS", then="use a rediss:// URL", code=ExitCode.USAGE)
    options: dict[str, Any] = (
        {"key_prefix": prefix} if ca is None else {"key_prefix": prefix, "tls": RedisTLS(ca)}
    )
    try:
        return RedisBackend.from_url(url, **options)
    except ValueError as error:
        # The text does not repeat the URL.
        raise CliError(str(error), then="check --store", code=ExitCode.USAGE) from None


def _open_managed(
    cluster: Cluster, item: Object, consumer: str, stack: ExitStack
) -> tuple[PortForward, Backend]:
    """Open a port-forward to a managed Redis and log in as the user of the namespace ``consumer``."""
    from aixgo.session import RedisBackend, RedisOptions, RedisTLS
    from aixgo_cli.portforward import PortForward
    from aixgo_operator.domain import naming
    from aixgo_operator.domain.redis_access import REDIS_PORT
    from aixgo_operator.domain.redis_users import namespace_user

    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    user = namespace_user(consumer, item["spec"]["keyPrefix"], namespace)
    auth_name, tls_name = naming.redis_auth_secret(name), naming.redis_tls_secret(name)
    auth, tls = cluster.secret(namespace, auth_name), cluster.secret(namespace, tls_name)
    for data, key, secret in (
        (auth, user.username_key, auth_name),
        (auth, user.password_key, auth_name),
        (tls, TLS_CA, tls_name),
    ):
        if key not in data:
            raise CliError(
                f"no key {key!r}",
                where=f"Secret {namespace}/{secret}",
                then=f"no runtime in namespace {consumer} uses this backend yet, or it is still being set up",
                code=ExitCode.NOT_FOUND,
            )
    folder = stack.enter_context(_private_folder())
    (folder / TLS_CA).write_bytes(tls[TLS_CA])
    forward = stack.enter_context(PortForward(cluster, namespace, _redis_pod(cluster, item), REDIS_PORT))
    options = RedisOptions(
        username=auth[user.username_key].decode().strip(),
        password=auth[user.password_key].decode().strip(),
        key_prefix=user.key_prefix or "",
        tls=RedisTLS(ca_file=folder / TLS_CA, server_name=f"{naming.redis_workload(name)}.{namespace}.svc"),
    )
    return forward, RedisBackend(f"127.0.0.1:{forward.local_port}", options)


def _redis_pod(cluster: Cluster, item: Object) -> str:
    from aixgo_cli.kube import is_ready
    from aixgo_operator.api.constants import LABEL_SESSION_BACKEND
    from aixgo_operator.domain.naming import label_value

    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    pods = cluster.pods(namespace, f"{LABEL_SESSION_BACKEND}={label_value(name)}")
    ready = [str(pod["metadata"]["name"]) for pod in pods if is_ready(pod)]
    if not ready:
        raise CliError(
            f"the Redis of SessionBackend {name!r} is not Ready ({len(pods)} pods exist)",
            where=f"namespace {namespace}",
            then=f"see why: aixgo explain sessionbackend/{name} -n {namespace}",
            code=ExitCode.NOT_READY,
        )
    return ready[0]


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder for certificates that only this user can read, deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="aixgo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _managed(
    backend: Backend, where: str, forward: PortForward | None = None
) -> AsyncIterator[Manager]:
    """Explain what a store refuses."""
    try:
        async with Manager(backend) as manager:
            yield manager
    except (SessionNotFoundError, CheckpointNotFoundError) as error:
        then = "aixgo session list shows what is there"
        raise CliError(str(error), where=where, then=then, code=ExitCode.NOT_FOUND) from error
    except StorageError as error:
        what = forward.error if forward is not None and forward.error else str(error)
        raise CliError(what, where=where, then="check that the store answers, and try again") from error
    except AixgoError as error:
        code = ExitCode.USAGE if isinstance(error, ValueError) else ExitCode.FAILED
        raise CliError(str(error), where=where, code=code) from error
