#!/usr/bin/env bash
# Makes .venv with the locked versions. Repeating it with nothing changed takes milliseconds and needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${AIXGO_DEV_CACHE:-$HOME/.cache/aixgo-dev}
uv_version=0.13.9

fail() { echo "setup: $1" >&2; exit 1; }

python=""
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" > /dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "Python 3.11 or newer is missing: install python3 and python3-venv"
"$python" -c 'import ensurepip, venv' 2> /dev/null || {
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "setup: installing python3-venv"
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; } > /dev/null
  else
    fail "the module venv is missing: install python3-venv"
  fi
}

wanted=$({ cat requirements/dev.lock pyproject.toml "$0"; "$python" -V; pwd; } | sha256sum | cut -c1-64)
[ "$(cat .venv/.aixgo-setup 2> /dev/null || true)" != "$wanted" ] || exit 0

echo "setup: making .venv (locked versions of every dependency)"
uv=$cache/tools/uv-$uv_version/bin/uv
if [ ! -x "$uv" ]; then
  rm -rf "$cache/tools/uv-$uv_version"
  "$python" -m venv "$cache/tools/uv-$uv_version"
  "$cache/tools/uv-$uv_version/bin/pip" install -q --disable-pip-version-check "uv==$uv_version"
fi
export UV_CACHE_DIR=$cache/uv UV_LINK_MODE=copy
rm -rf .venv
"$python" -m venv .venv
# The cache first: a second checkout needs no network.
"$uv" pip sync -q --offline --python .venv/bin/python --require-hashes requirements/dev.lock 2> /dev/null ||
  "$uv" pip sync -q --python .venv/bin/python --require-hashes requirements/dev.lock
"$uv" pip install -q --offline --python .venv/bin/python --no-deps --no-build-isolation -e .
echo "$wanted" > .venv/.aixgo-setup
