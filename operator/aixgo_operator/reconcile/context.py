"""What every reconciler works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aixgo_operator.reconcile.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aixgo_operator.domain.observation import RuntimeObservation
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.domain.snapshot import ObjectKey
    from aixgo_operator.kube.apply import Applier
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.probe.redis_info import BackendProber, RedisEndpoint
    from aixgo_operator.probe.statusz import PodProber
    from aixgo_operator.reconcile.cache import Cache
    from aixgo_operator.reconcile.certificates import CertificateKeeper
    from aixgo_operator.reconcile.collect import Collector
    from aixgo_operator.reconcile.keys import Key
    from aixgo_operator.reconcile.referenced import ReferencedObjects
    from aixgo_operator.reconcile.status import StatusWriter


@dataclass(slots=True)
class Context:
    """Everything that a reconcile needs, wired once (:mod:`aixgo_operator.reconcile.engine`)."""

    settings: OperatorSettings
    client: KubeClient
    cache: Cache
    referenced: ReferencedObjects
    collector: Collector
    applier: Applier
    certificates: CertificateKeeper
    status: StatusWriter
    pods: PodProber
    backends: BackendProber
    #: An aware time.
    now: Callable[[], datetime]
    #: Ask for another reconcile, in so many seconds.
    enqueue: Callable[[Key, float], None]
    #: What was last seen of each runtime: its backend asks for what the pods say of their sessions.
    seen: dict[ObjectKey, RuntimeObservation] = field(default_factory=dict)
    #: SHA-256 of the certificate that each managed Redis showed last.
    redis_shows: dict[ObjectKey, str] = field(default_factory=dict)
    #: How each Redis of the users' own was reached last: to purge it when its Secrets went first.
    endpoints: dict[ObjectKey, RedisEndpoint] = field(default_factory=dict)
    #: Certificate that was last seen in a Secret that somebody else fills, and since when.
    certificate_since: dict[ObjectKey, tuple[str, datetime]] = field(default_factory=dict)
    #: Held together by those who write certificates, and alone by who changes their authority.
    authority_gate: Gate = field(default_factory=Gate)
    #: Looks at a key in a row that found it not as wanted.
    attempts: dict[Key, int] = field(default_factory=dict)
    #: When an Event told of a caller that was refused, by uid of the Agent and SPIFFE id.
    refusals_told: dict[tuple[str, str], datetime] = field(default_factory=dict)
    #: Since when the looks at an AgentRuntime find it not as wanted.
    unsettled: dict[Key, datetime] = field(default_factory=dict)
