"""``outside_team.py FILE [--steps N] [--seed S]``: a team of others, for ``src/crossplay.py --outside``.

One DQN of Stable-Baselines3 for all agents of both sides of MAgent2's ``battle_v4``. It imports nothing of this
project; what it imports is in requirements-outside.txt (tools/outside.sh).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from magent2.environments import battle_v4
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv


class Agents(VecEnv):
    """Every agent of a game as an environment of one learner; the dead see and earn nothing until the next game."""

    def __init__(self, game: Any, seed: int) -> None:
        self.game, self.names = game, list(game.possible_agents)
        self.first_seed: int | None = seed
        self.render_mode = None
        super().__init__(len(self.names), game.observation_space(self.names[0]), game.action_space(self.names[0]))

    def _rows(self, by_name: dict[str, Any], absent: Any) -> np.ndarray[Any, Any]:
        return np.stack([by_name.get(name, absent) for name in self.names])

    def reset(self) -> np.ndarray[Any, Any]:
        """Begin a game: observations (agents, 13, 13, 5) float32."""
        seen, _ = self.game.reset(seed=self.first_seed)
        self.first_seed = None
        return self._rows(seen, np.zeros(self.observation_space.shape, np.float32))

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Keep what everybody does."""
        self.chosen = dict(zip(self.names, actions, strict=True))

    def step_wait(self) -> Any:
        """Play a step, and begin the next game where this one is over."""
        seen, earned, died, late, _ = self.game.step({name: self.chosen[name] for name in self.game.agents})
        obs = self._rows(seen, np.zeros(self.observation_space.shape, np.float32))
        reward = self._rows(earned, 0.0).astype(np.float32)
        dead, late_now = self._rows(died, True), self._rows(late, False)
        infos: list[dict[str, Any]] = [{} for _ in self.names]
        for slot in np.flatnonzero(dead | late_now):
            infos[slot] = {
                "terminal_observation": obs[slot],
                "TimeLimit.truncated": bool(late_now[slot] and not dead[slot]),
            }
        if not self.game.agents:
            obs = self.reset()
        return obs, reward, dead | late_now, infos

    def close(self) -> None:
        """End the game."""
        self.game.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Ask every agent's environment, of which there is one."""
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: nothing here is set from outside."""
        raise NotImplementedError

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refuse: nothing here is called from outside."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> Sequence[bool]:
        """Answer that nothing is."""
        return [False] * self.num_envs


class Progress(BaseCallback):
    """Prints steps of the game, their rate, the time left and an agent's reward per step, twice a minute."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.started, self.said = steps, time.monotonic(), 0.0
        self.rewards: list[float] = []

    def _on_step(self) -> bool:
        self.rewards.append(float(self.locals["rewards"].mean()))
        passed = time.monotonic() - self.started
        if passed - self.said > 30:
            rate, reward = self.n_calls / passed, sum(self.rewards) / len(self.rewards)
            left = (self.steps - self.n_calls) / rate / 60
            print(
                f"step {self.n_calls} of {self.steps}, {rate:.0f}/s, {left:.0f} min left, reward {reward:.4f}",
                flush=True,
            )
            self.said, self.rewards = passed, []
        return True


def main() -> None:
    """Train, and save the network's weights as a plain state dict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=60000, help="of the game (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    agents = Agents(battle_v4.parallel_env(max_cycles=300), asked.seed)
    learner = DQN(
        "MlpPolicy",
        agents,
        learning_rate=3e-4,
        buffer_size=400_000,  # transitions of single agents, of the dead too: some 2,500 steps
        learning_starts=20_000,
        batch_size=512,
        gamma=0.95,
        train_freq=1,
        gradient_steps=2,
        target_update_interval=200,
        exploration_fraction=0.5,
        policy_kwargs={"net_arch": [128, 64]},
        seed=asked.seed,
    )
    learner.learn(asked.steps * agents.num_envs, callback=Progress(asked.steps))
    torch.save(learner.q_net.state_dict(), asked.file)
    print(f"written: {asked.file}")


if __name__ == "__main__":
    main()
