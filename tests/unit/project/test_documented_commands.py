"""Commands in the pages: what they call exists, with the options that they give."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from aixgo_cli.app import app

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "charts/*/README.md",
        "examples/*/README.md",
        "benchmarks/**/*.md",
    )
    for page in ROOT.glob(pattern)
)
COMMAND = typer.main.get_command(app)
#: Groups of values whose names are those of nothing else.
GROUPS = ("certificates", "certManager", "networkPolicy", "redisOperator", "uninstallHook", "workloads")
_BLOCK = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:aixgo|make) [^`\n]+)`")


def commands(text: str, program: str) -> list[str]:
    """Return the calls of a program in a page, each without what follows a pipe or a comment."""
    lines: list[str] = []
    for block in _BLOCK.findall(text):
        lines += [line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines()]
    lines += _INLINE.findall(text)
    return [line for line in lines if line.startswith(f"{program} ")]


def problem(line: str) -> str | None:
    """Return what is wrong with a call of ``aixgo``."""
    words = shlex.split(line, comments=True)
    command: Any = COMMAND
    for word in words[1:]:
        if word in ("|", "&&", ";", ">"):
            break
        if hasattr(command, "commands") and not word.startswith("-"):
            if word not in command.commands:
                return f"there is no command {word}"
            command = command.commands[word]
        elif word.startswith("-") and word != "-":
            known = {
                name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
            }
            if word.partition("=")[0] not in known | {"--help", "-h"}:
                return f"{command.name} has no option {word}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_exist(page: Path) -> None:
    text = page.read_text()
    assert [(line, found) for line in commands(text, "aixgo") if (found := problem(line))] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(text, "make"):
        assert {word for word in shlex.split(line, comments=True)[1:] if word[0].isalpha()} <= targets, line


def test_pages_name_values_of_the_charts_that_there_are() -> None:
    values = yaml.safe_load((ROOT / "charts" / "aixgo-operator" / "values.yaml").read_text())

    def there(path: str) -> bool:
        found = values
        for step in path.split("."):
            if not isinstance(found, dict) or step not in found:
                return False
            found = found[step]
        return True

    pattern = re.compile(rf"`((?:{'|'.join(GROUPS)})\.[a-zA-Z]+)`")
    # The page of the API has a field of such a name.
    for page in set(PAGES) - {ROOT / "docs" / "api.md"}:
        assert [name for name in pattern.findall(page.read_text()) if not there(name)] == [], page


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("aixgo nosuch", "nosuch"),
        ("aixgo session nosuch", "nosuch"),
        ("aixgo call a --nosuch x", "--nosuch"),
        ("aixgo operator release-finalizers --nosuch", "--nosuch"),
        ("aixgo call a text --session new | grep x --nosuch", None),
        ("aixgo run -c agents.yaml --check   # fine --nosuch", None),
    ],
)
def test_the_rule_sees_what_is_wrong(line: str, word: str | None) -> None:
    found = problem(line)
    assert (found is None) if word is None else (found is not None and word in found)
