"""Everything that may happen to a namespace, in any order: the operator's state machine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support import manifests as m
from tests.support.operator_site import LOGIN, NEVER, TAKEN, WORDS, Site

from aixgo_operator.kube.resources import AGENT_RUNTIMES, AGENTS, CONFIG_MAPS, SECRETS, SESSION_BACKENDS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.cluster.control_plane import ControlPlane

SESSIONS = {"sessionBackendRef": {"name": "sessions"}}
PASSWORD = "a password of a test"

RUNTIMES = st.sampled_from(["front", "back"])
RUNTIME_SPECS = st.sampled_from(
    [
        {},
        {},
        SESSIONS,
        SESSIONS,
        {"replicas": 2},
        {"replicas": 2, "clients": [{"name": "ci"}], **SESSIONS},
        {"image": "example.org/runtime:2"},
        {"env": [{"name": "A", "value": "b"}], **SESSIONS},
        {"maxConcurrentCalls": 7},
        {"operatingMode": "Suspended"},
        {"replicas": 0},
        # References to what is not there, or not for us.
        {"sessionBackendRef": {"name": "nowhere"}},
        {"sessionBackendRef": {"name": "sessions", "namespace": "kube-system"}},
        {"tls": {"mode": "Mutual", "certificateRef": {"name": LOGIN}}},
        {"tls": {"mode": "Mutual", "issuerRef": {"name": "nobody"}}},
        # What the API server takes and nobody can serve.
        {"grpc": {"port": 8080}},
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
    ]
)
AGENT_NAMES = st.sampled_from(["one", "two"])
AGENT_SPECS = st.sampled_from(
    [
        {},
        {},
        {"prompt": "Rhyme."},
        {"timeoutSeconds": 5, "session": {"mode": "Persistent"}},
        {"operatingMode": "Suspended"},
        {"promptFrom": {"configMapKeyRef": {"name": WORDS, "key": "prompt"}}},
        {"promptFrom": {"secretKeyRef": {"name": LOGIN, "key": "password"}}},
        {"handler": "tests.support.custom_agents:nothing"},
        {"role": "react", "handler": None, "model": None},
    ]
)
#: Where an Agent may want to go.
HOSTS = st.sampled_from(["front", "front", "back", "nowhere"])
PAUSES = st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.5])
NUMBERS = st.integers(0, 1000)


class OperatorMachine(RuleBasedStateMachine):
    """One example is one namespace. Subclasses say where: see :func:`machine`."""

    plane: ControlPlane
    redis: str

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(prefix="operator-")
        self._failed = False
        self.site = Site(self.plane, Path(self._folder.name))
        self._runner.run(self.site.__aenter__())

    def _does(self, what: str, work: Coroutine[Any, Any, None], pause: float = 0.0) -> None:
        """Let something happen and some time go by."""
        self.site.story.append(what)

        async def happen() -> None:
            await work
            await asyncio.sleep(pause)

        self._run(happen())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            self._runner.run(work)
        except BaseException as error:
            self._failed = True
            error.add_note("\n".join(self.site.story))
            raise

    @initialize(files=st.booleans(), pause=st.sampled_from([0.0, 3.0]))
    def in_order(self, files: bool, pause: float) -> None:
        """In the beginning everything is there that is needed to answer."""
        self.login(PASSWORD, 0.0)
        self.words("Be brief.", 0.0)
        self.backend(files, "Delete", 0.0)
        self.runtime("front", SESSIONS, 0.0)
        self.agent("one", "front", {"session": {"mode": "Persistent"}}, 0.0)
        self.wait(pause)

    # Users

    @rule(name=RUNTIMES, spec=RUNTIME_SPECS, pause=PAUSES)
    def runtime(self, name: str, spec: dict[str, Any], pause: float) -> None:
        """A user applies an AgentRuntime."""
        manifest = m.runtime(self.site.namespace, name, **spec)
        self._does(f"AgentRuntime {name} {spec}, {pause} s", self.site.apply(manifest), pause)

    @rule(name=AGENT_NAMES, host=HOSTS, spec=AGENT_SPECS, pause=PAUSES)
    def agent(self, name: str, host: str, spec: dict[str, Any], pause: float) -> None:
        """A user applies an Agent."""
        manifest = m.agent(self.site.namespace, name, host)
        given = {"role": "custom", "handler": "tests.support.custom_agents:recall", **spec}
        kept = {key: value for key, value in given.items() if value is not None}
        manifest["spec"] = {"runtimeRef": {"name": host}, **kept}
        self._does(f"Agent {name} on {host} {spec}, {pause} s", self.site.apply(manifest), pause)

    @rule(files=st.booleans(), policy=st.sampled_from(["Retain", "Delete"]), pause=PAUSES)
    def backend(self, files: bool, policy: str, pause: float) -> None:
        """A user applies a SessionBackend; its type cannot be changed."""
        if files:
            manifest = m.file_backend(self.site.namespace, deletionPolicy=policy)
        else:
            reference = {"name": LOGIN, "key": "password"}
            where = {"addresses": [self.redis], "tls": {"mode": "Disabled"}}
            redis = {**where, "auth": {"passwordSecretRef": reference}}
            manifest = m.managed_redis(self.site.namespace, redis=redis, deletionPolicy=policy)
        self._does(f"SessionBackend files={files} {policy}, {pause} s", self.site.apply(manifest), pause)

    @rule(
        what=st.sampled_from(
            [
                (AGENT_RUNTIMES, "front"),
                (AGENT_RUNTIMES, "back"),
                (AGENTS, "one"),
                (AGENTS, "two"),
                (SESSION_BACKENDS, "sessions"),
                (SECRETS, LOGIN),
                (CONFIG_MAPS, WORDS),
                (CONFIG_MAPS, TAKEN),
            ]
        ),
        pause=PAUSES,
    )
    def delete(self, what: tuple[Any, str], pause: float) -> None:
        """A user deletes something."""
        self._does(f"delete {what[0].kind} {what[1]}, {pause} s", self.site.delete(*what), pause)

    @rule(password=st.sampled_from([PASSWORD, PASSWORD, "wrong"]), pause=PAUSES)
    def login(self, password: str, pause: float) -> None:
        """A user writes the Secret with the password of the Redis."""
        manifest = m.secret(self.site.namespace, LOGIN, password=password)
        self._does(f"Secret {LOGIN} {password}, {pause} s", self.site.apply(manifest), pause)

    @rule(words=st.sampled_from(["Be brief.", "Be long."]), pause=PAUSES)
    def words(self, words: str, pause: float) -> None:
        """A user writes the ConfigMap with a prompt."""
        metadata = {"name": WORDS, "namespace": self.site.namespace}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"prompt": words}}
        self._does(f"ConfigMap {WORDS} {words}, {pause} s", self.site.apply(manifest), pause)

    # Strangers

    @rule(pause=PAUSES)
    def take_a_name(self, pause: float) -> None:
        """Somebody else has an object that is called as one of the operator's."""
        metadata = {"name": TAKEN, "namespace": self.site.namespace}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}
        self._does(f"ConfigMap {TAKEN}, {pause} s", self.site.create(manifest), pause)

    @rule(number=NUMBERS, pause=PAUSES)
    def delete_child(self, number: int, pause: float) -> None:
        """A stranger deletes one of the operator's objects."""
        self._does(f"delete child {number}, {pause} s", self.site.delete_child(number), pause)

    @rule(number=NUMBERS, pause=PAUSES)
    def edit_child(self, number: int, pause: float) -> None:
        """Another manager changes one of the operator's objects."""
        self._does(f"edit child {number}, {pause} s", self.site.edit_child(number), pause)

    @rule(value=NUMBERS, pause=PAUSES)
    def rotate(self, value: int, pause: float) -> None:
        """Somebody asks for a new certificate authority."""
        self._does(f"rotate {value}, {pause} s", self.site.rotate(value), pause)

    # Pods

    @rule(number=NUMBERS, pause=PAUSES)
    def delete_pod(self, number: int, pause: float) -> None:
        """Somebody deletes a pod."""
        self._does(f"delete pod {number}, {pause} s", self.site.delete_pod(number), pause)

    @rule(number=NUMBERS, rest=st.sampled_from([0.0, 1.0, 5.0]), pause=PAUSES)
    def crash_pod(self, number: int, rest: float, pause: float) -> None:
        """A container ends."""
        self._does(f"crash pod {number} for {rest} s, {pause} s", self.site.crash_pod(number, rest), pause)

    @rule(
        name=RUNTIMES,
        trouble=st.sampled_from(["unready", "silent", "late", "held"]),
        pause=PAUSES,
    )
    def trouble(self, name: str, trouble: str, pause: float) -> None:
        """Pods are not ready, cannot be asked, get their files late, or are not scheduled."""

        async def happen() -> None:
            match trouble:
                case "unready":
                    self.site.kubelet.unready.add(name)
                case "silent":
                    self.site.prober.silent.add(name)
                case "late":
                    self.site.kubelet.late[name] = 2.0
                case "held":
                    self.site.kubelet.hold.add(name)

        self._does(f"pods of {name} {trouble}, {pause} s", happen(), pause)

    @rule(pause=PAUSES)
    def heal(self, pause: float) -> None:
        """Whatever is wrong with pods passes."""

        async def happen() -> None:
            self.site.heal()

        self._does(f"heal, {pause} s", happen(), pause)

    # The operator

    @rule(writes=st.integers(1, 25), pause=PAUSES)
    def crash_operator(self, writes: int, pause: float) -> None:
        """An operator that dies with its n-th write follows the one that runs."""
        self._does(f"operator of {writes} writes, {pause} s", self.site.start_operator(writes), pause)

    @rule(pause=PAUSES)
    def restart_operator(self, pause: float) -> None:
        """An operator follows the one that runs, or the dead one."""
        self._does(f"operator, {pause} s", self.site.start_operator(NEVER), pause)

    @rule(pause=st.sampled_from([1.0, 3.0]))
    def wait(self, pause: float) -> None:
        """Nothing happens for a while."""
        self._does(f"{pause} s", asyncio.sleep(0), pause)

    # What holds

    @invariant()
    def kept_its_word(self) -> None:
        """Who was said to be ready could be called, and no status was of a generation that is not there."""

        async def check() -> None:
            self.site.auditor.check()

        self._run(check())

    def teardown(self) -> None:
        """Whatever happened, the end is what a fresh operator makes of the same manifests."""
        try:
            if not self._failed:
                self._run(self.site.finish())
        finally:
            self._runner.run(self.site.__aexit__())
            self._runner.close()
            self._folder.cleanup()


def machine(plane: ControlPlane, redis: str, seen: list[Site]) -> type[OperatorMachine]:
    """Return the machine for a control plane and a Redis with :data:`PASSWORD`; ``seen`` gets its sites."""

    class Here(OperatorMachine):
        def __init__(self) -> None:
            self.plane, self.redis = plane, redis
            super().__init__()
            seen.append(self.site)

    return Here
