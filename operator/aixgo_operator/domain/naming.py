"""Names of the objects that the operator owns, and label values: always legal, always the same."""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: Longest name of a Service, and the longest label value.
MAX_NAME: Final = 63
#: A StatefulSet's name goes into the label ``controller-revision-hash`` with 11 more characters.
MAX_STATEFUL_SET_NAME: Final = 52

_HASH_LENGTH = 8
#: DNS-1035: what a Service's name must be, and good for every other kind.
_LEGAL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def child_name(owner: str, suffix: str = "", *, limit: int = MAX_NAME) -> str:
    """Return ``<owner><suffix>``, cut and hashed if that is no legal name of at most ``limit`` characters.

    ``owner`` is a Kubernetes name (up to 253 characters, dots and a leading digit allowed); ``suffix`` is
    ``""`` or begins with ``-``. The hash is over the whole name, so two changed names never meet.
    """
    name = owner + suffix
    if len(name) <= limit and _LEGAL.fullmatch(name):
        return name
    digest = hashlib.sha256(owner.encode()).hexdigest()[:_HASH_LENGTH]
    stem = re.sub(r"[^a-z0-9-]", "-", owner.lower())
    if not stem[:1].isalpha():
        stem = f"x{stem}"
    room = limit - len(suffix) - _HASH_LENGTH - 1
    if room < 1:  # a suffix that alone is too long is hashed with the owner
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
        suffix, room = "", limit - _HASH_LENGTH - 1
    stem = stem[:room].rstrip("-")
    return f"{stem}-{digest}{suffix}"


def label_value(name: str) -> str:
    """Return ``name`` as a label value, cut and hashed if it is too long. Raises ValueError for ``""``."""
    if not name:
        raise ValueError("a label value needs a name")
    if len(name) <= MAX_NAME and _LABEL_VALUE.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-._")[: MAX_NAME - _HASH_LENGTH - 1].rstrip("-._")
    return f"{stem}-{digest}" if stem else digest


def runtime_workload(runtime: str) -> str:
    """Deployment, Service, ServiceAccount, PodDisruptionBudget, HorizontalPodAutoscaler and NetworkPolicy."""
    return child_name(runtime)


def runtime_pods_service(runtime: str) -> str:
    """The headless Service."""
    return child_name(runtime, "-pods")


def runtime_config_map(runtime: str) -> str:
    """The ConfigMap with ``runtime.json``."""
    return child_name(runtime, "-config")


def runtime_tls_secret(runtime: str) -> str:
    """The Secret with the certificate, issued by the operator or by cert-manager."""
    return child_name(runtime, "-tls")


def client_secret(runtime: str, client: str) -> str:
    """The Secret with the certificate of a client."""
    return child_name(runtime, f"-client-{client}")


def session_auth_secret(runtime: str) -> str:
    """The copy of the session backend's credentials and CA in the runtime's namespace."""
    return child_name(runtime, "-session-auth")


def agent_secret_copy(runtime: str, namespace: str, secret: str) -> str:
    """The copy of a Secret of an Agent that is in another namespace than its runtime."""
    digest = hashlib.sha256(f"{namespace}/{secret}".encode()).hexdigest()[:_HASH_LENGTH]
    return child_name(runtime, f"-agent-{digest}")


def redis_workload(backend: str) -> str:
    """StatefulSet, Service and ConfigMap of a managed Redis."""
    return child_name(backend, "-redis", limit=MAX_STATEFUL_SET_NAME)


def redis_auth_secret(backend: str) -> str:
    """The Secret with the ACL users of a managed Redis."""
    return child_name(backend, "-redis-auth")


def redis_tls_secret(backend: str) -> str:
    """The Secret with the certificate of a managed Redis."""
    return child_name(backend, "-redis-tls")


def sessions_claim(backend: str) -> str:
    """The PersistentVolumeClaim of a File backend."""
    return child_name(backend, "-sessions")


def service_host(service: str, namespace: str, cluster_domain: str) -> str:
    """Return the full DNS name of a Service."""
    return f"{service}.{namespace}.svc.{cluster_domain}"


def runtime_dns_names(runtime: str, namespace: str, cluster_domain: str) -> tuple[str, ...]:
    """Return the DNS names that a runtime's certificate must have: its Service, and each pod behind it."""
    service = f"{runtime_workload(runtime)}.{namespace}.svc"
    pods = f"*.{runtime_pods_service(runtime)}.{namespace}.svc"
    return (service, f"{service}.{cluster_domain}", pods, f"{pods}.{cluster_domain}")


def runtime_address(runtime: str, namespace: str, cluster_domain: str, port: int) -> str:
    """Return ``host:port`` at which a runtime is called."""
    return f"{service_host(runtime_workload(runtime), namespace, cluster_domain)}:{port}"
