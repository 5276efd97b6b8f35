#!/usr/bin/env bash
# The comparison (docs/protocol.md), task by task: equal tuning, final runs, then tables, figures and the page
# results/paper. The same command continues; runs that are finished are not run again.
#   tools/final.sh [TASK ...] [-- --workers N]     (tasks: bar battle spread pursuit)
# Example: tools/final.sh spread -- --workers 2
source "$(dirname "$0")/common.bash"
out=results/paper
declare -A metrics=([bar]=exploitability [battle]="kills deaths return_std" [spread]="collisions distance" [pursuit]="capture min_distance")  # beside the return
declare -A every=([battle]=25 [pursuit]=128)  # steps between the pictures of IPC's groups, which these tasks' policies of the zoo form

tasks=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    if [ ! -f "src/config/searches/tune_$1.yaml" ]; then
        refuse "no task '$1'"
    fi
    tasks+=("$1")
    shift
done
[ $# -eq 0 ] || shift
[ ${#tasks[@]} -gt 0 ] || tasks=(bar battle spread pursuit)

for task in "${tasks[@]}"; do
    mkdir -p "$out/$task"
    "$python" src/search.py "tune_$task" --trials 12 \
        --compare "src/config/experiments/final_$task.yaml" --table "$out/$task/trials" "$@"
    "$python" src/sweep.py "final_$task" "$@"
done
for task in "${tasks[@]}"; do
    for metric in ${metrics[$task]:-}; do
        report "$metric" "results.md=$out/$task/$metric.md" -- --experiment "final_$task" --metric "test_$metric"
    done
    if [ -n "${every[$task]:-}" ]; then
        for metric in group_rand_index group_size_max; do
            report "$metric" "results.md=$out/$task/$metric.md" -- --experiment "final_$task" name=hmf_ipc --metric "$metric"
        done
        "$python" src/zoo.py play "$task/hmf_ipc_s1" --episodes 1 --video "$out/$task/groups.png" --colour group --every "${every[$task]}"
    fi
    if [ "$task" = battle ]; then # its runs were made twice (docs/protocol.md)
        "$python" src/runs.py unpack "$out/battle/earlier_records.tar.xz"
        report twice "results.md=$out/battle/twice.md" "swing.md=$out/battle/earlier_swing.md" \
            -- --experiment final_battle --experiment earlier_battle --score tail
        report earlier "verdicts.md=$out/battle/earlier_verdicts.md" \
            -- --experiment earlier_battle --score tail --reference hmf --claims "$out/claims_battle.yaml"
    fi
    pages=()
    [ ! -f "results/paper/$task.md" ] || pages+=(--page "results/paper/$task.md")
    "$python" src/report.py --experiment "final_$task" --score tail --reference hmf --claims "$out/claims_$task.yaml" \
        --out "$out/$task" "${pages[@]}"
    "$python" src/runs.py pack "$out/$task/records.tar.xz" --experiment "final_$task"
done
PYTHONPATH=src "$python" tools/choose_default.py >/dev/null
# One table and one figure of all tasks that are finished, from the archives of their records.
finished=()
for task in bar battle spread pursuit; do
    [ -e "$out/$task/records.tar.xz" ] || continue
    "$python" src/runs.py unpack "$out/$task/records.tar.xz"
    finished+=(--experiment "final_$task" --claims "$out/claims_$task.yaml")
done
"$python" src/report.py "${finished[@]}" --score tail --reference hmf --out "$out/all" --page results/paper/README.md \
    --page results/paper/verdicts.md --page README.md
