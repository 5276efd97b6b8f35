#!/usr/bin/env bash
# Rebuilds the frozen opponent of Battle: trains it by self-play, exports its policy, measures it against random play.
# Example: tools/train_opponent.sh seed=2
source "$(dirname "$0")/common.bash"

"$python" src/main.py --config=iql --env-config=battle_opponent with "$@"
run=$(ls results/sacred | sort -n | tail -1)
newest=$(ls "results/sacred/$run/checkpoints" | grep -E '^[0-9]+$' | sort -n | tail -1)
"$python" src/evaluate.py --run "$run" --episodes 32 with env_args.opponent=random
cp "results/sacred/$run/checkpoints/$newest/policy.pt" opponents/battle.pt
cp "results/sacred/$run/checkpoints/$newest/policy.pt.sha256" opponents/battle.pt.sha256
echo "written: opponents/battle.pt (run $run, step $newest)"
