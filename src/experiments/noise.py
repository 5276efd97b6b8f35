"""How noisy the learning of a recorded run is: the gradient of its updates, and their targets, at a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

import build
from analysis.collect import Task, arrange
from assembly.saved import recorded_config
from components.batch import Batch
from components.returns import weighted_mean
from config.resolve import config_from_dict
from config.trust import Trust
from controllers.basic_controller import BasicMAC
from learners.base import LearningError
from records import checkpoint
from records.files import Curve, RecordError
from records.store import FileStore, RunRecord
from utils.cli import say
from utils.errors import InputError

SEED = 0  # of the play that batches come from, whatever the run's own was
AGENTS = 8  # whose parts of the gradient are measured one by one: each takes a pass through the network


@dataclass(frozen=True)
class Noise:
    """Of one update's batch, with the networks of a checkpoint, over batches from fresh play."""

    signal: float  # signal to noise: squared norm of the mean gradient / its variance (trace of the covariance)
    agent_signal: float | None  # the same of what single agents add to the gradient; None where no Q-values are learned
    target_std: float  # standard deviation of the first problem's targets, over units and transitions that count
    td_error: float  # mean absolute difference between these and the predictions


def measured(
    store: FileStore, records: Sequence[RunRecord], names: Mapping[str, str], step: str, n_batches: int, trust: Trust
) -> dict[str, list[Task]]:
    """Measure runs: field of `Noise` -> tasks with its value for all; ``names``: see `analysis.collect.arrange`."""
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
        known = {name: value for name, value in asdict(noise).items() if value is not None}
        say(f"{called}: " + ", ".join(f"{name} {value:.3g}" for name, value in known.items()))
        for name, value in known.items():
            found[name][record.id] = Curve.of([value])
    return {name: arrange(learning, curves, names) for name, curves in found.items()}


def measure(run_dir: Path, step: str, n_batches: int, seed: int, trust: Trust) -> Noise:
    """Play on from the checkpoint ``step`` of a run without learning, and look at the ``n_batches`` first updates.

    The gradient is that of the network that acts. Every batch is of a rollout of its own; from a replay they are drawn
    as updates would draw them, after ``learning_starts`` steps. Optimiser and clipping do not count. Raises InputError.
    """
    config = recorded_config(run_dir, trust)
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
    of_agents = list[list[Tensor]]()  # by batch
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
            by_unit = first.unit_weight
            weight_BU = first.weight if by_unit is None else torch.einsum("bv,bvu->bu", first.weight, by_unit)
            weights.append(weight_BU.expand_as(target[0]).flatten())
            targets.append(target[0].flatten())
            errors.append((first.value.detach() - target[0]).abs().flatten())
            learner.optimiser.zero_grad()
            with _watched(system.mac) as values:
                learner.loss(batch, t_env, target)[0].backward(retain_graph=True)
            gradients.append(_flat(parameters, [parameter.grad for parameter in parameters]))
            if values:
                of_agents.append(agent_gradients(values, parameters, AGENTS))
            break
    weight_L, target_L, error_L = torch.cat(weights), torch.cat(targets), torch.cat(errors)
    variance = weighted_mean((target_L - weighted_mean(target_L, weight_L)).square(), weight_L)
    return Noise(
        signal=_signal([gradients]),
        agent_signal=_signal(list(zip(*of_agents, strict=True))) if of_agents else None,
        target_std=float(variance.sqrt()),
        td_error=float(weighted_mean(error_L, weight_L)),
    )


@dataclass
class Values:
    """Q-values (B, N, A) that a loss took, and the gradient that it gave them; None before its backward pass."""

    q_BNA: Tensor
    gradient_BNA: Tensor | None = None

    def keep(self, gradient_BNA: Tensor) -> None:
        """Take what arrives."""
        self.gradient_BNA = gradient_BNA


@contextmanager
def _watched(mac: BasicMAC) -> Iterator[list[Values]]:
    """Collect the Q-values that are taken from ``mac``, with the gradients that they are given meanwhile."""
    found, hooks, q_values = list[Values](), list[RemovableHandle](), mac.q_values

    def watched(batch: Batch) -> Tensor:
        found.append(Values(q_values(batch)))
        hooks.append(found[-1].q_BNA.register_hook(found[-1].keep))
        return found[-1].q_BNA

    mac.q_values = watched  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del mac.q_values
        for hook in hooks:
            hook.remove()


def agent_gradients(found: Sequence[Values], parameters: Sequence[Tensor], n_agents: int) -> list[Tensor]:
    """Return what each of up to ``n_agents`` agents, evenly spread over the slots, adds to the parameters' gradient.

    ``found``: after a backward pass that kept its graph. All agents together add up to what it gave the parameters.
    """
    given = [(values.q_BNA, values.gradient_BNA) for values in found if values.gradient_BNA is not None]
    outputs = [q_BNA for q_BNA, _ in given]
    n_slots = outputs[0].shape[1]
    gradients = []
    for agent in torch.linspace(0, n_slots - 1, min(n_agents, n_slots)).round().long().tolist():
        parts = [torch.zeros_like(q_BNA) for q_BNA in outputs]
        for part_BNA, (_, gradient_BNA) in zip(parts, given, strict=True):
            part_BNA[:, agent] = gradient_BNA[:, agent]
        own = torch.autograd.grad(outputs, parameters, parts, retain_graph=True, allow_unused=True)
        gradients.append(_flat(parameters, own))
    return gradients


def _flat(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.cat(
        [
            torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten().clone()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _signal(whose: Sequence[Sequence[Tensor]]) -> float:
    """Compute signal to noise of gradients of one or of several: their squared means over their variances, both summed.

    ``whose``: gradients by batch, of each. Below 0 where the means are shorter than noise alone would make them. Both
    parts of the ratio are without bias from the number of batches. Raises LearningError for 0/0.
    """
    mean = variance = torch.zeros((), dtype=torch.float64)
    for gradients in whose:
        stacked = torch.stack(list(gradients)).double()
        spread = stacked.var(dim=0).sum()
        variance = variance + spread
        mean = mean + stacked.mean(dim=0).square().sum() - spread / len(stacked)
    if not variance > 0:
        raise LearningError("noise: expected gradients that differ from batch to batch, all are the same.")
    return float(mean / variance)
