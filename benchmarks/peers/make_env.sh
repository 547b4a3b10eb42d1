#!/usr/bin/env bash
# Make .venv-peers, or bring it up to benchmarks/peers/requirements.txt; does nothing when it is current.
# make_env.sh NAME: .venv-peers-NAME and requirements-NAME.txt, for a peer that needs an environment of its own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
name=${1:+-$1}
env="$root/.venv-peers$name"
wanted="$root/benchmarks/peers/requirements$name.txt"
if cmp --silent "$wanted" "$env/requirements.txt"; then
    exit 0
fi
python=${PYTHON:-python3}
[ -x "$env/bin/python" ] || "$python" -m venv "$env"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$env/requirements.txt"
