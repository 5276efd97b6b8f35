#!/usr/bin/env bash
# HMF's credit, factor by factor: trains (what is finished is skipped, what was interrupted continues), compares, measures the
# noise of the updates, and brings docs/credit.md up to date:
#   tools/credit.sh [OPTIONS OF src/sweep.py]
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=docs/credit
experiments=(credit_bar credit_bar_sharing groups_bar appendix_bar appendix_ipc_bar)

mkdir -p "$out"
for experiment in "${experiments[@]}"; do
    "$python" src/sweep.py "$experiment" "$@"
done
for experiment in "${experiments[@]}"; do
    across=()
    [ "$experiment" != groups_bar ] || across=(--across n_groups)
    "$python" src/report.py --experiment "$experiment" "${across[@]}" --out "results/tmp/$experiment"
    cp "results/tmp/$experiment/results.md" "$out/$experiment.md"
    cp "results/tmp/$experiment/runs.md" "$out/${experiment}_runs.md"
done
cp results/tmp/groups_bar/across.png "$out/groups_bar.png"
"$python" src/noise.py --experiment credit_bar --out results/tmp/noise
cp results/tmp/noise/noise.md "$out/noise_bar.md"
"$python" src/report.py --experiment credit_bar --out results/tmp/credit_bar --page docs/credit.md >/dev/null
# The records behind the tables, without checkpoints.
for experiment in "${experiments[@]}"; do
    "$python" src/sweep.py "$experiment" --dry-run | sed -n 's/^finished as run \([0-9]*\) .*/\1/p'
done | sort -nu | sed 's|.*|&/config.json\n&/run.json\n&/info.json\n&/metrics.jsonl|' |
    tar -cJf "$out/records.tar.xz" -C results/sacred -T -
