"""How noisy the learning of a recorded run is: the gradient of its updates, and their targets, at a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

import build
from analysis.collect import Task, arrange
from components.returns import weighted_mean
from config.resolve import config_from_dict
from config.trust import Trust
from learners.base import LearningError
from records import checkpoint
from records.files import Curve, RecordError
from records.store import FileStore, RunRecord
from utils.cli import say
from utils.errors import InputError

SEED = 0  # of the play that batches come from, whatever the run's own was


@dataclass(frozen=True)
class Noise:
    """Of one update's batch, with the networks of a checkpoint, over batches from fresh play."""

    signal: float  # signal to noise: squared norm of the mean gradient / its variance (trace of the covariance)
    target_std: float  # standard deviation of the first problem's targets, over units and transitions that count
    td_error: float  # mean absolute difference between these and the predictions


def measured(
    store: FileStore, records: Sequence[RunRecord], names: Mapping[str, str], step: str, n_batches: int, trust: Trust
) -> dict[str, list[Task]]:
    """Field of `Noise` -> tasks with its value for every run; ``names``: see `analysis.collect.arrange`."""
    learning = [record for record in records if record.config["t_max"] > 1 and not record.config["evaluate"]]
    if not learning:
        raise RecordError("noise: expected runs that learn, these only play. Choose others.")
    if len(learning) < len(records):
        say(f"left out: {len(records) - len(learning)} runs that only play")
    found: dict[str, dict[int, Curve]] = {field.name: {} for field in fields(Noise)}
    for record in learning:
        called = f"run {record.id} ({record.config['name']})"
        try:
            noise = measure(store.folder(record.id), step, n_batches, SEED, trust)
        except InputError as error:
            raise RecordError(f"noise: {called}: {error}") from error
        say(f"{called}: " + ", ".join(f"{k} {v:.3g}" for k, v in asdict(noise).items()))
        for name, value in asdict(noise).items():
            found[name][record.id] = Curve([0], [value], [""])
    return {name: arrange(learning, curves, names) for name, curves in found.items()}


def measure(run_dir: Path, step: str, n_batches: int, seed: int, trust: Trust) -> Noise:
    """Play on from the checkpoint ``step`` of a run without learning, and look at the ``n_batches`` first updates.

    The gradient is that of the network that acts. Every batch is of a rollout of its own; from a replay they are drawn
    as updates would draw them, after ``learning_starts`` steps. Optimiser and clipping do not count. Raises InputError.
    """
    config = build.recorded_config(run_dir, trust)
    folder = checkpoint.exact_folder(run_dir, step)
    here = {"checkpoint_path": "", "use_cuda": False, "seed": seed}
    system = build.build(config_from_dict({**config.to_dict(), **here}, trust=trust))
    try:
        build.load_networks(system, folder)
        return _measure(system, int(folder.name), n_batches)
    finally:
        system.close()


def _measure(system: build.System, t_env: int, n_batches: int) -> Noise:
    learner, regime, rows = system.learner, system.regime, system.rows
    parameters = list(system.mac.parameters())
    gradients, targets, errors, weights = list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    for opponent in system.opponents.values():
        opponent.t_env = t_env  # enemies that learn explore as they did then
    made = 0
    while len(gradients) < n_batches:
        made += system.runner.collect(t_env, rows)
        if made < regime.learning_starts:
            continue
        for batch, target in regime.batches(learner, rows, t_env):
            prediction = learner.predict(batch, t_env)
            first = prediction.problems[0]
            spread = first.spread
            weight_BU = first.weight if spread is None else torch.einsum("bv,bvu->bu", first.weight, spread)
            weights.append(weight_BU.expand_as(target[0]).flatten())
            targets.append(target[0].flatten())
            errors.append((first.value.detach() - target[0]).abs().flatten())
            learner.optimiser.zero_grad()
            learner.loss(batch, t_env, target)[0].backward()
            gradients.append(torch.cat([_gradient(parameter) for parameter in parameters]))
            break
    weight_L, target_L, error_L = torch.cat(weights), torch.cat(targets), torch.cat(errors)
    variance = weighted_mean((target_L - weighted_mean(target_L, weight_L)).square(), weight_L)
    return Noise(_signal(gradients), float(variance.sqrt()), float(weighted_mean(error_L, weight_L)))


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter).flatten() if parameter.grad is None else parameter.grad.flatten().clone()


def _signal(gradients: Sequence[Tensor]) -> float:
    """Signal to noise of one gradient; below 0 where the mean is shorter than noise alone would make it.

    Both parts of the ratio are without bias from the number of ``gradients``. Raises LearningError for 0/0.
    """
    stacked = torch.stack(list(gradients)).double()
    variance = stacked.var(dim=0).sum()
    if not variance > 0:
        raise LearningError("noise: expected gradients that differ from batch to batch, all are the same.")
    return float((stacked.mean(dim=0).square().sum() - variance / len(stacked)) / variance)
