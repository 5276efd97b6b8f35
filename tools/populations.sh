#!/usr/bin/env bash
# Battle's policies of the first set of final runs, from the zoo, with other numbers of agents, what one agent of each population gains by leaving its policy,
# and policies trained with other numbers (docs/protocol.md): tables in results/paper/battle, and in results/paper/bar those of Bar with
# one network for all. The same command continues; what is finished is not repeated.
#   tools/populations.sh [--workers N]
# Example: tools/populations.sh --workers 2
source "$(dirname "$0")/common.bash"
out=results/paper/battle
first=()
all=()
invaders=()
for method in hmf hmf_ipc hmf_literal iql mfq mfvfd vdn; do
    first+=("battle/${method}_s1")
    for seed in 1 2 3 4; do
        all+=("battle/${method}_s$seed")
    done
done
"$python" src/exploit.py "${first[@]}" --seeds 1 2 3 4 --steps 40000 --episodes 64 "$@"
for method in hmf hmf_ipc iql mfvfd; do
    invaders+=("battle/${method}_s1" "battle/${method}_s2" "battle/${method}_s3" "battle/${method}_s4")
done
"$python" src/exploit.py "${first[@]}" --invaders "${invaders[@]}" --episodes 16
"$python" src/transfer.py "${all[@]}" --at battle_64v32 --at battle_100v50 --at battle_400v200 --at battle_667v333
for kind in md csv; do
    cp "results/tmp/exploit/exploit.$kind" "results/tmp/exploit/invasion.$kind" "results/tmp/transfer/transfer.$kind" "$out/"
done
"$python" src/sweep.py transfer_battle --results results/transfer "$@"
"$python" src/transfer.py --results results/transfer --experiment transfer_battle --episodes 8 --out results/tmp/sizes \
    --at battle_64v32 --at battle_100v50 --at battle --at battle_667v333
report sizes_cost "across.md=$out/transfer_cost.md" "runs.md=$out/transfer_runs.md" -- \
    --results results/transfer --experiment transfer_battle --score tail --across env_args.n_agents
report deviators "runs.md=$out/exploit_runs.md" -- env=battle_deviator t_max=40000
for kind in md csv; do
    cp "results/tmp/sizes/transfer.$kind" "$out/transfer_sizes.$kind"
done
"$python" src/sweep.py transfer_bar --results results/transfer "$@"
"$python" src/transfer.py --results results/transfer --experiment transfer_bar --out results/tmp/bar --at bar_50_agents --at bar_400_agents
for kind in md csv; do
    cp "results/tmp/bar/transfer.$kind" "results/paper/bar/transfer.$kind"
done
"$python" src/runs.py pack "$out/exploit_records.tar.xz" env=battle_deviator t_max=40000
fill results/paper/bar.md results/paper/battle.md
