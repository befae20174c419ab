"""What is measured of one installation of a size."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.common.machine import ROOT, say
from benchmarks.operator.api import OURS, Api
from benchmarks.operator.world import OPERATOR_NAMESPACE
from tests.support.operator_process import account_kubeconfig, chart, started

from aixgo_operator.kube.resources import (
    AGENT_RUNTIMES,
    AGENTS,
    CHILD_KINDS,
    CONFIG_MAPS,
    NAMESPACES,
    OUR_KINDS,
    PODS,
    SECRETS,
)
from aixgo_operator.reconcile.status import is_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from benchmarks.operator.api import Manifest
    from benchmarks.operator.world import World
    from tests.support.cluster.control_plane import ControlPlane
    from tests.support.operator_process import OperatorProcess

_SAMPLE: Final = re.compile(r"^aixgo_operator_(\w+?)(?:\{(.*)\})? ([0-9.e+]+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Seconds without a write after which the operator counts as quiet.
_QUIET: Final = 3.0
#: Seconds after which a start that does not get on is given up.
_STUCK: Final = 180.0
#: What the operator watches without a selector.
_UNFILTERED: Final = (*OUR_KINDS, SECRETS, CONFIG_MAPS, NAMESPACES)

#: Name of a step -> what was measured in it.
Numbers = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Counts:
    """What the operator's metrics say: requests but those about its Lease, and reconciles."""

    writes: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    reconciles: Counter[str] = field(default_factory=Counter)
    depth: float = 0.0

    def since(self, before: Counts) -> Counts:
        """Return what was counted after ``before``."""
        return Counts(
            self.writes - before.writes,
            self.reads - before.reads,
            self.reconciles - before.reconciles,
            self.depth,
        )


class Operator:
    """A running ``aixgo operator``."""

    def __init__(self, process: OperatorProcess, quiet: float) -> None:
        self._process = process
        self._quiet = quiet
        self.pid = process.process.pid
        self.begin = time.monotonic()

    async def counts(self) -> Counts:
        """Return what it has counted so far. Raises RuntimeError when it has ended."""
        while True:
            status, text = await asyncio.to_thread(self._process.get, "/metrics")
            if status == 200:
                return _counts(text)
            self.check()
            await asyncio.sleep(0.05)

    def check(self) -> None:
        """Raise RuntimeError when it has ended."""
        if self._process.process.poll() is not None:
            raise RuntimeError(f"the operator ended: {self._process.log.read_text()[-2000:]}")

    async def until(self, condition: Callable[[Counts], bool], timeout: float = 300.0) -> None:
        """Wait until the counts are as wanted. Raises RuntimeError after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not condition(counts := await self.counts()):
            if time.monotonic() > end:
                raise RuntimeError(f"not within {timeout:g} s: {counts}")
            await asyncio.sleep(0.05)

    async def until_quiet(self, timeout: float = 120.0) -> Counts:
        """Wait until nothing was written for a while; return the counts."""
        last, since = await self.counts(), time.monotonic()
        end = since + timeout
        while time.monotonic() - since < self._quiet:
            if time.monotonic() > end:
                raise RuntimeError(f"the operator goes on writing: {last.writes}")
            await asyncio.sleep(0.2)
            now = await self.counts()
            if now.writes != last.writes or now.depth:
                since = time.monotonic()
            last = now
        return last

    async def stop(self) -> None:
        """End it in good order."""
        self._process.process.terminate()
        await asyncio.to_thread(self._process.process.wait, 30)


def _counts(text: str) -> Counts:
    counts, depth = Counts(), 0.0
    for name, labels, value in _SAMPLE.findall(text):
        label, number = dict(_LABEL.findall(labels)), float(value)
        if name == "api_requests_total" and label["resource"] != "leases":
            which = counts.reads if label["verb"] == "GET" else counts.writes
            which[f"{label['verb']} {label['resource']}"] += int(number)
        elif name == "reconciles_total":
            counts.reconciles[label["kind"]] += int(number)
        elif name == "queue_depth":
            depth = number
    return Counts(counts.writes, counts.reads, counts.reconciles, depth)


class Readiness:
    """How many of the users' objects say that they are Ready, as told by watches."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._ready: set[str] = set()
        self.complete = asyncio.Event()
        self.at = 0.0

    def observe(self, _: str, manifest: Manifest) -> None:
        """Take in an event."""
        if not is_ready(manifest.get("status") or {}):
            self._ready.discard(manifest["metadata"]["uid"])
            return
        self._ready.add(manifest["metadata"]["uid"])
        if len(self._ready) == self._expected and not self.complete.is_set():
            self.at = time.monotonic()
            self.complete.set()

    @property
    def missing(self) -> int:
        """How many do not."""
        return self._expected - len(self._ready)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int, field_: str = "VmRSS") -> float:
    """Return the memory of a process in MB: present, or with ``VmHWM`` the most it had."""
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(field_ + ":"))
    return int(line.split()[1]) * 1024 / 1e6


async def versions(api: Api) -> dict[str, str]:
    """Return kind, namespace, name and version of everything that the operator may write."""
    found = {}
    for resource in (*OUR_KINDS, *CHILD_KINDS, PODS):
        items, _ = await api.items(resource, "" if resource in OUR_KINDS else OURS)
        for item in items:
            metadata = item["metadata"]
            where = f"{resource.plural}/{metadata['namespace']}/{metadata['name']}"
            found[where] = metadata["resourceVersion"]
    return found


@contextlib.contextmanager
def playing_pods(kubeconfig: Path, log: Path) -> Iterator[None]:
    """Run the stand-in for kubelets."""
    command = [sys.executable, "-m", "benchmarks.operator.pods", str(kubeconfig)]
    with _said(command, "playing", log):
        yield


@contextlib.contextmanager
def _said(command: list[str], word: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program from the moment that it says something until its standard input is closed."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != word:
            raise RuntimeError(f"{command[2]}: {log.read_text()[-2000:]}")
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Installation:
    """A cluster with a world in it, measured step by step."""

    def __init__(
        self,
        plane: ControlPlane,
        world: World,
        folder: Path,
        settings: dict[str, Any],
        *,
        quiet: float = _QUIET,
    ) -> None:
        self._quiet = quiet
        self._plane = plane
        self._world = world
        self._folder = folder
        self._settings = {"operatorNamespace": OPERATOR_NAMESPACE, **settings}
        self.numbers: Numbers = {}

    async def measure(self, *, steady: float) -> Numbers:
        """Measure everything; ``steady``: seconds of the steady state."""
        async with Api.connected(self._plane.kubeconfig) as api:
            say(f"{self._world.agents} agents: creating {self._world.objects} objects")
            await self._world.create(api)
            self._log_in()
            with playing_pods(self._plane.kubeconfig, self._folder / "pods.log"):
                async with self._operator() as operator:
                    await self._cold(api, operator)
                    await self._steady(operator, steady)
                    await self._secret(api, operator)
                async with self._operator() as operator:
                    await self._restart(operator)
            await self._nothing(api)
        return self.numbers

    def _log_in(self) -> None:
        """Give the operator the chart's rights, and log it in as its pod is: with a token, which the API
        server need not verify again with each request as it does a certificate."""
        documents = chart(OPERATOR_NAMESPACE)
        (account,) = (item["metadata"]["name"] for item in documents if item["kind"] == "ServiceAccount")
        listed = {"apiVersion": "v1", "kind": "List", "items": documents}
        self._plane.kubectl("apply", "-f", "-", input=json.dumps(listed))
        self._kubeconfig = account_kubeconfig(self._plane, self._folder, OPERATOR_NAMESPACE, account)

    @contextlib.asynccontextmanager
    async def _operator(self) -> AsyncIterator[Operator]:
        with started(self._folder, self._kubeconfig, self._settings) as process:
            operator = Operator(process, self._quiet)
            yield operator
            await operator.stop()

    async def _cold(self, api: Api, operator: Operator) -> None:
        readiness = Readiness(self._world.objects)
        servers = [cpu_seconds(pid) for pid in self._plane.pids]
        watches = [
            asyncio.create_task(api.watch(resource, readiness.observe))
            for resource in (AGENTS, AGENT_RUNTIMES)
        ]
        try:
            await _with_progress(readiness.complete, lambda: f"{readiness.missing} not ready", operator)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        cpu = cpu_seconds(operator.pid)
        etcd, server, controllers = (
            cpu_seconds(pid) - before for pid, before in zip(self._plane.pids, servers, strict=True)
        )
        counts = await operator.until_quiet()
        self._note("cold", operator, Counts(), counts, seconds=readiness.at - operator.begin, cpu=cpu)
        self.numbers["cold"] |= {"etcd cpu": etcd, "server cpu": server, "controllers cpu": controllers}

    async def _steady(self, operator: Operator, seconds: float) -> None:
        before, cpu, begin = await operator.counts(), cpu_seconds(operator.pid), time.monotonic()
        await asyncio.sleep(seconds)
        after = await operator.counts()
        took = time.monotonic() - begin
        used = (cpu_seconds(operator.pid) - cpu) * 60 / took
        self._note("steady", operator, before, after, seconds=took, cpu=used)
        looks = after.since(before).reconciles["AgentRuntime"]
        self.numbers["steady"]["cpu per look"] = used * took / 60 * 1000 / max(looks, 1)

    async def _secret(self, api: Api, operator: Operator) -> None:
        changed = self._world.runtimes // 2
        before, state, cpu = await operator.counts(), await versions(api), cpu_seconds(operator.pid)
        begin = time.monotonic()
        await self._world.change_secret(api, changed)
        await operator.until(lambda now: now.writes != before.writes)
        took = time.monotonic() - begin
        after = await operator.until_quiet()
        used = cpu_seconds(operator.pid) - cpu
        touched = [where for where, version in (await versions(api)).items() if state.get(where) != version]
        own = f"/{self._world.namespace(changed)}/runtime-{changed:03}"
        say(f"a Secret: {dict(after.since(before).writes)}, changed: {touched}")
        self._note("secret", operator, before, after, seconds=took, cpu=used)
        self.numbers["secret"]["touched"] = len(touched)
        self.numbers["secret"]["strangers"] = sum(own not in where for where in touched)

    async def _restart(self, operator: Operator) -> None:
        runtimes, agents = self._world.runtimes, self._world.agents

        def looked(counts: Counts) -> bool:
            done = counts.reconciles
            return done["AgentRuntime"] >= runtimes and done["Agent"] >= agents and not counts.depth

        await operator.until(looked)
        took, cpu = time.monotonic() - operator.begin, cpu_seconds(operator.pid)
        counts = await operator.counts()
        # What the watches tell at first, and with many the second reading of the cluster.
        await asyncio.sleep(20.0 if agents >= 500 else 5.0)
        later = await operator.until_quiet()
        whole = Counts(later.writes, counts.reads, later.reconciles)
        self._note("restart", operator, Counts(), whole, seconds=took, cpu=cpu)

    async def _nothing(self, api: Api) -> None:
        expected = 0
        for resource in (*OUR_KINDS, *CHILD_KINDS, PODS, NAMESPACES):
            found, _ = await api.items(resource, "" if resource in _UNFILTERED else OURS)
            expected += len(found)
        command = [
            sys.executable,
            "-m",
            "benchmarks.operator.nothing",
            str(self._kubeconfig),
            str(expected),
        ]
        begin = time.monotonic()
        with _said(command, "seen", self._folder / "nothing.log") as process:
            self.numbers["nothing"] = {
                "seconds": time.monotonic() - begin,
                "cpu": cpu_seconds(process.pid),
                "rss": memory(process.pid),
                "peak": memory(process.pid, "VmHWM"),
                "objects": expected,
            }
        say(f"nothing: {self.numbers['nothing']}")

    def _note(
        self, step: str, operator: Operator, before: Counts, after: Counts, *, seconds: float, cpu: float
    ) -> None:
        counted, objects = after.since(before), self._world.objects
        writes, reads = counted.writes.total(), counted.reads.total()
        self.numbers[step] = {
            "seconds": seconds,
            "cpu": cpu,
            "cpu per object": cpu * 1000 / objects,
            "writes": writes,
            "writes per object": writes / objects,
            "reads": reads,
            "reads per object": reads / objects,
            "reconciles": counted.reconciles.total(),
            "rss": memory(operator.pid),
            "peak": memory(operator.pid, "VmHWM"),
        }
        shown = ", ".join(f"{key} {value:.4g}" for key, value in self.numbers[step].items())
        say(f"{step}: {shown}")
        say(f"  {dict(counted.writes)} {dict(counted.reads)} {dict(counted.reconciles)}")


async def _with_progress(event: asyncio.Event, text: Callable[[], str], operator: Operator) -> None:
    """Wait for an event, and say now and then how far it is.

    Raises RuntimeError when nothing changes, or the operator ends.
    """
    last, since = "", time.monotonic()
    while not event.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), 10.0)
            return
        operator.check()
        if text() != last:
            last, since = text(), time.monotonic()
            say(last)
        elif time.monotonic() - since > _STUCK:
            raise RuntimeError(f"nothing changed for {_STUCK:g} s: {last}")
