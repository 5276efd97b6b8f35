#!/usr/bin/env bash
# Every method of Battle against every other (docs/protocol.md): self-play with equal sides, then games between all policies, the
# ratings, and the archive of records in results/paper/battle. The same command continues; what is finished is not repeated.
#   tools/arena.sh [OPTIONS OF src/sweep.py]
# Example: tools/arena.sh --workers 2
source "$(dirname "$0")/common.bash"
out=results/paper/battle
"$python" src/sweep.py arena_battle "$@"
report arena_runs "results.md=$out/arena_opponent.md" "runs.md=$out/arena_runs.md" -- \
    --experiment arena_battle --score tail # against the committed opponent
"$python" src/crossplay.py --experiment arena_battle opponents/battle.pt --episodes 32 --out results/tmp/arena
cp results/tmp/arena/crossplay.csv "$out/arena.csv"
cp results/tmp/arena/elo.md "$out/arena_policies.md"
cp results/tmp/arena/methods.md "$out/arena.md"
cp results/tmp/arena/sides.md "$out/arena_sides.md"
cp results/tmp/arena/alone.md "$out/arena_alone.md"
cp results/tmp/arena/methods.png "$out/arena.png"
fill results/paper/arena.md
"$python" src/runs.py pack "$out/arena_records.tar.xz" --experiment arena_battle
