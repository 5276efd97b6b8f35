#!/usr/bin/env bash
# A team of others on Battle: one that Stable-Baselines3 trains on MAgent2's battle_v4, in an environment of its own, meets the committed
# opponent, 64 against 64, and stands for the enemies of policies of the zoo, 200 against 100: tables in results/paper/battle.
# The same command continues; a team that is there is not trained again.
#   tools/outside.sh
# Example: tools/outside.sh
source "$(dirname "$0")/common.bash"
out=results/paper/battle
aside=results/tmp/outside
team=$aside/sb3.pt
if [ ! -e "$team" ]; then
    if [ ! -e "$aside/installed" ]; then
        "$python" -m venv "$aside/venv"
        "$aside/venv/bin/python" -m pip install -qq --disable-pip-version-check -r requirements-outside.txt
        touch "$aside/installed"
    fi
    "$aside/venv/bin/python" tools/outside_team.py "$team"
fi
theirs=(--outside "$team" outside_adapter:Network)
policies=()
for method in hmf hmf_ipc hmf_literal iql mfq mfvfd vdn; do
    for seed in 1 2 3 4; do
        policies+=("battle/${method}_s$seed")
    done
done
export PYTHONPATH=tools
"$python" src/crossplay.py opponents/battle.pt "${theirs[@]}" --episodes 32 --out "$aside/equal"
"$python" src/crossplay.py "${policies[@]}" opponents/battle.pt "${theirs[@]}" --episodes 16 --out "$aside/enemies"
cp "$aside/equal/crossplay.csv" "$out/outside.csv"
cp "$aside/equal/elo.md" "$out/outside.md"
cp "$aside/equal/crossplay.png" "$out/outside.png"
cp "$aside/enemies/crossplay.csv" "$out/outside_enemies.csv"
cp "$aside/enemies/alone.md" "$out/outside_enemies.md"
cp "$aside/enemies/methods.png" "$out/outside_enemies.png"
fill results/paper/arena.md
