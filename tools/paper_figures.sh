#!/usr/bin/env bash
# Every table and figure of results/paper, of docs/credit.md and its pages, and of the published levels, from recorded runs
# (tools/paper_train.sh). Runs and policies that are missing are trained first.
# Example: tools/paper_figures.sh
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")"
./final.sh
for task in battle spread pursuit; do
    ./scale.sh "$task"
done
for task in bar battle spread pursuit; do
    ./credit.sh "$task"
done
./arena.sh
./populations.sh
./anchors.sh
