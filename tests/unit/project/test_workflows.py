"""The workflows: their scripts are shell, and a release is of the version that it says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from aixgo.version import VERSION
from aixgo_operator.domain.settings import OperatorSettings

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(workflow.read_text())
    return [step for job in document["jobs"].values() for step in job["steps"]]


def script(workflow: str, name: str) -> str:
    (found,) = [
        step["run"]
        for step in steps(ROOT / ".github" / "workflows" / f"{workflow}.yml")
        if step.get("name") == name
    ]
    return str(found)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_are_shell_and_rights_are_named(workflow: Path) -> None:
    assert {path.stem for path in WORKFLOWS} >= {"ci", "release"}
    assert yaml.safe_load(workflow.read_text())["permissions"]["contents"] == "read"
    for step in steps(workflow):
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True, timeout=10)
            # Text of others in a script would be run.
            assert "${{" not in step["run"]


@pytest.mark.parametrize(("tag", "good"), [(f"v{VERSION}", True), ("v9.9.9", False), ("nightly", False)])
def test_a_release_has_the_version_of_its_tag(tmp_path: Path, tag: str, good: bool) -> None:
    variables = tmp_path / "env"
    done = subprocess.run(
        ["bash", "-c", script("release", "The tag is the version of the package and of the charts")],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "GITHUB_REF_NAME": tag, "GITHUB_ENV": str(variables)},
        check=False,
        timeout=10,
    )
    assert (done.returncode == 0) is good
    assert variables.exists() is good
    if good:
        assert variables.read_text() == f"VERSION={VERSION}\n"


def test_a_release_makes_the_images_that_the_charts_take() -> None:
    registry = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["env"]["REGISTRY"]
    values = yaml.safe_load((ROOT / "charts" / "aixgo-operator" / "values.yaml").read_text())
    assert values["image"]["repository"] == f"{registry}/aixgo-operator"
    assert OperatorSettings().runtime_image == f"{registry}/aixgo-runtime:{VERSION}"
    text = script("release", "Images")
    assert '"$REGISTRY/aixgo-$image:$VERSION"' in text
    assert "for image in runtime operator;" in text
