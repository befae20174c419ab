"""Two operator processes: the one that leads is killed, frozen or cut off while it has work to do.

Each process is a user of its own, so the API server's audit log says who wrote, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.support import manifests as m
from tests.support import operator as support
from tests.support.audit import Request, account, requests_of
from tests.support.operator_process import account_kubeconfig, started
from tests.support.tcp_proxy import TcpProxy

from aixgo_operator.app.main import EXIT_LOST
from aixgo_operator.kube.resources import AGENTS, CONFIG_MAPS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.apiserver

#: Seconds from the fault to the first write of the other one.
HANDOVER = 20.0
FAULTS = ("killed", "frozen", "cut off")


@dataclass(frozen=True)
class Handover:
    """What was seen of one fault."""

    fault: str
    #: Seconds from the fault until the other one was seen to write.
    seconds: float
    exit_code: int
    #: Requests of the two, in order.
    first: list[Request]
    second: list[Request]
    #: How many of the second's came before the fault.
    standing_by: int

    @property
    def acquired(self) -> Request:
        """The request with which the second took the Lease."""
        return next(
            each for each in self.second if each.lease and each.verb == "update" and each.status < 300
        )


@pytest.fixture(scope="module")
def handovers(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Handover]:
    """All faults at once: each takes a whole Lease of the real length."""

    async def all_of_them() -> dict[str, Handover]:
        folder = tmp_path_factory.mktemp("ha")
        starting = asyncio.Lock()
        made = await asyncio.gather(*(_handover(plane, folder, fault, starting) for fault in FAULTS))
        return {each.fault: each for each in made}

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("fault", FAULTS)
def test_the_other_takes_over_in_time(handovers: dict[str, Handover], fault: str) -> None:
    assert handovers[fault].seconds < HANDOVER


@pytest.mark.parametrize("fault", FAULTS)
def test_there_are_never_two_writers(handovers: dict[str, Handover], fault: str) -> None:
    """O21: by the API server's audit log: a stopped leader writes nothing."""
    seen = handovers[fault]
    old, new = _work(seen.first), _work(seen.second)
    assert len(old) > 10
    assert len(new) > 3
    assert old[-1].received < seen.acquired.received < new[0].received
    # The leases tell the same.
    renewals = [each for each in seen.first if each.lease and each.writes and each.status < 300]
    assert renewals[-1].received < seen.acquired.received


@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_leader_ends(handovers: dict[str, Handover], fault: str) -> None:
    assert handovers[fault].exit_code == (-signal.SIGKILL if fault == "killed" else EXIT_LOST)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_standby_only_looks_at_the_lease(handovers: dict[str, Handover], fault: str) -> None:
    idle = handovers[fault].second[: handovers[fault].standing_by]
    assert len(idle) >= 2
    assert {(each.verb, each.resource) for each in idle} == {("get", "leases")}


def _work(requests: list[Request]) -> list[Request]:
    return [each for each in requests if each.writes and not each.lease]


async def _handover(plane: ControlPlane, folder: Path, fault: str, starting: asyncio.Lock) -> Handover:
    log = plane.audit_log
    assert log is not None
    async with support.connected(plane) as cluster, contextlib.AsyncExitStack() as stack:
        namespace = await cluster.namespace("ha")
        users = [account(namespace, f"operator-{number}") for number in range(2)]
        proxies = [await stack.enter_async_context(TcpProxy(plane.url)) for _ in users]

        async def seen(number: int) -> list[Request]:
            return await asyncio.to_thread(requests_of, log, users[number])

        async def wrote(number: int, least: int) -> None:
            async def enough() -> bool:
                return len(_work(await seen(number))) >= least

            logs = [process.log for process in (leader, other)]
            try:
                await support.until(enough, f"{least} writes of {users[number]}", timeout=60, every=0.5)
            except AssertionError as error:
                said = "\n".join(log.read_text()[-2000:] for log in logs)
                raise AssertionError(f"{fault}: {error}\n{said}") from None

        # One after the other: six starts at once would leave no time to renew a Lease.
        async with starting:
            settings = {"operatorNamespace": namespace, "watchNamespaces": [namespace]}
            kubeconfig = await asyncio.to_thread(_user, plane, folder, users[0], proxies[0].url)
            leader = stack.enter_context(started(folder, kubeconfig, settings))
            await support.until(lambda: asyncio.to_thread(leader.leads), "it leads", timeout=60, every=0.3)
            kubeconfig = await asyncio.to_thread(_user, plane, folder, users[1], proxies[1].url)
            other = stack.enter_context(started(folder, kubeconfig, settings))

            async def stands_by() -> bool:
                return len(await seen(1)) >= 3

            await support.until(stands_by, "the other stands by", timeout=60, every=0.5)
        await cluster.apply(m.runtime(namespace))
        await cluster.apply(m.agent(namespace))
        editing = asyncio.create_task(_edit(cluster, namespace))
        try:
            await wrote(0, 15)
            standing_by = len(await seen(1))
            began = time.monotonic()
            match fault:
                case "killed":
                    leader.process.kill()
                case "frozen":
                    leader.process.send_signal(signal.SIGSTOP)
                case _:
                    proxies[0].cut()
            await wrote(1, 4)
            seconds = time.monotonic() - began
            if fault == "frozen":
                leader.process.send_signal(signal.SIGCONT)
            proxies[0].heal()
            exit_code = await asyncio.to_thread(leader.process.wait, 20)
            await wrote(1, len(_work(await seen(1))) + 4)
        finally:
            editing.cancel()
        await asyncio.gather(editing, return_exceptions=True)
        assert other.process.poll() is None
        return Handover(fault, seconds, exit_code, await seen(0), await seen(1), standing_by)


async def _edit(cluster: support.Cluster, namespace: str) -> None:
    """Give the leader something to write as soon as it has written what came of the last."""
    for number in itertools.count():
        words = f"Version {number}."
        await cluster.patch(AGENTS, namespace, "assistant", {"spec": {"prompt": words}})

        async def written(words: str = words) -> bool:
            found = await cluster.client.get(CONFIG_MAPS, namespace, "runtime-config")
            return found is not None and words in str(found["data"])

        await support.until(written, f"{words!r} is in the configuration", timeout=60)


def _user(plane: ControlPlane, folder: Path, user: str, server: str) -> Path:
    """Make a ServiceAccount that may do everything, and return its kubeconfig."""
    namespace, name = user.split(":")[2:]
    plane.kubectl("create", "serviceaccount", name, "-n", namespace)
    binding = ("clusterrolebinding", f"{namespace}-{name}", "--clusterrole=cluster-admin")
    plane.kubectl("create", *binding, f"--serviceaccount={namespace}:{name}")
    (folder / namespace).mkdir(exist_ok=True)
    return account_kubeconfig(plane, folder / namespace, namespace, name, server=server)
