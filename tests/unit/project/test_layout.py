"""Rules of the repository that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("runtime_image/aixgo", "operator/aixgo_operator", "cli/aixgo_cli")


def python_files() -> list[Path]:
    return [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]


def test_operator_folder_is_no_package() -> None:
    # operator/__init__.py would shadow the standard library's module `operator` and break the interpreter.
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_makefile_has_every_target_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        word
        for command in re.findall(r"`?make ((?:[a-z-]+ ?)+)", (ROOT / "README.md").read_text())
        for word in command.split()
    }
    assert named, "the README names no make target"
    assert named <= targets


def test_ci_calls_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text()
    assert script.stat().st_mode & 0o111, "not executable"


def test_files_stay_readable_in_one_sitting() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in python_files()
        if "_pb2" not in p.name and (n := len(p.read_text().splitlines())) > 450
    }
    assert not long


@pytest.mark.parametrize("package", ["aixgo", "aixgo.contract", "aixgo.session"])
def test_light_imports(package: str) -> None:
    heavy = ["grpc", "redis", "kopf", "kubernetes", "pydantic_ai", "aiohttp"]
    code = f"import sys, {package}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
