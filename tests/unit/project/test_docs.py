"""The pages in docs: generated parts are up to date, examples are good, links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from aixgo.config.reading import parse_config
from aixgo.config.translate import make_plan
from aixgo_operator.api.agent import Agent
from aixgo_operator.api.v1alpha1 import KINDS
from aixgo_operator.domain.validate import agent_spec_problems

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(YAML.findall(page.read_text()))
]


def generate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCS / "generate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_generated_parts_are_up_to_date() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_part_is_found_and_written_again(tmp_path: Path) -> None:
    shutil.copy(DOCS / "agents.md", tmp_path)
    page = tmp_path / "agents.md"
    text = page.read_text()
    page.write_text(text.replace("| `maxRequests` |", "| `maxRequest` |"))
    done = generate("--check", tmp_path)
    assert (done.returncode, "agents.md is out of date" in done.stderr) == (1, True)
    assert generate(tmp_path).returncode == 0
    assert page.read_text() == text


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_are_good(block: str) -> None:
    document = yaml.safe_load(textwrap.dedent(block))
    if "agents" in document:
        plan = make_plan(parse_config(block.encode(), "agents.yaml"), {})
        assert (len(plan.agents), plan.warnings) == (len(document["agents"]), ())
        return
    if "kind" not in document:  # a part of a spec
        model = {"name": "m", "baseURL": "http://model:8080/v1"}
        document = {
            "apiVersion": "aixgo.dev/v1alpha1",
            "kind": "Agent",
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"runtimeRef": {"name": "r"}, "model": model, **document},
        }
    item = KINDS[document["kind"]].model_validate(document)
    if isinstance(item, Agent):
        assert agent_spec_problems(item) == ()
    # The API server refuses fields that there are not, the models ignore them.
    written = item.model_dump(by_alias=True, exclude_unset=True, mode="json")["spec"]
    assert written == document["spec"]


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {title.strip("`").lower().replace(" ", "-") for title in titles}


def test_decisions_are_numbered_and_short() -> None:
    records = sorted((DOCS / "architecture" / "decisions").iterdir())
    assert [record.name[:5] for record in records] == [f"{n:04}-" for n in range(1, len(records) + 1)]
    for number, record in enumerate(records, start=1):
        lines = record.read_text().splitlines()
        assert lines[0].startswith(f"# {number}. "), record.name
        assert len(lines) <= 60, record.name
