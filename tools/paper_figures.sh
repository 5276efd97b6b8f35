#!/usr/bin/env bash
# Every table, figure and video of results/paper and the pages that show them, from recorded runs (tools/paper_train.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=results/paper

report() { "$python" src/report.py "$@"; }

# The id of a finished run of paper_battle, paper_lines ..., by its label in the plan.
run_of() {
    id=$("$python" src/sweep.py "$1" --dry-run | sed -n "s/^finished as run \([0-9]*\) *$2\$/\1/p")
    echo "${id:?$2 of $1 is not finished}"
}

incumbent="hmf mean_field_action=expected top_level=own_head"
report --experiment choose_default_game --reference "$incumbent" --out "$out/choose_default_game"
report --experiment choose_default --reference "$incumbent" --out "$out/choose_default"
report --experiment choose_attention --reference hmf --out "$out/choose_attention" --page docs/default_choice.md
report --experiment printed_losses --reference hmf --out "$out/printed_losses" --page docs/printed_losses.md
everything=(--experiment paper_battle --experiment paper_bar --experiment paper_bar_capacities --experiment paper_spread
    --experiment paper_pursuit --experiment paper_mfvfd --experiment paper_lines)
mkdir -p "$out/diagnostics"
for metric in slope_alignment attention_entropy; do
    report "${everything[@]}" learner=hmf_learner --metric "$metric" --out "results/tmp/$metric"
    cp "results/tmp/$metric/results.md" "$out/diagnostics/$metric.md"
done
report --experiment diagnose_ipc --reference hmf --out "$out/diagnose_ipc"
report "${everything[@]}" --reference hmf --claims "$out/claims.yaml" --out "$out/comparison" --page "$out/README.md"

for player in "paper_lines frozen" "paper_battle hmf" "paper_battle iql"; do
    read -r experiment name <<<"$player"
    "$python" src/evaluate.py --run "$(run_of "$experiment" "$name battle seed=1")" --episodes 8 \
        --every 6 --fps 10 --video "$out/videos/$name.gif" with env_args.swap_sides=never
done
ipc=$(run_of paper_battle "hmf_ipc battle seed=1")
"$python" src/evaluate.py --run "$ipc" --episodes 2 --every 50 --colour group --video "$out/videos/groups_ipc.png" \
    with env_args.swap_sides=never
players=$("$python" src/sweep.py paper_crossplay --dry-run | sed -n 's/^finished as run \([0-9]*\) .*/\1/p')
# shellcheck disable=SC2086  # one word per player
"$python" src/crossplay.py $players opponents/battle.pt --episodes 8 --out "$out/crossplay"

# The records of all these runs, without checkpoints: what the tables and curves are made of.
experiments="choose_default_game choose_default choose_attention printed_losses diagnose_ipc paper_lines paper_battle paper_bar
    paper_bar_capacities paper_spread paper_pursuit paper_mfvfd paper_crossplay"
files=()
for id in $(for name in $experiments; do "$python" src/sweep.py "$name" --dry-run; done |
    sed -n 's/^finished as run \([0-9]*\) .*/\1/p' | sort -nu); do
    files+=("$id/config.json" "$id/run.json" "$id/info.json" "$id/metrics.jsonl")
done
tar -cJf "$out/records.tar.xz" -C results/sacred "${files[@]}"
