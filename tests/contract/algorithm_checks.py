"""What every algorithm promises (docs/new_algorithm.md), one check per promise; each message says what to change."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tests.support.nested import differences
from tests.support.resume import HALF, KEYS, check_exact, resume_state
from tests.support.small_runs import command, run

import build
from assembly.registries import REGISTRIES
from assembly.saved import load_policy
from components.batch import Batch
from config.command_line import parse_command_line
from config.loader import layers
from config.resolve import make_config
from config.trust import EVERYTHING
from learners.base import Learner
from records import checkpoint

ROLLOUT: dict[str, Any] = {"rollout_length": 8, "minibatches": 3, "lr_finish": 1.0}


@dataclass(frozen=True)
class AlgorithmCase:
    """An algorithm under test: a name or a YAML file, on a small version of an environment, in one regime."""

    algorithm: str
    environment: str
    regime: str

    def __str__(self) -> str:
        return f"{Path(self.algorithm).stem}-{self.environment}-{self.regime}"

    @property
    def keys(self) -> dict[str, Any]:
        """What a short run sets."""
        return {**KEYS, "regime": self.regime, **(ROLLOUT if self.regime == "rollout" else {})}

    def run(self, folder: Path, **overrides: Any) -> Path:
        """The folder of a recorded run of two halves."""
        keys = {**self.keys, "t_max": 2 * HALF, **overrides}
        assert run(folder, self.algorithm, self.environment, **keys) == 0, (
            f"main.py --config={self.algorithm} --env-config={self.environment} failed; its message stands above."
        )
        return folder / "sacred" / "1"

    def system(self, folder: Path) -> build.System:
        """What a run is made of."""
        words = command(folder, self.algorithm, self.environment, **{**self.keys, "t_max": 2 * HALF})
        given = parse_command_line(words)
        stack = layers(given.config, given.env_config, given.overrides)
        return build.build(make_config(stack, REGISTRIES)[0])

    def learner_and_batch(self, folder: Path) -> tuple[Learner, Batch]:
        """A new learner and rows that it may learn from; the same in every call."""
        system = self.system(folder)
        for _ in range(20 if self.regime == "replay" else ROLLOUT["rollout_length"]):
            system.runner.collect(0, system.rows)
        return system.learner, system.regime.sample(system.rows, torch.Generator().manual_seed(0))


def a_run_learns_and_is_recorded(case: AlgorithmCase, folder: Path) -> None:
    """A short run makes updates, logs finite numbers, and exports a policy that can be loaded."""
    run_dir = case.run(folder)
    points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    wrong = sorted({point["name"] for point in points if not math.isfinite(point["value"])})
    assert not wrong, f"{', '.join(wrong)}: not finite. Look for 0/0 where nobody is alive or nothing has weight."
    newest = checkpoint.step_folder(run_dir / "checkpoints", 0)
    assert checkpoint.load(newest / checkpoint.LEARNER, torch.device("cpu"))["n_updates"] > 0, "nothing was learned."
    load_policy(newest / checkpoint.POLICY, torch.device("cpu"), EVERYTHING)


def same_seed_same_run(case: AlgorithmCase, folder: Path) -> None:
    """Two runs with one seed are equal bit for bit, and a run with another seed is another run."""
    one, two, other = (case.run(folder / str(i), seed=seed) for i, seed in enumerate((1, 1, 2)))
    found = differences(resume_state(one), resume_state(two))
    assert not found, (
        f"two runs with seed 1 differ in {found[:3]}. Draw from the generators that you are given (of the learner, of "
        "select_actions, of assign)."
    )
    found = differences(resume_state(one)["learner"], resume_state(other)["learner"])
    assert found, "seeds 1 and 2 give the same networks."


def a_resumed_run_equals_the_whole_one(case: AlgorithmCase, folder: Path) -> None:
    """Half a run, saved and continued, equals the whole run bit for bit."""
    check_exact(folder, case.algorithm, case.environment, **case.keys)


def transitions_without_weight_teach_nothing(case: AlgorithmCase, folder: Path) -> None:
    """Batch.weight 0 removes a transition from every loss."""
    losses = []
    for change in (0.0, 1.0):
        learner, batch = case.learner_and_batch(folder)
        without = torch.arange(len(batch.weight)) % 2 == 0
        changed = (change * without).view(-1, *[1] * (batch.obs.dim() - 1))
        batch = replace(
            batch,
            weight=batch.weight.masked_fill(without, 0.0),
            reward=batch.reward + 100 * changed.flatten(1) * batch.alive,
            obs=batch.obs + changed * batch.alive.view(*batch.alive.shape, *[1] * (batch.obs.dim() - 2)),
        )
        losses.append(learner.loss(batch, 0)[0].detach())
    assert torch.allclose(losses[0], losses[1]), (
        f"the loss depends on transitions of weight 0: {losses[0]:.6f} and {losses[1]:.6f} where only those differ. "
        "Multiply every weight by Batch.weight (components.returns.agent_weight does)."
    )


def nothing_follows_a_true_end(case: AlgorithmCase, folder: Path) -> None:
    """Outcome.discount is 0 where the episode terminated."""
    learner, batch = case.learner_and_batch(folder)
    outcomes = learner.outcomes(replace(batch, terminated=torch.ones_like(batch.terminated)), 0)
    wrong = [index for index, outcome in enumerate(outcomes) if outcome.discount.any()]
    assert not wrong, (
        f"outcomes()[{wrong[0]}].discount is not 0 in terminated transitions. Use agent_outcome, or mask it."
    )


def nobody_alive_is_no_error(case: AlgorithmCase, folder: Path) -> None:
    """A batch in which all agents are dead gives a finite loss."""
    learner, batch = case.learner_and_batch(folder)
    dead = torch.zeros_like(batch.alive)
    empty = replace(
        batch,
        alive=dead,
        next_alive=dead,
        action=torch.zeros_like(batch.action),
        prev_action=torch.full_like(batch.prev_action, -1),
        group=torch.full_like(batch.group, -1),
        reward=torch.zeros_like(batch.reward),
        obs=torch.zeros_like(batch.obs),
        next_obs=torch.zeros_like(batch.next_obs),
    )
    loss = learner.loss(empty, 0)[0].detach()
    assert torch.isfinite(loss), f"the loss is {float(loss)} where all agents are dead. Divide by at least 1."


ALGORITHM_CHECKS = (
    a_run_learns_and_is_recorded,
    same_seed_same_run,
    a_resumed_run_equals_the_whole_one,
    transitions_without_weight_teach_nothing,
    nothing_follows_a_true_end,
    nobody_alive_is_no_error,
)
