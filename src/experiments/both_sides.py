"""Both sides of a run whose enemies learned too: every kept policy of the learners against every one of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from analysis.both_sides import Meeting
from assembly.opponents import enemies_at
from assembly.saved import load_policy, recorded_config
from config.enemies import LEARNER
from config.resolve import with_env_args
from config.schema import ConfigError
from config.trust import Trust
from experiments.evaluation import CPU, play_episodes, played_config, sides
from records import checkpoint


def meet(run_dir: Path, episodes: int, seed: int, trust: Trust) -> Iterator[Meeting]:
    """Play every pair of checkpoints, greedily, ``episodes`` a side of the game; all pairs begin alike.

    Several teams of enemies play together, as they were at one step. Raises InputError before the first game for a run
    whose enemies did not learn, and for one that kept a single checkpoint.
    """
    recorded = recorded_config(run_dir, trust)
    opponent = recorded.env_args.get("opponent", "none")
    if opponent != LEARNER:
        raise ConfigError(
            f"--sides: expected a run with env_args.opponent={LEARNER}, got {run_dir}, which has opponent={opponent}. "
            "Its policies are compared by naming runs; those of a league by --league."
        )
    steps = checkpoint.steps(run_dir / "checkpoints")
    if len(steps) < 2:
        raise checkpoint.CheckpointError(
            f"--sides: expected at least two checkpoints in {run_dir / 'checkpoints'}, got {len(steps)}. Train with "
            "keep_checkpoints=10 and a save_model_interval of a tenth of t_max."
        )
    game = played_config(recorded, [], f"{run_dir}", trust)
    folders = {step: run_dir / "checkpoints" / str(step) for step in steps}
    learners = {step: load_policy(folder / checkpoint.POLICY, CPU, trust) for step, folder in folders.items()}
    theirs = {step: enemies_at(folder, recorded) for step, folder in folders.items()}
    for step, mac in learners.items():
        for enemies, path in theirs.items():
            config = with_env_args(game, opponent="checkpoint", opponent_checkpoint=str(path))
            logs = [play_episodes(side, mac, episodes, seed) for side in sides(config).values()]
            yield Meeting(step, enemies, np.concatenate([log.values["score"] for log in logs]))
