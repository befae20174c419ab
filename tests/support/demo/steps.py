"""The steps of the demo, each a function of its own: the end-to-end tests use them too.

They work on a :class:`Cluster`. They raise :class:`DemoError` or :class:`ClusterError` where a promise fails.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.aixgo_command import Result, aixgo
from tests.support.cluster import binaries, images
from tests.support.cluster.cache import REPOSITORY
from tests.support.cluster.commands import CommandError, run
from tests.support.cluster.kind import cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.cluster.kind import Cluster

QUICKSTART = REPOSITORY / "examples" / "quickstart"
NAMESPACE = "quickstart"
OPERATOR_NAMESPACE = "aixgo-system"
BACKEND = "sessions"
#: Everything of the quickstart that has the condition Ready.
OBJECTS = ("sessionbackend/sessions", "agentruntime/agents", "agent/assistant", "agent/reviewer")

REMEMBER = "Remember this: the secret word is banana."
DISTRACTION = "What is the capital of France?"
RECALL = "What is the secret word?"
WORD = "banana"


class DemoError(RuntimeError):
    """A step did not end as promised: what, where, and what to do next."""

    def __init__(self, what: str, *, where: str, then: str) -> None:
        super().__init__(what)
        self.where = where
        self.then = then


@dataclass(frozen=True)
class Answer:
    """What an agent said, in which session, and which pod it came from."""

    text: str
    session_id: str
    version: int
    pod: str


def start_cluster(*, nodes: int = 1) -> Cluster:
    """Make sure that the checkout's cluster is up (with AIXGO_CLUSTER=current: the current one answers)."""
    chosen = cluster()
    chosen.up(nodes=nodes)
    return chosen


def build_images() -> dict[str, tuple[str, Path]]:
    """Build what is not built yet: per image its reference and its archive."""
    return images.build("operator", "runtime", "redis", "model")


def load_images(chosen: Cluster, built: dict[str, tuple[str, Path]]) -> None:
    """Load the archives into the nodes that do not have them."""
    chosen.load_image(*(archive for _, archive in built.values()))


def install(chosen: Cluster, built: dict[str, tuple[str, Path]], *, values: Sequence[str] = ()) -> None:
    """Install or upgrade both charts and wait until the operator runs. `values` are more of ``--set``."""
    repository, _, tag = built["operator"][0].rpartition(":")
    helm(
        chosen,
        *("upgrade", "--install", "aixgo-crds", str(REPOSITORY / "charts" / "aixgo-crds")),
        "--create-namespace",
    )
    settings = [
        f"image.repository={repository}",
        f"image.tag={tag}",
        f"runtime.image={built['runtime'][0]}",
        f"redis.image={built['redis'][0]}",
        *values,
    ]
    helm(
        chosen,
        *("upgrade", "--install", "aixgo", str(REPOSITORY / "charts" / "aixgo-operator")),
        *("--create-namespace", "--wait", "--timeout", "3m"),
        *(part for setting in settings for part in ("--set", setting)),
    )


def helm(chosen: Cluster, *arguments: str, timeout: float = 240) -> str:
    """Run helm against the cluster, in the operator's namespace."""
    program = binaries.ensure("helm")["helm"]
    env = {**os.environ, "KUBECONFIG": str(chosen.kubeconfig)}
    return run([program, "--namespace", OPERATOR_NAMESPACE, *arguments], timeout=timeout, env=env)


def apply_quickstart(chosen: Cluster) -> str:
    """Apply the folder as the README says, in one go."""
    return chosen.kubectl("apply", "-f", str(QUICKSTART))


def wait_until_ready(
    chosen: Cluster,
    *,
    timeout: float = 300,
    saying: Callable[[str], None] = lambda _: None,
    objects: Sequence[str] = OBJECTS,
) -> None:
    """Wait until the model is available and every object has Ready=True for its newest generation."""
    end = time.monotonic() + timeout
    waits = [("--for=condition=Available", "deployment/model"), ("--for=condition=Ready", *objects)]
    for condition, *targets in waits:
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise DemoError(
                    f"not ready after {timeout:.0f} s: {', '.join(not_ready(chosen)) or targets[0]}",
                    where=f"namespace {NAMESPACE}",
                    then=f"aixgo explain agentruntime/agents -n {NAMESPACE}; the operator's log is below",
                )
            wait = f"--timeout={max(1, min(10, int(left)))}s"
            try:
                chosen.kubectl("-n", NAMESPACE, "wait", condition, *targets, wait, timeout=30)
                break
            except CommandError:
                saying(f"waiting for {', '.join(not_ready(chosen)) or targets[0]}")


def not_ready(chosen: Cluster) -> list[str]:
    """Names and reasons of the objects that are not Ready."""
    return [
        f"{row['kind']} {row['name']} ({row['reason']})" for row in fleet(chosen) if row["ready"] != "True"
    ]


def call(chosen: Cluster, agent: str, text: str, *, session: str = "new", timeout: float = 60) -> Answer:
    """Call an agent with the command `aixgo`, as a user would."""
    options = ["--session", session, "--kube", "-n", NAMESPACE, "--timeout", str(timeout), "-o", "json"]
    data = _answered(command(chosen, "call", agent, text, *options), f"agent {agent}")
    return Answer(data["text"], data["sessionId"], data["sessionVersion"], data["pod"])


def delete_pod(chosen: Cluster, pod: str) -> None:
    """Delete a pod and wait until it is gone."""
    chosen.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--timeout=150s", timeout=180)


def expect_recall(first: Answer, last: Answer) -> None:
    """Check that another pod answered, in the same session, and knew what only the first turn had said."""
    where = f"session {last.session_id}, pod {last.pod}"
    if WORD not in last.text.lower():
        raise DemoError(
            f"the answer has no {WORD!r}: {last.text!r}",
            where=where,
            then=f"aixgo session show {last.session_id}",
        )
    if last.session_id != first.session_id:
        raise DemoError("the session changed", where=where, then="look at the runtime's log")
    if last.pod == first.pod:
        raise DemoError(
            f"pod {first.pod} was deleted and still answered", where=where, then="kubectl get pods"
        )
    if last.version <= first.version:
        raise DemoError(
            f"the session went from version {first.version} to {last.version}",
            where=where,
            then=f"aixgo session show {last.session_id}",
        )


def show_session(chosen: Cluster, session_id: str) -> dict[str, Any]:
    """Read the conversation out of the session backend: ``{"session": …, "messages": [...]}``."""
    options = ["--kube", "--backend", BACKEND, "-n", NAMESPACE, "-o", "json"]
    data: dict[str, Any] = _answered(
        command(chosen, "session", "show", session_id, *options), f"session {session_id}"
    )
    return data


def fleet(chosen: Cluster) -> list[dict[str, Any]]:
    """Return the rows of ``aixgo status``."""
    rows: list[dict[str, Any]] = _answered(command(chosen, "status", "-n", NAMESPACE, "-o", "json"), "status")
    return rows


def command(chosen: Cluster, *arguments: str, timeout: float = 120) -> Result:
    """Run `aixgo` with the rights of the cluster's kubeconfig."""
    return aixgo(*arguments, kubeconfig=chosen.kubeconfig, timeout=timeout)


def _answered(result: Result, where: str) -> Any:
    if result.code != 0:
        raise DemoError(
            result.stderr.strip() or f"aixgo ended with code {result.code}",
            where=where,
            then="the state of the cluster is below",
        )
    return json.loads(result.stdout)
