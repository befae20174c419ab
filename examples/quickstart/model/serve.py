"""Serve a small language model over HTTP with the OpenAI-compatible server of llama.cpp.

Usage: ``serve.py MODEL.gguf [--host 0.0.0.0] [--port 8080]``.
Answers ``/health`` and ``/v1/chat/completions``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import xllamacpp

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL_NAME = "smollm2-135m"
CONTEXT_TOKENS_PER_SLOT = 2048
#: Two conversations at a time: enough for two replicas of a runtime.
SLOTS = 2
BATCH_TOKENS = 256


def parameters(model: Path, host: str, port: int) -> xllamacpp.CommonParams:
    """Return the settings that keep the server within one CPU and 512 MiB and its answers repeatable."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL_NAME}
    params.hostnames = [host]
    params.port = port
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT_TOKENS_PER_SLOT * SLOTS
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    # The defaults: up to 8 GiB of old prompts, and a context as large as all of the memory allows.
    params.cache_ram_mib = 0
    params.fit_params = False
    params.ui = False
    params.sampling.temp = 0.0
    params.sampling.seed = 1
    return params


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Serve a GGUF model over the OpenAI-compatible HTTP API.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a container's server listens for its Service
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args(arguments)
    if not options.model.is_file():
        parser.error(f"no model file at {options.model}")

    # Handlers first: as process 1 of a container nothing ends this process but a handler of its own.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = xllamacpp.Server(parameters(options.model, options.host, options.port))
    print(f"serving {MODEL_NAME} at {server.listening_address}", flush=True)
    stop.wait()
    sys.stdout.flush()
    # The library's threads are native and have no way to be joined; nothing is left to be saved.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
