"""What the CRD's schema lets through and the API server would refuse later, in a child object."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aixgo.contract.role_config import role_problems
from aixgo_operator.api.constants import Reason
from aixgo_operator.domain.lookup import refused
from aixgo_operator.domain.references import agent_references, key_references, with_key_files

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend
    from aixgo_operator.domain.problem import Problem

#: Names of the operator's own volumes begin with this.
VOLUME_PREFIX: Final = "aixgo-"
#: Directories of the runtime contract.
CONTRACT_DIRECTORIES: Final = ("/etc/aixgo/", "/var/lib/aixgo/")
#: Mounted by the operator itself; folders below it are free.
TEMPORARY_DIRECTORY: Final = "/tmp"  # noqa: S108  a path in the pod

_SIZE = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>[kmg]?b?|[kmg]i)", re.IGNORECASE)
#: What the API server takes.
_SECRET_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SECRET_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
#: In Redis ``k`` is 1000 and ``kb`` is 1024.
_UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1024,
    "ki": 1024,
    "m": 1000**2,
    "mb": 1024**2,
    "mi": 1024**2,
    "g": 1000**3,
    "gb": 1024**3,
    "gi": 1024**3,
}


def runtime_spec_problems(runtime: AgentRuntime, admin_port: int) -> tuple[Problem, ...]:
    """Return what is wrong with the spec of a runtime."""
    spec = runtime.spec
    wrong: list[str] = []
    if spec.grpc.port == admin_port:
        wrong.append(f"spec.grpc.port: {admin_port} is the admin port of the pods: choose another")
    strategy = spec.update_strategy
    if _zero(strategy.max_unavailable) and _zero(strategy.max_surge):
        wrong.append(
            "spec.updateStrategy: maxUnavailable and maxSurge must not both be 0: no pod could be replaced"
        )
    wrong.extend(
        f"spec.volumes: the name {volume['name']} is reserved: choose one without {VOLUME_PREFIX}"
        for volume in spec.volumes
        if volume["name"].startswith(VOLUME_PREFIX)
    )
    for mount in spec.volume_mounts:
        path = mount["mountPath"].rstrip("/") or "/"
        if path in ("/", TEMPORARY_DIRECTORY) or f"{path}/".startswith(CONTRACT_DIRECTORIES):
            wrong.append(f"spec.volumeMounts: {path} belongs to the runtime contract: choose another path")
    return tuple(refused(Reason.INVALID_SPEC, text) for text in wrong)


def agent_spec_problems(agent: Agent) -> tuple[Problem, ...]:
    """Return what is wrong with the role of an agent, its settings and its model."""
    spec = agent.spec
    # Such a name would make the API server refuse the pods, and with them all other agents of the runtime.
    names = {name for _, name in agent_references(agent).secrets}
    keys = {key for _, key in key_references(spec.role_config)}
    if spec.model is not None and spec.model.api_key_secret_ref is not None:
        keys.add(spec.model.api_key_secret_ref.key)
    if spec.prompt_from is not None and spec.prompt_from.secret_key_ref is not None:
        keys.add(spec.prompt_from.secret_key_ref.key)
    unusable = sorted(name for name in names if not _SECRET_NAME.fullmatch(name))
    unusable += sorted(key for key in keys if not _SECRET_KEY.fullmatch(key) or key.startswith(".."))
    if unusable:
        text = f"no Secret has such a name or key: {', '.join(unusable)}"
        return (refused(Reason.INVALID_SPEC, text),)
    config = with_key_files(spec.role_config, lambda name, key: {"secret": name, "key": key})
    wrong = role_problems(spec.role, config, has_model=spec.model is not None, where="spec.roleConfig")
    return tuple(refused(Reason.INVALID_SPEC, text) for text in wrong)


def _zero(value: int | str) -> bool:
    return str(value).strip().rstrip("%") == "0"


def redis_bytes(text: str) -> int | None:
    """Return a size in bytes, written as Redis does (``200mb``) or Kubernetes (``200Mi``), else None."""
    match = _SIZE.fullmatch(text)
    return None if match is None else int(match["number"]) * _UNITS[match["unit"].lower()]


def backend_spec_problems(backend: SessionBackend) -> tuple[Problem, ...]:
    """Return what is wrong with the spec of a session backend."""
    redis = backend.spec.redis
    wrong: list[str] = []
    managed = None if redis is None else redis.managed
    if managed is not None and managed.max_memory is not None and redis_bytes(managed.max_memory) is None:
        wrong.append("spec.redis.managed.maxMemory is no size: write it as 200mb or 200Mi")
    return tuple(refused(Reason.INVALID_SPEC, text) for text in wrong)
