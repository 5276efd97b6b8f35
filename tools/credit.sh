#!/usr/bin/env bash
# HMF's credit, factor by factor, its number of groups and the appendix's ablations on a task: trains (what is finished is skipped, what
# was interrupted continues), compares, measures the noise of the updates, and brings docs/credit_TASK.md up to date:
#   tools/credit.sh TASK [OPTIONS OF src/sweep.py]     (tasks: bar battle spread pursuit)
# Example: tools/credit.sh bar --workers 2
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
task=${1:-}
if [ ! -f "src/config/experiments/credit_$task.yaml" ]; then
    echo "error: no task '$task'. Usage:" >&2
    sed -n '4s/^#  //p' "$0" >&2
    exit 2
fi
shift
out=docs/credit/$task
experiments=()
declare -A longer=([pursuit]="hmf td_level=agent" [bar]="hmf agents and field")

has_policies() { # of the credit of a task, which the archive of records below does not hold
    local id
    id=$("$python" src/sweep.py "credit_$1" --dry-run | sed -n 's/^finished as run \([0-9]*\).*/\1/p' | head -n 1)
    [ -d "results/sacred/$id/checkpoints" ]
}

mkdir -p "$out"
for part in credit sizes sharing sharing_methods groups appendix appendix_ipc grouping crossed longer; do
    [ -f "src/config/experiments/${part}_$task.yaml" ] || continue
    experiments+=(--experiment "${part}_$task")
    case $part in
        groups) options=(--across n_groups) ;;
        crossed) options=(--score tail --factors) ;;
        grouping) options=(--score tail --reference "hmf fixed") ;;
        # beside the final runs: tools/final.sh, or their records by src/runs.py unpack
        longer) options=(--experiment "final_$task" --score tail --reference "${longer[$task]}") ;;
        *) options=() ;;
    esac
    claims=$out/claims_$part.yaml
    [ ! -f "$claims" ] || options+=(--score tail --claims "$claims")
    "$python" src/sweep.py "${part}_$task" "$@"
    "$python" src/report.py --experiment "${part}_$task" "${options[@]}" --out "results/tmp/${part}_$task"
    table=results
    [ "$part" != crossed ] || table=factors # of so many forms the page shows what each factor does
    cp "results/tmp/${part}_$task/$table.md" "$out/$part.md"
    if [ "$part" = crossed ]; then
        cp "results/tmp/crossed_$task/results.csv" "$out/crossed_forms.csv"
        cp "results/tmp/crossed_$task/factors_$task.png" "$out/crossed.png"
    fi
    cp "results/tmp/${part}_$task/runs.md" "$out/${part}_runs.md"
    [ ! -f "$claims" ] || cp "results/tmp/${part}_$task/verdicts.md" "$out/${part}_verdicts.md"
    [ "$part" != groups ] || cp "results/tmp/groups_$task/across.png" "$out/groups.png"
    [ "$part" != credit ] || cp "results/tmp/credit_$task/curves_$task.png" "$out/curves.png"
    [ "$part" != longer ] || cp "results/tmp/longer_$task/curves_$task.png" "$out/longer.png"
    case $part in grouping | longer) cp "results/tmp/${part}_$task/ablation.md" "$out/${part}_differences.md" ;; esac
    case $task-$part in battle-credit | battle-sharing | battle-sharing_methods | battle-appendix_ipc)
        "$python" src/report.py --experiment "${part}_$task" --metric test_kills --out "results/tmp/${part}_kills"
        cp "results/tmp/${part}_kills/results.md" "$out/${part}_kills.md" ;;
    esac
    if [ "$part" = credit ] && has_policies "$task"; then
        "$python" src/noise.py --experiment "credit_$task" --out results/tmp/noise
        cp results/tmp/noise/noise.md "$out/noise.md"
    fi
    "$python" src/runs.py pack "$out/records.tar.xz" "${experiments[@]}"
done
if [ "$task" = bar ]; then # who goes, at all three capacities
    for metric in attendance attendance_std; do
        "$python" src/report.py --experiment credit_bar --experiment sizes_bar mean_field_action=none --metric "test_$metric" --out "results/tmp/$metric"
        cp "results/tmp/$metric/results.md" "$out/$metric.md"
    done
    cp results/tmp/attendance/curves.png "$out/attendance.png"
    "$python" src/report.py --experiment sharing_methods_bar --metric test_attendance --out results/tmp/sharing_attendance
    cp results/tmp/sharing_attendance/results.md "$out/sharing_attendance.md"
    "$python" src/report.py --experiment longer_bar --metric test_attendance --out results/tmp/longer_attendance
    cp results/tmp/longer_attendance/results.md "$out/longer_attendance.md"
elif [ "$task" = spread ]; then # what sharing changes for 24 agents
    for metric in collisions distance; do
        "$python" src/report.py --experiment sharing_methods_spread env_args.n_agents=24 --metric "test_$metric" --out "results/tmp/sharing_$metric"
        cp "results/tmp/sharing_$metric/results.md" "$out/sharing_$metric.md"
    done
fi
if has_policies bar && has_policies battle && has_policies pursuit && has_policies spread; then # what single agents add
    "$python" src/noise.py --experiment credit_bar --experiment credit_battle --experiment credit_pursuit \
        --experiment credit_spread gmf_coef=0.0 mean_field_action=none --out results/tmp/noise_agents
    cp results/tmp/noise_agents/noise.md docs/credit/noise_agents.md
fi
if [ -f "docs/credit_$task.md" ]; then
    "$python" src/report.py --experiment "credit_$task" --out "results/tmp/credit_$task" --page "docs/credit_$task.md" --page docs/credit.md >/dev/null
fi
