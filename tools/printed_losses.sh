#!/usr/bin/env bash
# The losses as the paper prints them, against ours and VDN: trains them and brings docs/printed_losses.md up to date.
# Example: tools/printed_losses.sh
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python

"$python" src/sweep.py printed_losses
"$python" src/report.py --experiment printed_losses --reference hmf --out results/first/printed_losses \
    --page docs/printed_losses.md
