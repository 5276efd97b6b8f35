#!/usr/bin/env bash
# The losses as the paper prints them, against ours and VDN: trains them and brings docs/printed_losses.md up to date.
# Example: tools/printed_losses.sh
source "$(dirname "$0")/common.bash"

"$python" src/sweep.py printed_losses
"$python" src/report.py --experiment printed_losses --reference hmf --out results/first/printed_losses \
    --page docs/printed_losses.md
