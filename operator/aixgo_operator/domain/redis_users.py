"""ACL users of a managed Redis: one per consumer namespace, for its own keys, and one for the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aixgo_operator.domain.resolved import RedisUser

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Keys of Secret ``<backend>-redis-auth`` for the backend's own namespace.
USERNAME_KEY: Final = "username"
PASSWORD_KEY: Final = "password"  # noqa: S105  a key, no secret
#: Key of the ACL file that Redis loads.
ACL_FILE_KEY: Final = "users.acl"
OPERATOR_USERNAME_KEY: Final = "operator.username"
OPERATOR_PASSWORD_KEY: Final = "operator.password"  # noqa: S105  a key, no secret
#: No namespace can be called so: names of namespaces have no dot.
OPERATOR_USERNAME: Final = "aixgo.operator"

#: Commands of a consumer: everything on its keys but what reaches beyond them or manages the server.
CONSUMER_COMMANDS: Final = (
    "+@all -@admin -@dangerous -scan -randomkey -dbsize -script|flush -script|kill -function"
)


def key_prefix(prefix: str, namespace: str) -> str:
    """Return the prefix that a runtime in ``namespace`` really uses."""
    return f"{prefix}{namespace}:"


def namespace_user(namespace: str, prefix: str, own: str) -> RedisUser:
    """Return the user of a consumer namespace; that of ``own``, the backend's, has the plain keys."""
    keys = (
        (USERNAME_KEY, PASSWORD_KEY)
        if namespace == own
        else (f"namespace.{namespace}.username", f"namespace.{namespace}.password")
    )
    return RedisUser(f"aixgo-{namespace}", *keys, key_prefix(prefix, namespace))


def redis_users(namespace: str, prefix: str, consumers: Iterable[str]) -> tuple[RedisUser, ...]:
    """Return all users: the backend's namespace, other consumer namespaces by name, the operator."""
    others = sorted(set(consumers) - {namespace})
    return (
        *(namespace_user(name, prefix, namespace) for name in (namespace, *others)),
        RedisUser(OPERATOR_USERNAME, OPERATOR_USERNAME_KEY, OPERATOR_PASSWORD_KEY, None),
    )
