#!/usr/bin/env bash
# How fast tasks are learned, in steps and in CPU seconds, and what averaging does to the swing of policies: trains
# (what is finished is skipped, what was interrupted continues), then brings docs/learning_speed.md up to date:
#   tools/learning_speed.sh [TASK ...] [-- OPTIONS OF src/sweep.py]
# tasks: battle spread pursuit bar averaging averaging_spread
# Example: tools/learning_speed.sh bar -- --workers 2
source "$(dirname "$0")/common.bash"

# The presets before there were two regimes, and the return to reach (without one: where these end on average).
declare -A reference=([battle]="iql replay 8" [spread]="vdn replay 16" [pursuit]="iql replay 8" [bar]="iql replay 16")
declare -A reach=([battle]=1.5)

tasks=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    if [[ "$1" != averaging* ]] && [ -z "${reference[$1]:-}" ]; then
        refuse "no task '$1'"
    fi
    tasks+=("$1")
    shift
done
[ $# -eq 0 ] || shift
[ ${#tasks[@]} -gt 0 ] || tasks=(battle spread pursuit bar averaging averaging_spread)

# The experiment of a task, or of what averaging does: for all methods on Battle, for those of small teams on Spread.
experiment() {
    case "$1" in
        averaging) echo averaging_battle ;;
        averaging_spread) echo averaging_spread ;;
        *) echo "learning_speed_$1" ;;
    esac
}

for task in "${tasks[@]}"; do
    "$python" src/sweep.py "$(experiment "$task")" "$@"
done
for task in "${tasks[@]}"; do
    compared=()
    [[ "$task" = averaging* ]] || compared=(--reference "${reference[$task]}" --reach "${reach[$task]:-reference}")
    "$python" src/report.py --experiment "$(experiment "$task")" "${compared[@]}" --out "docs/learning_speed/$task" \
        --page docs/learning_speed.md
done
