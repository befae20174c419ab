"""What the CRD's schema lets through and the API server would refuse later, in a child object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import Reason
from aixgo_operator.domain.lookup import refused

if TYPE_CHECKING:
    from aixgo_operator.api.v1alpha1 import AgentRuntime
    from aixgo_operator.domain.problem import Problem

#: Names of the operator's own volumes begin with this.
VOLUME_PREFIX: Final = "aixgo-"
#: Directories of the runtime contract.
CONTRACT_DIRECTORIES: Final = ("/etc/aixgo/", "/var/lib/aixgo/")
#: Mounted by the operator itself; folders below it are free.
TEMPORARY_DIRECTORY: Final = "/tmp"  # noqa: S108  a path in the pod


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


def _zero(value: int | str) -> bool:
    return str(value).strip().rstrip("%") == "0"
