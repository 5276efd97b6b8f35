#!/usr/bin/env bash
# Score and cost over the size of the population (the paper's Figure 4; docs/protocol.md), one task a time: the runs, then a table, a
# figure and the archive of records in results/paper/TASK. The same command continues; runs that are finished are not run again.
#   tools/scale.sh TASK [OPTIONS OF src/sweep.py]     (tasks: battle spread pursuit)
# Example: tools/scale.sh spread --workers 2
source "$(dirname "$0")/common.bash"
task=${1:-}
if [ ! -f "src/config/experiments/scale_$task.yaml" ]; then
    refuse "no task '$task'"
fi
shift
out=results/paper/$task
mkdir -p "$out"
"$python" src/sweep.py "scale_$task" "$@"
kept=("results.md=$out/scale_scores.md" "verdicts.md=$out/scale_verdicts.md")
for kind in md csv tex png svg; do
    kept+=("across.$kind=$out/scale.$kind")
done
report "scale_$task" "${kept[@]}" -- --experiment "scale_$task" --score tail --reference hmf \
    --across env_args.n_agents --claims "results/paper/claims_scale_$task.yaml"
if [ "$task" = spread ]; then # what attention picks, and what 48 agents do
    report scale_attention "results.md=$out/scale_attention.md" -- --experiment scale_spread name=hmf --metric attention_entropy
    for metric in collisions distance; do
        report "scale_$metric" "results.md=$out/scale_$metric.md" "curves_spread.png=$out/scale_$metric.png" -- \
            --experiment scale_spread env_args.n_agents=48 --metric "test_$metric"
    done
fi
experiments=(--experiment "scale_$task")
for part in sharing parts slower longer full; do # what was asked when the first had been seen
    [ -f "src/config/experiments/scale_${task}_$part.yaml" ] || continue
    experiments+=(--experiment "scale_${task}_$part")
    "$python" src/sweep.py "scale_${task}_$part" "$@"
    report "scale_$part" "results.md=$out/scale_$part.md" -- --experiment "scale_${task}_$part"
done
if [ "$task" = spread ]; then
    report scale_full "curves_spread.png=$out/scale_full.png" "ablation.md=$out/scale_full_differences.md" \
        "verdicts.md=$out/scale_full_verdicts.md" -- \
        --experiment scale_spread_full --score tail --reference hmf --claims results/paper/claims_scale_spread_full.yaml
fi
report scale_all "runs.md=$out/scale_runs.md" -- "${experiments[@]}"
"$python" src/runs.py pack "$out/scale_records.tar.xz" "${experiments[@]}"
fill "results/paper/$task.md" results/paper/verdicts.md
