"""Secrets that the operator owns, from key material that is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aixgo_operator.domain.resolved import ResolvedBackend, ResolvedRuntime
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import Snapshot

Manifest = dict[str, Any]


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
    raise NotImplementedError


def client_secret(
    resolved: ResolvedRuntime, client: str, material: KeyMaterial, settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<runtime>-client-<client>``."""
    raise NotImplementedError


def secret_copies(
    resolved: ResolvedRuntime, snapshot: Snapshot, settings: OperatorSettings
) -> list[Manifest]:
    """Return the copies of Secrets of other namespaces that the pods need, with the values of the snapshot."""
    raise NotImplementedError


def redis_auth_secret(
    resolved: ResolvedBackend, passwords: Mapping[str, str], settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<backend>-redis-auth``. ``passwords``: ``RedisUser.password_key`` to password."""
    raise NotImplementedError


def redis_tls_secret(
    resolved: ResolvedBackend, material: KeyMaterial, settings: OperatorSettings
) -> Manifest:
    """Return Secret ``<backend>-redis-tls``."""
    raise NotImplementedError
