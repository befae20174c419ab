"""Who exports no traces does not pay for the exporter."""

from __future__ import annotations

import subprocess
import sys


def test_the_runtime_imports_the_sdk_for_an_exporter_only() -> None:
    code = (
        "import sys, aixgo.server.main; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
