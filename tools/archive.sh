#!/usr/bin/env bash
# The records of experiments' finished runs in one archive, without checkpoints: what tables and curves are made of.
#   tools/archive.sh OUT.tar.xz EXPERIMENT ...
set -euo pipefail
cd "$(dirname "$0")/.."

for experiment in "${@:2}"; do
    .venv/bin/python src/sweep.py "$experiment" --dry-run
done | sed -n 's/^finished as run \([0-9]*\) .*/\1/p' | sort -nu |
    sed 's|.*|&/config.json\n&/run.json\n&/info.json\n&/metrics.jsonl|' | tar -cJf "$1" -C results/sacred -T -
