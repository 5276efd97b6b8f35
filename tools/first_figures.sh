#!/usr/bin/env bash
# Every table, figure and video of results/first and the pages that show them, from recorded runs (tools/first_train.sh).
# Example: tools/first_figures.sh
source "$(dirname "$0")/common.bash"
out=results/first

incumbent="hmf mean_field_action=expected top_level=own_head"
"$python" src/report.py --experiment choose_default_game --reference "$incumbent" --out "$out/choose_default_game"
"$python" src/report.py --experiment choose_default --reference "$incumbent" --out "$out/choose_default"
"$python" src/report.py --experiment choose_attention --reference hmf --out "$out/choose_attention" --page docs/default_choice.md
"$python" src/report.py --experiment printed_losses --reference hmf --out "$out/printed_losses" --page docs/printed_losses.md
everything=(--experiment paper_battle --experiment paper_bar --experiment paper_bar_capacities --experiment paper_spread
    --experiment paper_pursuit --experiment paper_mfvfd --experiment paper_lines)
mkdir -p "$out/diagnostics"
for metric in slope_alignment attention_entropy; do
    report "$metric" "results.md=$out/diagnostics/$metric.md" -- "${everything[@]}" learner=hmf_learner --metric "$metric"
done
report capture "results.md=$out/diagnostics/capture.md" -- \
    --experiment paper_pursuit --experiment paper_lines env=pursuit --metric test_capture
"$python" src/report.py --experiment pursuit_long --reference hmf --out "$out/pursuit_long"
report capture_long "results.md=$out/diagnostics/capture_long.md" -- --experiment pursuit_long --metric test_capture
"$python" src/report.py --experiment diagnose_ipc --reference "hmf share_gmf=false" --out "$out/diagnose_ipc"
players=$(finished paper_crossplay)  # needs policies, which the archive of records below does not hold
if [ -n "$players" ] && [ -d "results/sacred/${players%%[!0-9]*}/checkpoints" ]; then
    # shellcheck disable=SC2086  # one word per player
    "$python" src/crossplay.py $players opponents/battle.pt --episodes 8 --out "$out/crossplay"
fi
"$python" src/report.py "${everything[@]}" --reference hmf --claims "$out/claims.yaml" --out "$out/comparison" --page "$out/README.md" \
    --page "$out/verdicts.md" --page "$out/setup.md" --page "$out/diagnosis.md" --page "$out/pursuit_long.md" \
    --page "$out/crossplay.md"

# Where policies are at hand, which the archive of records below does not hold.
video() { # experiment, name, options of evaluate.py ...
    local id
    id=$(finished "$1" "$2 battle seed=1")
    [ -d "results/sacred/$id/checkpoints" ] || return 0
    "$python" src/evaluate.py --run "$id" --episodes 8 "${@:3}" with env_args.swap_sides=never
}
video paper_lines frozen --every 6 --fps 10 --video "$out/videos/frozen.gif"
video paper_battle hmf --every 6 --fps 10 --video "$out/videos/hmf.gif"
video paper_battle iql --every 6 --fps 10 --video "$out/videos/iql.gif"
video paper_battle hmf_ipc --every 50 --colour group --video "$out/videos/groups_ipc.png"

"$python" src/runs.py pack "$out/records.tar.xz" --experiment choose_default_game --experiment choose_default \
    --experiment choose_attention --experiment printed_losses --experiment diagnose_ipc "${everything[@]}" --experiment pursuit_long \
    --experiment paper_crossplay
