#!/usr/bin/env bash
# Against published numbers: Spread with three agents, in mpe2's sums (docs/validation.md). Trains with the tuned keys, from a replay for
# longer, and with one thing of others' runs at a time; then tables, figures and the archive of records in results/paper/spread. The same command continues.
#   tools/anchors.sh [OPTIONS OF src/sweep.py]
# Example: tools/anchors.sh --workers 2
source "$(dirname "$0")/common.bash"
out=results/paper/spread
packed=()
for name in anchors_spread anchors_replay anchors_ends anchors_parts anchors_together; do
    packed+=(--experiment "$name")
    stem=${name%_spread}
    "$python" src/sweep.py "$name" "$@"
    report "$name" "results.md=$out/$stem.md" "cost.md=$out/${stem}_cost.md" "curves_spread.png=$out/$stem.png" -- \
        --experiment "$name" --metric test_return_sum
done
# why QMIX diverges
"$python" src/sweep.py anchors_qmix "$@"
packed+=(--experiment anchors_qmix)
for metric in target_mean grad_norm test_return_sum; do
    report "qmix_$metric" "results.md=$out/anchors_qmix_$metric.md" "curves_spread.png=$out/anchors_qmix_$metric.png" -- \
        --experiment anchors_qmix --metric "$metric"
done
"$python" src/runs.py pack "$out/anchors_records.tar.xz" "${packed[@]}"
fill docs/validation.md
