#!/usr/bin/env bash
# Score and cost over the size of the population (the paper's Figure 4; docs/protocol.md), one task a time: the runs, then a table, a
# figure and the archive of records in results/paper/TASK. The same command continues; runs that are finished are not run again.
#   tools/scale.sh TASK [OPTIONS OF src/sweep.py]     (tasks: battle spread pursuit)
# Example: tools/scale.sh spread --workers 2
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
task=${1:-}
if [ ! -f "src/config/experiments/scale_$task.yaml" ]; then
    echo "error: no task '$task'. Usage:" >&2
    sed -n '4s/^#  //p' "$0" >&2
    exit 2
fi
shift
out=results/paper/$task
mkdir -p "$out"
"$python" src/sweep.py "scale_$task" "$@"
"$python" src/report.py --experiment "scale_$task" --score tail --reference hmf --across env_args.n_agents \
    --claims "results/paper/claims_scale_$task.yaml" --out "results/tmp/scale_$task"
for kind in md csv tex png svg; do
    cp "results/tmp/scale_$task/across.$kind" "$out/scale.$kind"
done
cp "results/tmp/scale_$task/results.md" "$out/scale_scores.md"
cp "results/tmp/scale_$task/verdicts.md" "$out/scale_verdicts.md"
if [ "$task" = spread ]; then # what attention picks, and what 48 agents do
    "$python" src/report.py --experiment scale_spread name=hmf --metric attention_entropy --out results/tmp/scale_attention
    cp results/tmp/scale_attention/results.md "$out/scale_attention.md"
    for metric in collisions distance; do
        "$python" src/report.py --experiment scale_spread env_args.n_agents=48 --metric "test_$metric" --out "results/tmp/scale_$metric"
        cp "results/tmp/scale_$metric/results.md" "$out/scale_$metric.md"
        cp "results/tmp/scale_$metric/curves_spread.png" "$out/scale_$metric.png"
    done
fi
experiments=(--experiment "scale_$task")
for part in sharing parts slower longer full; do # what was asked when the first had been seen
    [ -f "src/config/experiments/scale_${task}_$part.yaml" ] || continue
    experiments+=(--experiment "scale_${task}_$part")
    "$python" src/sweep.py "scale_${task}_$part" "$@"
    "$python" src/report.py --experiment "scale_${task}_$part" --out "results/tmp/scale_$part"
    cp "results/tmp/scale_$part/results.md" "$out/scale_$part.md"
done
if [ "$task" = spread ]; then
    "$python" src/report.py --experiment scale_spread_full --score tail --reference hmf \
        --claims results/paper/claims_scale_spread_full.yaml --out results/tmp/scale_full
    cp results/tmp/scale_full/curves_spread.png "$out/scale_full.png"
    cp results/tmp/scale_full/ablation.md "$out/scale_full_differences.md"
    cp results/tmp/scale_full/verdicts.md "$out/scale_full_verdicts.md"
fi
"$python" src/report.py "${experiments[@]}" --out results/tmp/scale_all
cp results/tmp/scale_all/runs.md "$out/scale_runs.md"
"$python" src/runs.py pack "$out/scale_records.tar.xz" "${experiments[@]}"
