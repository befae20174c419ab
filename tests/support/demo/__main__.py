"""``python -m tests.support.demo``: a conversation that goes on after its pod was killed."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from tests.support.cluster.commands import ClusterError
from tests.support.demo import steps
from tests.support.demo.diagnosis import diagnose
from tests.support.demo.report import Report
from tests.support.demo.steps import DemoError

if TYPE_CHECKING:
    from tests.support.cluster.kind import Cluster


def main() -> int:
    """Run the demo. Returns 0 when every step did what it promises."""
    report = Report()
    clusters: list[Cluster] = []
    try:
        run(report, clusters)
    except (DemoError, ClusterError) as error:
        failed(report, error, clusters)
        return 1
    except KeyboardInterrupt:
        report.summary()
        report.console.print("interrupted")
        return 130
    report.summary()
    report.console.print("\nThe conversation went on although its pod was gone.", style="bold green")
    report.console.print(
        'The cluster stays up. Use it: export KUBECONFIG="$(make -s kubeconfig)". End it: make cluster-down'
    )
    return 0


def run(report: Report, clusters: list[Cluster]) -> None:
    """Do every step; puts the cluster into `clusters` as soon as there is one."""
    with report.step("Start a Kubernetes cluster"):
        chosen = steps.start_cluster()
        clusters.append(chosen)
    with report.step("Build the images"):
        built = steps.build_images()
        report.say("\n".join(reference for reference, _ in built.values()))
    with report.step("Load the images into the cluster"):
        steps.load_images(chosen, built)
    with report.step("Install the charts aixgo-crds and aixgo-operator"):
        steps.install(chosen, built)
    with report.step("kubectl apply -f examples/quickstart"):
        report.say(steps.apply_quickstart(chosen))
    with report.step("Wait until everything is Ready"):
        steps.wait_until_ready(chosen, saying=report.say)

    with report.step("Tell the agent a secret word, in a new session"):
        first = told(report, steps.call(chosen, "assistant", steps.REMEMBER), steps.REMEMBER)
    with report.step("Ask it something else"):
        second = steps.call(chosen, "assistant", steps.DISTRACTION, session=first.session_id)
        told(report, second, steps.DISTRACTION)
    with report.step(f"Delete the pod that answered, {second.pod}"):
        steps.delete_pod(chosen, second.pod)
    with report.step("Ask for the word: another pod answers, and knows it"):
        last = steps.call(chosen, "assistant", steps.RECALL, session=first.session_id)
        told(report, last, steps.RECALL)
        steps.expect_recall(second, last)
    with report.step("Read the conversation out of the session backend"):
        kube = ("--kube", "--backend", steps.BACKEND, "-n", steps.NAMESPACE)
        conversation = steps.show_session(chosen, first.session_id)
        report.say(steps.command(chosen, "session", "show", first.session_id, *kube).stdout)
        expect_conversation(conversation, first.session_id)
    with report.step("Look at conditions and certificates"):
        report.say(steps.command(chosen, "status", "-n", steps.NAMESPACE).stdout)
        if unready := steps.not_ready(chosen):
            # The deleted pod's successor may still be starting.
            report.say(f"not Ready at the moment: {', '.join(unready)}")
            steps.wait_until_ready(chosen, saying=report.say)


def told(report: Report, answer: steps.Answer, question: str) -> steps.Answer:
    """Show one turn of the conversation."""
    report.say(f"you:       {question}")
    report.say(f"assistant: {answer.text}", style="bold")
    report.say(f"session={answer.session_id} version={answer.version} pod={answer.pod}", style="dim")
    return answer


def expect_conversation(conversation: dict[str, list[dict[str, str]]], session_id: str) -> None:
    """Check that the backend has all three turns, each question before its answer."""
    texts = [message["text"] for message in conversation["messages"]]
    questions = texts[0::2]
    if len(texts) != 6 or questions != [steps.REMEMBER, steps.DISTRACTION, steps.RECALL]:
        raise DemoError(
            f"the session backend has {len(texts)} messages: {texts}",
            where=f"session {session_id}",
            then="aixgo session verify",
        )


def failed(report: Report, error: DemoError | ClusterError, clusters: list[Cluster]) -> None:
    """Say what failed, where and what to do next, with what the cluster says about it."""
    for chosen in clusters:
        with contextlib.suppress(ClusterError, OSError):
            report.console.print()
            report.console.print(diagnose(chosen), markup=False)
    report.summary()
    report.console.print()
    report.console.print(f"Error: {error}", style="bold red", markup=False)
    if isinstance(error, DemoError):
        report.console.print(f"where: {error.where}", markup=False)
        report.console.print(f" next: {error.then}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
