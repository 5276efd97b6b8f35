#!/usr/bin/env bash
# How fast tasks are learned, in steps and in CPU seconds: trains (what is finished is skipped, what was interrupted
# continues), then brings docs/learning_speed.md up to date:
#   tools/learning_speed.sh [TASK ...] [-- OPTIONS OF src/sweep.py]     (tasks: battle spread pursuit bar)
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python

# The presets before there were two regimes, and the return to reach (without one: where these end on average).
declare -A reference=([battle]="iql replay 8" [spread]="vdn replay 16" [pursuit]="iql replay 8" [bar]="vdn replay 16")
declare -A reach=([battle]=1.5)

tasks=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    if [ -z "${reference[$1]:-}" ]; then
        echo "error: no task '$1'. Usage:" >&2
        sed -n '4s/^#  //p' "$0" >&2
        exit 2
    fi
    tasks+=("$1")
    shift
done
[ $# -eq 0 ] || shift
[ ${#tasks[@]} -gt 0 ] || tasks=(battle spread pursuit bar)

for task in "${tasks[@]}"; do
    "$python" src/sweep.py "learning_speed_$task" "$@"
done
for task in "${tasks[@]}"; do
    "$python" src/report.py --experiment "learning_speed_$task" --reference "${reference[$task]}" \
        --reach "${reach[$task]:-reference}" --out "docs/learning_speed/$task" --page docs/learning_speed.md
done
