#!/usr/bin/env bash
# Writes requirements/*.lock from pyproject.toml. The images' locks follow the developers' lock, so that all run the same versions.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=$(ls -d "${AIXGO_DEV_CACHE:-$HOME/.cache/aixgo-dev}"/tools/uv-*/bin/uv | tail -1)
export UV_CACHE_DIR=${AIXGO_DEV_CACHE:-$HOME/.cache/aixgo-dev}/uv
lock() {
  local out=$1
  shift
  "$uv" pip compile -q --no-header --no-emit-index-url --no-emit-find-links --no-annotate --generate-hashes \
    --python-version 3.11 "$@" -o "requirements/$out.lock" pyproject.toml
}
lock dev --extra dev
lock runtime --extra redis --extra runtime --extra agents -c requirements/dev.lock
lock operator --extra operator -c requirements/dev.lock
