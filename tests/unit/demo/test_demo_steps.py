"""The demo fails when a promise is not kept: what it checks, and what it prints."""

import io

import pytest
from rich.console import Console
from tests.support.demo.__main__ import expect_conversation
from tests.support.demo.report import Report
from tests.support.demo.steps import DISTRACTION, RECALL, REMEMBER, Answer, DemoError, expect_recall

BEFORE = Answer("Paris.", "s", 4, "agents-1")


def test_recall_by_another_pod_is_what_is_wanted() -> None:
    expect_recall(BEFORE, Answer("The secret word is Banana.", "s", 6, "agents-2"))


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Answer("I do not know.", "s", 6, "agents-2"), "has no 'banana'"),
        (Answer("banana", "other", 6, "agents-2"), "session changed"),
        (Answer("banana", "s", 6, "agents-1"), "was deleted and still answered"),
        (Answer("banana", "s", 4, "agents-2"), "from version 4 to 4"),
    ],
)
def test_anything_else_fails(last: Answer, says: str) -> None:
    with pytest.raises(DemoError, match=says):
        expect_recall(BEFORE, last)


def messages(*texts: str) -> dict[str, list[dict[str, str]]]:
    return {"messages": [{"text": text} for text in texts]}


def test_whole_conversation_must_be_stored() -> None:
    expect_conversation(messages(REMEMBER, "a", DISTRACTION, "b", RECALL, "c"), "s")
    for wrong in (
        messages(REMEMBER, "a", DISTRACTION, "b"),
        messages(REMEMBER, "a", RECALL, "c", DISTRACTION, "b"),
        messages(REMEMBER, "a", DISTRACTION, "b", DISTRACTION, "b", RECALL, "c"),
    ):
        with pytest.raises(DemoError):
            expect_conversation(wrong, "s")


def test_summary_names_the_step_that_failed() -> None:
    report = Report(Console(record=True, width=100, file=io.StringIO()))
    with report.step("first"):
        pass
    with pytest.raises(DemoError), report.step("second"):
        raise DemoError("no", where="here", then="there")
    report.summary()
    lines = report.console.export_text().splitlines()
    assert any(line.startswith("first") and line.rstrip().endswith("ok") for line in lines)
    assert any(line.startswith("second") and "FAILED" in line for line in lines)
