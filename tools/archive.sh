#!/usr/bin/env bash
# The records of experiments' finished runs in one archive, without checkpoints: what tables and curves are made of.
#   tools/archive.sh OUT.tar.xz EXPERIMENT ...
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '3s/^#  //p' tools/archive.sh >&2; exit 2; }

for experiment in "${@:2}"; do
    .venv/bin/python src/sweep.py "$experiment" --dry-run
done | sed -n 's/^finished as run \([0-9]*\) .*/\1/p' | sort -nu |
    sed 's|.*|&/config.json\n&/run.json\n&/info.json\n&/metrics.jsonl|' | tar -cJf "$1" -C results/sacred -T -
