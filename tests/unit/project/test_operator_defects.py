"""Every defect of docs/architecture/operator-defects.md has a test that is collected and never skipped."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs" / "architecture" / "operator-defects.md"
#: ``O4`` at the beginning of a sentence of the docstring, or ``_o04_`` in the name.
SAID = re.compile(r"\bO(\d{1,2})(?=:|,| and |\b for )")
NAMED = re.compile(r"(?<=_)o(\d\d)(?=_)")


def numbers(source: str) -> dict[int, list[str]]:
    """Return the tests of a module by the numbers of the defects that they prove."""
    found: dict[int, list[str]] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or not node.name.startswith("test_"):
            continue
        if any("skip" in ast.unparse(each) or "xfail" in ast.unparse(each) for each in node.decorator_list):
            continue
        for number in {
            int(each) for each in (*SAID.findall(ast.get_docstring(node) or ""), *NAMED.findall(node.name))
        }:
            found.setdefault(number, []).append(node.name)
    return found


def test_every_number_has_a_test() -> None:
    listed = [int(each) for each in re.findall(r"^\| O(\d+) \|", TABLE.read_text(), re.MULTILINE)]
    assert listed == list(range(1, 28))
    proved: dict[int, list[str]] = {}
    # What pytest collects; the documentation of this rule is no proof.
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__).resolve():
            for number, tests in numbers(path.read_text()).items():
                proved.setdefault(number, []).extend(tests)
    assert [number for number in listed if number not in proved] == []
    assert sorted(set(proved) - set(listed)) == []


def test_the_rule_sees_names_and_docstrings() -> None:
    source = '''
def test_o03_o14_both(): ...
def test_plain():
    """O4: something."""
def test_two():
    """O7 and O8 for what it owns. The OO9: no."""
@pytest.mark.skip
def test_o05_not_run(): ...
def helper_o06_(): ...
def test_no():
    """Nothing of O11 here."""
'''
    assert numbers(source) == {
        3: ["test_o03_o14_both"],
        14: ["test_o03_o14_both"],
        4: ["test_plain"],
        7: ["test_two"],
        8: ["test_two"],
    }
