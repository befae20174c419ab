"""What was seen: of the children in the cluster, of the pods' own word, and of Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from aixgo.contract import Statusz
    from aixgo_operator.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class PodObservation:
    """One pod that the operator owns (through its Deployment or StatefulSet), as last seen."""

    name: str
    created_at: datetime | None = None
    #: The pod's condition Ready is True and it has no deletionTimestamp.
    ready: bool = False
    #: It has a deletionTimestamp: until then it may take its time to end.
    terminating: bool = False
    ends_at: datetime | None = None
    #: Its annotation ``aixgo.dev/restart-hash``: which template it was made from.
    restart_hash: str | None = None
    #: The main container passed its startup probe (``containerStatuses[].started``).
    started: bool = False
    restarts: int = 0
    #: ``state.waiting`` of the main container, such as ImagePullBackOff.
    waiting_reason: str | None = None
    waiting_message: str | None = None
    #: ``state.terminated``, else ``lastState.terminated``, of the main container.
    exit_code: int | None = None
    terminated_reason: str | None = None
    #: The container's last words (its termination message).
    terminated_message: str | None = None
    #: The pod has ended for good (phase Failed or Succeeded): its controller has made another one.
    ended: bool = False
    #: Why it ended, where somebody else ended it: Evicted, Preempting, NodeShutdown, ...
    ended_reason: str | None = None
    ended_message: str | None = None
    #: Message of the condition PodScheduled while it is False.
    unschedulable_message: str | None = None
    #: The pod's own word at this moment; None when it did not answer.
    statusz: Statusz | None = None
    #: Why it did not answer.
    probe_error: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it is one of the pods that its controller wants: neither ended nor on its way out."""
        return not self.terminating and not self.ended


@dataclass(frozen=True, slots=True)
class DeploymentObservation:
    """The runtime's Deployment as last seen."""

    generation: int
    observed_generation: int
    #: ``spec.replicas`` and the counts of its status.
    desired: int
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    #: Annotation ``aixgo.dev/restart-hash`` of its pod template.
    restart_hash: str | None = None
    #: Reason of its condition Progressing: NewReplicaSetAvailable, ProgressDeadlineExceeded, ...
    progressing_reason: str | None = None
    #: Message of its condition ReplicaFailure while that is True (quota, pod security).
    replica_failure: str | None = None


@dataclass(frozen=True, slots=True)
class CertificateObservation:
    """The certificate in the Secret that the pods mount."""

    serial_number: str | None = None
    #: SHA-256 of the leaf certificate (DER), hexadecimal.
    sha256_fingerprint: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    #: When it was put into the Secret, if known; a reload may take ``reloadTimeoutSeconds`` from there.
    issued_at: datetime | None = None
    #: NotIssued, ChainInvalid, KeyMismatch, SANMismatch, Expired: what is wrong with it.
    problem: Problem | None = None
    #: Where a change of the certificate authority is: Stable, Distributing, Signing, Pruning.
    trust_bundle_phase: str = "Stable"
    #: SHA-256 of each CA certificate that the pods should trust; empty: not compared.
    trust_bundle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeObservation:
    """What is there of one AgentRuntime."""

    #: ``aixgo.dev/restart-hash`` of the Deployment manifest that was rendered last; None: none was.
    wanted_restart_hash: str | None = None
    deployment: DeploymentObservation | None = None
    pods: tuple[PodObservation, ...] = ()
    #: None when the runtime needs none (External, Disabled).
    certificate: CertificateObservation | None = None
    #: An error of the reconcile itself, such as an API server that refuses an object; in plain words.
    reconcile_error: str | None = None
    #: The error does not pass by itself: somebody has to change something.
    stuck: bool = False
    #: Kind and name of objects that are to be written as soon as something is out of the way.
    unwritten: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RedisProbe:
    """What a Redis answered to PING, INFO and CONFIG GET."""

    #: DialFailed, TLSHandshakeFailed, AuthFailed, ReadOnlyReplica (condition Reachable); None: it answers.
    failure: Problem | None = None
    server_version: str | None = None
    #: INFO persistence ``aof_enabled``; None: it could not be read.
    aof_enabled: bool | None = None
    #: Whether CONFIG GET save is not empty; None: it could not be read.
    snapshots_enabled: bool | None = None
    #: INFO memory ``maxmemory`` (bytes, 0: no limit) and ``maxmemory_policy``; None: they could not be read.
    max_memory_bytes: int | None = None
    max_memory_policy: str | None = None
    #: SHA-256 of the certificate that it showed, also where it failed after that; None: no TLS, or no answer.
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimObservation:
    """The PersistentVolumeClaim of a File backend, or of a managed Redis."""

    #: Pending, Bound, Lost.
    phase: str
    #: Newest words about why it is not bound, if known.
    message: str | None = None


@dataclass(frozen=True, slots=True)
class BackendObservation:
    """What is there of one SessionBackend."""

    #: None: not probed (a File backend, or not yet).
    probe: RedisProbe | None = None
    #: Pods of a managed Redis.
    pods: tuple[PodObservation, ...] = ()
    claim: ClaimObservation | None = None
    #: ``aixgo.dev/restart-hash`` of the StatefulSet manifest that was rendered last.
    wanted_restart_hash: str | None = None
    #: What consumers' pods say of a File backend (``statusz.sessions``): None: nobody uses it yet.
    consumers_ready: bool | None = None
    consumers_error: str | None = None
    #: The backend is being deleted, and its sessions with it.
    purging: bool = False
    #: Why that does not go on, in plain words; None: it does.
    purge_error: str | None = None
    #: As of a runtime.
    reconcile_error: str | None = None
    stuck: bool = False
    unwritten: tuple[str, ...] = ()
