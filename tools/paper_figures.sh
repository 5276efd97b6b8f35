#!/usr/bin/env bash
# Every table and figure of results/paper, of docs/credit.md and its pages, and of the published levels, from recorded runs
# (tools/paper_train.sh). Runs that are missing are trained first. Where runs are here without their policies, as from archives of
# records, games between them (tools/arena.sh, tools/populations.sh) are left out.
# Example: tools/paper_figures.sh
source "$(dirname "$0")/common.bash"
tools/final.sh
for task in battle spread pursuit; do
    tools/scale.sh "$task"
done
for task in bar battle spread pursuit; do
    tools/credit.sh "$task"
done
if lost_policies arena_battle; then
    echo "left out: tools/arena.sh and tools/populations.sh, the runs of arena_battle are here without policies"
else
    tools/arena.sh
    tools/populations.sh
fi
tools/outside.sh
tools/anchors.sh
"$python" src/sweep.py games
"$python" src/report.py --experiment games --out docs/games --page docs/validation.md
