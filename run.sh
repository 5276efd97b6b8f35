#!/usr/bin/env bash
# Sets everything up and runs src/main.py with the given arguments; without any, the main job: HMF on Battle.
# Example: ./run.sh --config=iql --env-config=bar with seed=2
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")"
./install_dependencies.sh
[ $# -gt 0 ] || set -- --config=hmf --env-config=battle
exec .venv/bin/python src/main.py "$@"
