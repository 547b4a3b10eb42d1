#!/usr/bin/env bash
# Make .venv-peers, or bring it up to benchmarks/peers/requirements.txt; does nothing when it is current.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
env="$root/.venv-peers"
wanted="$root/benchmarks/peers/requirements.txt"
if cmp --silent "$wanted" "$env/requirements.txt"; then
    exit 0
fi
python=${PYTHON:-python3}
[ -x "$env/bin/python" ] || "$python" -m venv "$env"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$env/requirements.txt"
