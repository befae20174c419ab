"""Leader election on a ``coordination.k8s.io/v1`` Lease.

Rules that keep it to one leader at a time, whatever the network and the clocks do:

* A candidate takes over only when the Lease has not changed for a whole ``duration`` of *its own monotonic
  clock*.
* A leader counts its time from the moment it *sent* the last renewal that succeeded. ``renew_deadline``
  seconds later it is no leader any more, whether or not a call is still hanging: :meth:`Elector.leading` says
  so at once (also after the process was frozen), and :meth:`Elector.hold` returns.
* ``renew_deadline`` is shorter than ``duration``, and each call has a timeout of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aixgo_operator.kube.errors import ApiError, ConflictError
from aixgo_operator.kube.resources import LEASES, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo_operator.kube.client import KubeClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The times of an election, in seconds."""

    #: How long a candidate watches an unchanged Lease before it takes it.
    duration: float = 10.0
    #: How long a leader goes on without a successful renewal.
    renew_deadline: float = 7.0
    #: Between two renewals, or two looks of a candidate; up to a fifth is added as jitter.
    retry: float = 1.5

    def __post_init__(self) -> None:
        if not self.retry < self.renew_deadline < self.duration:
            raise ValueError("an election needs retry < renew_deadline < duration")


class Elector:
    """One candidate. ``await acquire()``, do the leader's work while ``await hold()`` runs, ``await
    release()``."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes = LeaseTimes(),
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self.identity: Final = identity
        self._times = times
        self._monotonic = monotonic
        self._now = now
        #: When the last renewal that succeeded was sent.
        self._renewed: float | None = None
        #: The Lease as last read, and since when it has looked like that.
        self._seen: tuple[str, float] | None = None
        self._lease: Manifest | None = None

    def leading(self) -> bool:
        """Whether this process may write now. Cheap; ask before every write."""
        return self._renewed is not None and self._monotonic() - self._renewed < self._times.renew_deadline

    async def acquire(self) -> None:
        """Wait until this candidate is the leader."""
        while not await self._attempt():  # noqa: ASYNC110  a Lease has no event to wait for
            await asyncio.sleep(self._interval())
        log.info("leadership acquired", extra={"identity": self.identity})

    async def hold(self) -> None:
        """Renew until leadership is lost, then return. Never returns while this process leads."""
        while self.leading():
            await asyncio.sleep(min(self._interval(), max(0.0, self._remaining())))
            if not self.leading():
                break
            await self._attempt()
        self._renewed = None
        log.error("leadership lost", extra={"identity": self.identity})

    async def release(self) -> None:
        """Give the Lease up, so that another candidate need not wait for it to expire. Best effort."""
        if not self.leading() or self._lease is None:
            return
        self._renewed = None
        try:
            async with asyncio.timeout(self._times.retry * 2):
                await self._give_up(self._lease)
        except (ApiError, TimeoutError) as error:
            log.warning("lease not released", extra={"error": str(error)})

    async def _give_up(self, lease: Manifest) -> None:
        while True:
            spec = lease["spec"] | {
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "renewTime": self._timestamp(),
            }
            try:
                await self._client.replace(lease | {"spec": spec})
            except ConflictError:
                # A renewal that was cut off may have reached the API server all the same.
                found = await self._client.get(LEASES, self._namespace, self._name)
                if found is None or not self._mine(found):
                    return
                lease = found
            else:
                return

    async def _attempt(self) -> bool:
        """Try once to get or renew the Lease. A failure of any kind is no leadership, not an exception."""
        sent = self._monotonic()
        # A leader's call ends with its leadership, a candidate's after one deadline.
        timeout = self._remaining() if self.leading() else self._times.renew_deadline
        try:
            async with asyncio.timeout(max(0.05, min(timeout, self._times.renew_deadline / 2))):
                lease = await self._client.get(LEASES, self._namespace, self._name)
                if lease is None:
                    self._lease = await self._client.create(self._new())
                elif self._mine(lease) or self._free(lease):
                    self._lease = await self._client.replace(self._taken(lease))
                else:
                    self._renewed = None  # somebody else holds it, whatever we believed
                    return False
        except ConflictError as error:
            log.debug("another candidate was quicker", extra={"error": str(error)})
            return False
        except (ApiError, TimeoutError) as error:
            log.warning("lease not renewed", extra={"identity": self.identity, "error": str(error)})
            return False
        self._renewed = sent
        return self.leading()

    def _mine(self, lease: Manifest) -> bool:
        return bool((lease.get("spec") or {}).get("holderIdentity") == self.identity)

    def _free(self, lease: Manifest) -> bool:
        """Whether the holder gave it up, or has not renewed it for a whole lease duration that we watched."""
        version = lease["metadata"]["resourceVersion"]
        now = self._monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        if not (lease.get("spec") or {}).get("holderIdentity"):
            return True
        return now - self._seen[1] >= self._times.duration

    def _new(self) -> Manifest:
        stamp = self._timestamp()
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._holder() | {"acquireTime": stamp, "renewTime": stamp, "leaseTransitions": 0},
        }

    def _taken(self, lease: Manifest) -> Manifest:
        stamp = self._timestamp()
        old = lease.get("spec") or {}
        spec = old | self._holder() | {"renewTime": stamp}
        if not self._mine(lease):
            spec |= {"acquireTime": stamp, "leaseTransitions": int(old.get("leaseTransitions") or 0) + 1}
        return lease | {"spec": spec}

    def _holder(self) -> Manifest:
        # The API takes whole seconds; candidates of one installation share LeaseTimes and watch with their
        # own clock.
        return {"holderIdentity": self.identity, "leaseDurationSeconds": max(1, round(self._times.duration))}

    def _timestamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _remaining(self) -> float:
        if self._renewed is None:
            return 0.0
        return self._times.renew_deadline - (self._monotonic() - self._renewed)

    def _interval(self) -> float:
        return self._times.retry * random.uniform(1.0, 1.2)  # noqa: S311  jitter
