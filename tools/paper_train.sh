#!/usr/bin/env bash
# Every run behind results/paper and docs/credit.md (but what tools/populations.sh trains and plays, and Battle's first set), in the order
# that makes the first table first; finished ones are skipped, interrupted ones continue. Days on two cores; src/sweep.py EXPERIMENT --dry-run
# estimates each part (docs/protocol.md).
# Example: tools/paper_train.sh --workers 2
source "$(dirname "$0")/common.bash"

for task in bar battle spread pursuit; do
    "$python" src/search.py "tune_$task" --trials 12 --compare "src/config/experiments/final_$task.yaml" "$@"
done
for part in final scale groups appendix appendix_ipc ipc_features credit sizes sharing sharing_methods grouping crossed crossed_sizes regrouped longer arena; do
    for task in bar battle spread pursuit; do
        [ ! -f "src/config/experiments/${part}_$task.yaml" ] || "$python" src/sweep.py "${part}_$task" "$@"
    done
done
for experiment in scale_spread_{sharing,parts,slower,longer,full} anchors_{spread,qmix,replay,ends,parts,together} games; do
    "$python" src/sweep.py "$experiment" "$@"
done
