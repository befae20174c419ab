"""Configuration and scripts of a managed Redis. The scripts need only ``sh``, ``redis-cli`` and coreutils."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aixgo_operator.domain.redis_access import REDIS_PORT
from aixgo_operator.domain.redis_users import (
    ACL_FILE_KEY,
    OPERATOR_PASSWORD_KEY,
    OPERATOR_USERNAME_KEY,
)
from aixgo_operator.domain.validate import redis_bytes

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import ManagedRedisSpec

# Not below /etc/redis: some distributions' packages close that folder to every user but their own.
CONFIG_DIRECTORY: Final = "/etc/aixgo-redis/config"
AUTH_DIRECTORY: Final = "/etc/aixgo-redis/auth"
TLS_DIRECTORY: Final = "/etc/aixgo-redis/tls"
DATA_DIRECTORY: Final = "/data"
#: Shared by the pod's containers, reached by nobody else.
SOCKET_DIRECTORY: Final = "/run/aixgo-redis"
_SOCKET: Final = f"{SOCKET_DIRECTORY}/redis.sock"

REDIS_CONF: Final = "redis.conf"
READY_SCRIPT: Final = "ready.sh"
LIVE_SCRIPT: Final = "live.sh"
RELOAD_SCRIPT: Final = "reload.sh"


def redis_conf(spec: ManagedRedisSpec) -> str:
    """Return ``redis.conf``: TLS only, every change in the append-only file, nothing ever evicted."""
    lines = [
        "port 0",
        f"tls-port {REDIS_PORT}",
        f"unixsocket {_SOCKET}",
        "unixsocketperm 700",
        f"tls-cert-file {TLS_DIRECTORY}/tls.crt",
        f"tls-key-file {TLS_DIRECTORY}/tls.key",
        f"tls-ca-cert-file {TLS_DIRECTORY}/ca.crt",
        "# Consumers prove who they are by user and password.",
        "tls-auth-clients no",
        f"aclfile {AUTH_DIRECTORY}/{ACL_FILE_KEY}",
        f"dir {DATA_DIRECTORY}",
        "appendonly yes",
        f"appendfsync {spec.append_fsync}",
        'save ""',
        "maxmemory-policy noeviction",
        "tcp-keepalive 60",
    ]
    limit = None if spec.max_memory is None else redis_bytes(spec.max_memory)
    if limit is not None:
        lines.append(f"maxmemory {limit}")
    return "\n".join(lines) + "\n"


def _client(target: str) -> str:
    """Return a shell function. The password is in the environment of the one child, in no argument list."""
    return f"""\
cli() {{
  REDISCLI_AUTH=$password redis-cli {target} --user "$username" --no-auth-warning "$@"
}}
"""


def ready_script() -> str:
    """Return the readiness probe: Redis answers over TLS, its certificate verified, with its data loaded."""
    return f"""\
#!/bin/sh
username=$(cat {AUTH_DIRECTORY}/{OPERATOR_USERNAME_KEY}) || exit 1
password=$(cat {AUTH_DIRECTORY}/{OPERATOR_PASSWORD_KEY}) || exit 1
{_client(f"--tls --cacert {TLS_DIRECTORY}/ca.crt -h 127.0.0.1 -p {REDIS_PORT}")}
answer=$(cli PING)
[ "$answer" = PONG ] || {{ echo "$answer"; exit 1; }}
"""


def live_script() -> str:
    """Return the liveness probe: any answer will do, also that a password is wanted or data is loading."""
    return f"""\
#!/bin/sh
answer=$(redis-cli -s {_SOCKET} PING 2>&1) && [ -n "$answer" ] || {{ echo "$answer"; exit 1; }}
"""


def reload_script() -> str:
    """Return the loop that hands changed users and certificates to the running Redis.

    Redis reads both files at start only. ``ACL LOAD`` would cut every connection, ``ACL SETUSER`` cuts none.
    """
    return f"""\
#!/bin/sh
# No globbing: rules of users have asterisks.
set -f
trap 'exit 0' TERM INT
username=$(cat {AUTH_DIRECTORY}/{OPERATOR_USERNAME_KEY}) || exit 1
password=$(cat {AUTH_DIRECTORY}/{OPERATOR_PASSWORD_KEY}) || exit 1
{_client(f"-s {_SOCKET}")}
apply_users() {{
  names=" "
  while read -r _ name rules; do
    [ "$(echo "ACL SETUSER $name reset $rules" | cli)" = OK ] || return 1
    names="$names$name "
  done < {AUTH_DIRECTORY}/{ACL_FILE_KEY}
  for name in $(cli ACL USERS); do
    case "$names" in *" $name "*) ;; *) cli ACL DELUSER "$name" > /dev/null || return 1 ;; esac
  done
}}
apply_certificate() {{
  [ "$(cli CONFIG SET tls-cert-file {TLS_DIRECTORY}/tls.crt tls-key-file {TLS_DIRECTORY}/tls.key \\
    tls-ca-cert-file {TLS_DIRECTORY}/ca.crt)" = OK ]
}}
users_seen= certificate_seen=
while :; do
  users=$(sha256sum < {AUTH_DIRECTORY}/{ACL_FILE_KEY})
  if [ "$users" != "$users_seen" ] && apply_users; then
    users_seen=$users
    echo "users applied"
  fi
  certificate=$(cat {TLS_DIRECTORY}/tls.crt {TLS_DIRECTORY}/tls.key {TLS_DIRECTORY}/ca.crt | sha256sum)
  if [ "$certificate" != "$certificate_seen" ] && apply_certificate; then
    certificate_seen=$certificate
    echo "certificate applied"
  fi
  sleep 2 &
  wait $!
done
"""
