"""A change of the authority in a world of runtimes that come, go, sleep and stay silent, with an operator
that crashes between any two writes: whoever serves accepts whoever serves, at every moment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aixgo_operator.pki.authority import create_authority
from aixgo_operator.pki.inspect import fingerprints, signed_by
from aixgo_operator.pki.issue import LeafRequest, issue_leaf
from aixgo_operator.pki.renewal import Keep, decide
from aixgo_operator.pki.rotation import Peer, Phase, Rotation, advance, begin
from aixgo_operator.reconcile.authority import counts
from aixgo_operator.reconcile.holders import Holder

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
YEAR = 365 * dt.timedelta(days=1)
CA = create_authority(now=START, duration=YEAR)
REQUEST = LeafRequest("pod", dt.timedelta(days=30), dns_names=("pod",))
TIMEOUT = 180.0
NAMES = st.sampled_from(["a", "b", "c"])


@dataclass
class Files:
    """What is in a Secret, or mounted in a pod."""

    leaf: bytes
    key: bytes
    bundle: bytes

    def peer(self) -> Peer:
        signer = signed_by(self.leaf, self.bundle)
        return Peer(frozenset(fingerprints(self.bundle)), signer.sha256_fingerprint if signer else None)


@dataclass
class Pod:
    """A pod serves (is Ready) or not, and answers the operator or not."""

    files: Files
    ready: bool = True
    answers: bool = True


@dataclass
class Runtime:
    secret: Files
    pod: Pod | None = field(default=None)


class World(RuleBasedStateMachine):
    """The operator's steps are those of the code, in an order that the test chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.stored = Rotation(Phase.STABLE, CA).to_secret()
        self.runtimes: dict[str, Runtime] = {}
        self.changes = 0

    def rotation(self) -> Rotation:
        """Nothing is remembered: each read is as after a crash."""
        return Rotation.from_secret(self.stored)

    def certify(self, old: Files | None) -> Files:
        rotation = self.rotation()
        current = None if old is None else {"tls.crt": old.leaf, "tls.key": old.key}
        if old is not None and isinstance(
            decide(current, REQUEST, rotation.signer.cert_pem, now=self.now), Keep
        ):
            return Files(old.leaf, old.key, rotation.trust_bundle)
        pair = issue_leaf(REQUEST, rotation.signer, now=self.now)
        return Files(pair.cert_pem, pair.key_pem, rotation.trust_bundle)

    @initialize()
    def in_the_middle_of_a_change(self) -> None:
        for name in ("a", "b"):
            self.reconcile(name)
            self.start_pod(name)
        self.ask_for_a_change()

    @rule(name=NAMES)
    def reconcile(self, name: str) -> None:
        known = self.runtimes.get(name)
        if known is None:
            self.runtimes[name] = Runtime(self.certify(None))
        else:
            known.secret = self.certify(known.secret)

    @rule()
    def reconcile_all(self) -> None:
        for name in self.runtimes:
            self.reconcile(name)

    @rule(name=NAMES)
    def start_pod(self, name: str) -> None:
        if (found := self.runtimes.get(name)) is not None:
            found.pod = Pod(found.secret)

    @rule(name=NAMES)
    def scale_to_zero(self, name: str) -> None:
        if (found := self.runtimes.get(name)) is not None:
            found.pod = None

    @rule(name=NAMES)
    def reload(self, name: str) -> None:
        found = self.runtimes.get(name)
        if found is not None and found.pod is not None and found.pod.ready:
            found.pod.files = found.secret

    @rule()
    def reload_all(self) -> None:
        for name in self.runtimes:
            self.reload(name)

    @rule(name=NAMES)
    def fall_silent(self, name: str) -> None:
        """Ready, but the operator does not reach it."""
        if (found := self.runtimes.get(name)) is not None and found.pod is not None:
            found.pod.answers = False

    @rule(name=NAMES)
    def crash_loop(self, name: str) -> None:
        if (found := self.runtimes.get(name)) is not None and found.pod is not None:
            found.pod.ready = found.pod.answers = False

    @rule(name=NAMES)
    def recover(self, name: str) -> None:
        """A container that starts (again) finds the files as they are."""
        found = self.runtimes.get(name)
        if found is not None and found.pod is not None:
            found.pod = Pod(found.secret if not found.pod.ready else found.pod.files)

    @rule(seconds=st.sampled_from([1, 100, 1000]))
    def time_goes_by(self, seconds: int) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @rule()
    def ask_for_a_change(self) -> None:
        self.stored = begin(self.rotation(), now=self.now, duration=YEAR).to_secret()

    @rule()
    def take_a_step(self) -> None:
        rotation = self.rotation()
        found = []
        for name, runtime in self.runtimes.items():
            found.append(Holder(f"Secret {name}", runtime.secret.peer()))
            if (pod := runtime.pod) is not None:
                peer = pod.files.peer() if pod.answers else Peer(frozenset(), None)
                idle = not pod.answers and not pod.ready
                found.append(Holder(f"Pod {name}", peer, is_pod=True, idle=idle, reload_timeout=TIMEOUT))
        peers = [holder.peer for holder in found if counts(holder, rotation, self.now)]
        step = advance(rotation, peers, now=self.now, overlap=dt.timedelta(0))
        self.changes += step.phase is Phase.STABLE and rotation.phase is not Phase.STABLE
        self.stored = step.to_secret()

    @rule()
    def look_at_everything(self) -> None:
        self.reconcile_all()
        self.take_a_step()

    @invariant()
    def everyone_accepts_everyone(self) -> None:
        serving = [
            runtime.pod.files
            for runtime in self.runtimes.values()
            if runtime.pod is not None and runtime.pod.ready
        ]
        # A pod that starts now, and a runtime that is made now.
        serving += [runtime.secret for runtime in self.runtimes.values()]
        serving.append(self.certify(None))
        for caller in serving:
            for callee in serving:
                assert signed_by(callee.leaf, caller.bundle) is not None, self.rotation().phase

    def teardown(self) -> None:
        """Whatever happened, a change comes to its end once everybody is well."""
        self.ask_for_a_change()
        for name in list(self.runtimes):
            self.recover(name)
        for _ in range(4):
            self.reconcile_all()
            self.reload_all()
            self.take_a_step()
            self.everyone_accepts_everyone()
        assert self.rotation().phase is Phase.STABLE
        assert self.changes


World.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
test_world = World.TestCase
