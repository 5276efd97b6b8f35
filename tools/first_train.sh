#!/usr/bin/env bash
# Every run behind results/first; finished ones are skipped, interrupted ones continue.
# Example: tools/first_train.sh --workers 2
source "$(dirname "$0")/common.bash"

for experiment in choose_default_game choose_default choose_attention printed_losses \
    paper_lines paper_battle paper_bar paper_spread diagnose_ipc paper_pursuit pursuit_long paper_mfvfd \
    paper_bar_capacities paper_crossplay; do
    "$python" src/sweep.py "$experiment" "$@"
done
