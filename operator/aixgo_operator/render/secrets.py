"""Secrets that the operator owns, from key material that is passed in."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aixgo_operator.api.constants import TLS_CA_KEY, TLS_CERT_KEY, TLS_PRIVATE_KEY_KEY
from aixgo_operator.domain import labels, naming
from aixgo_operator.domain.redis_users import ACL_FILE_KEY, CONSUMER_COMMANDS
from aixgo_operator.render.common import Manifest, manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aixgo_operator.api.meta import CustomResource
    from aixgo_operator.domain.resolved import RedisUser, ResolvedBackend, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import Snapshot

OPAQUE = "Opaque"
TLS_TYPE = "kubernetes.io/tls"


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A certificate (leaf first), its private key and the trust bundle, all PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)
    ca_bundle: bytes


def runtime_tls_secret(
    resolved: ResolvedRuntime, material: KeyMaterial, settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<runtime>-tls`` (managed certificates)."""
    runtime = resolved.runtime
    own = labels.runtime_labels(runtime.name)
    return _tls_secret(naming.runtime_tls_secret(runtime.name), runtime, own, material, settings)


def client_secret(
    resolved: ResolvedRuntime, client: str, material: KeyMaterial, settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<runtime>-client-<client>``."""
    runtime = resolved.runtime
    own = labels.runtime_labels(runtime.name)
    return _tls_secret(naming.client_secret(runtime.name, client), runtime, own, material, settings)


def secret_copies(
    resolved: ResolvedRuntime, snapshot: Snapshot, settings: OperatorSettings
) -> list[Manifest]:
    """Return the copies of other namespaces' Secrets that the pods need, with the values of the snapshot.

    A value that is not there is left out. An empty list while ``resolved.held``.
    """
    if resolved.held:
        return []
    copies: list[Manifest] = []
    for copy in resolved.secret_copies:
        data: dict[str, bytes] = {}
        for key, source in copy.entries.items():
            secret = snapshot.secrets.get((source.namespace, source.name))
            value = None if secret is None else secret.get(source.key)
            if value is not None:
                data[key] = value
        for key, source in copy.config_map_entries.items():
            config_map = snapshot.config_maps.get((source.namespace, source.name))
            text = None if config_map is None else config_map.get(source.key)
            if text is not None:
                data[key] = text.encode()
        runtime = resolved.runtime
        own = labels.runtime_labels(runtime.name)
        copies.append(_secret(copy.name, runtime, own, OPAQUE, data, settings))
    return copies


def redis_auth_secret(
    resolved: ResolvedBackend, passwords: Mapping[str, str], settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<backend>-redis-auth``. ``passwords``: ``RedisUser.password_key`` to password.

    Raises KeyError when a user of ``resolved`` has no password.
    """
    data = {ACL_FILE_KEY: acl_file(resolved.users, passwords).encode()}
    for user in resolved.users:
        data[user.username_key] = user.username.encode()
        data[user.password_key] = passwords[user.password_key].encode()
    backend = resolved.backend
    name = naming.redis_auth_secret(backend.name)
    return _secret(name, backend, labels.redis_labels(backend.name), OPAQUE, data, settings)


def redis_tls_secret(
    resolved: ResolvedBackend, material: KeyMaterial, settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<backend>-redis-tls``."""
    backend = resolved.backend
    own = labels.redis_labels(backend.name)
    return _tls_secret(naming.redis_tls_secret(backend.name), backend, own, material, settings)


def acl_file(users: Iterable[RedisUser], passwords: Mapping[str, str]) -> str:
    """Return the ACL file: nobody without a password, consumers on their keys, the operator on all."""
    # Nobody can log in as the default user, but Redis replays its append-only file with that user's
    # rights: without them every transaction in it is refused, and a restart loses what was acknowledged.
    lines = ["user default off resetpass ~* &* +@all"]
    for user in users:
        password = hashlib.sha256(passwords[user.password_key].encode()).hexdigest()
        if user.key_prefix is None:
            rules = "~* &* +@all"
        else:
            rules = f"~{user.key_prefix}* &{user.key_prefix}* {CONSUMER_COMMANDS}"
        lines.append(f"user {user.username} on #{password} {rules}")
    return "\n".join(lines) + "\n"


def _tls_secret(
    name: str,
    owner: CustomResource,
    own: Mapping[str, str],
    material: KeyMaterial,
    settings: OperatorSettings,
) -> Manifest:
    data = {
        TLS_CERT_KEY: material.certificate,
        TLS_PRIVATE_KEY_KEY: material.private_key,
        TLS_CA_KEY: material.ca_bundle,
    }
    return _secret(name, owner, own, TLS_TYPE, data, settings)


def _secret(
    name: str,
    owner: CustomResource,
    own: Mapping[str, str],
    kind: str,
    data: Mapping[str, bytes],
    settings: OperatorSettings,
) -> Manifest:
    return manifest(
        "v1",
        "Secret",
        name,
        owner=owner,
        labels=labels.with_version(dict(own), settings.operator_version),
        type=kind,
        data={key: base64.b64encode(value).decode() for key, value in sorted(data.items())},
    )
