#!/usr/bin/env bash
# Against published numbers: Spread with three agents, in mpe2's sums (docs/validation.md). Trains with the tuned keys, from a replay for
# longer, and with one thing of others' runs at a time; then tables, figures and the archive of records in results/paper/spread. The same command continues.
#   tools/anchors.sh [OPTIONS OF src/sweep.py]
# Example: tools/anchors.sh --workers 2
case "${1:-}" in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=results/paper/spread
packed=()
for name in anchors_spread anchors_replay anchors_ends anchors_parts; do
    packed+=(--experiment "$name")
    stem=${name%_spread}
    "$python" src/sweep.py "$name" "$@"
    "$python" src/report.py --experiment "$name" --metric test_return_sum --out "results/tmp/$name"
    cp "results/tmp/$name/results.md" "$out/$stem.md"
    cp "results/tmp/$name/cost.md" "$out/${stem}_cost.md"
    cp "results/tmp/$name/curves_spread.png" "$out/$stem.png"
done
"$python" src/runs.py pack "$out/anchors_records.tar.xz" "${packed[@]}"
PYTHONPATH=src "$python" -c 'from pathlib import Path; from analysis.page import fill; fill(Path("docs/validation.md"))'
