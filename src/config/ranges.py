"""What numbers may be: the range of every key that has one, whoever reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from config.schema import ConfigError


class Range(NamedTuple):
    """From ``low`` to ``high``, both included; ``low`` excluded where ``above``, ``high`` where ``below``."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        high_enough = value > self.low if self.above else value >= self.low
        low_enough = value < self.high if self.below else value <= self.high
        return high_enough and low_enough and abs(value) != math.inf

    def __str__(self) -> str:
        start = f"{'above' if self.above else 'at least'} {self.low}"
        return start if self.high == math.inf else f"{start} and {'below' if self.below else 'at most'} {self.high}"


COUNT, SIZE, SHARE, POSITIVE = Range(0), Range(1), Range(0, 1), Range(0, above=True)
RANGES: dict[str, Range] = {
    "seed": Range(0, 2**32 - 1),
    **dict.fromkeys(("t_max", "batch_size_run", "batch_size", "buffer_size", "train_interval"), SIZE),
    "threads": Range(1, 1024),  # torch asks the system for as many as it is told, and crashes where it gets fewer
    **dict.fromkeys(
        ("test_interval", "test_nepisode", "log_interval", "save_model_interval", "keep_checkpoints"), SIZE
    ),
    **dict.fromkeys(("hidden_dims", "gmf_hidden_dims", "mf_hidden_dims", "critic_hidden_dims", "conv_channels"), SIZE),
    **dict.fromkeys(("rnn_hidden_dim", "attention_dim", "mf_heads", "mf_head_dim", "max_agents"), SIZE),
    **dict.fromkeys(("mixing_embed_dim", "hypernet_embed"), SIZE),
    **dict.fromkeys(("regroup_interval", "mf_neighbours", "epsilon_anneal_time", "temperature_anneal_time"), COUNT),
    **dict.fromkeys(("gmf_coef", "top_coef", "reg_coef", "kl_coef", "logit_reg_coef"), COUNT),
    **dict.fromkeys(("rollout_length", "epochs", "minibatches"), SIZE),
    **dict.fromkeys(("gamma", "epsilon_start", "epsilon_finish", "mean_policy_decay"), SHARE),
    "average_decay": Range(0, 1, below=True),  # 1: what is evaluated and exported would never learn
    **dict.fromkeys(("td_lambda", "lr_finish", "reward_sharing"), SHARE),
    **dict.fromkeys(("lr", "grad_norm_clip"), POSITIVE),
    **dict.fromkeys(
        ("gumbel_temperature", "policy_temperature", "temperature_start", "temperature_finish"),
        Range(1e-6),  # values are divided by it, in float32
    ),
    "target_update_tau": Range(0, 1, above=True),
}
NOT_EMPTY = ("hidden_dims", "critic_hidden_dims")


def check_ranges(values: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    """Raise ConfigError for a number, or one of a list, outside the range of its key, or two that do not fit.

    ``origin``: the places that keys came from, as far as they are known.
    """
    for key, allowed in RANGES.items():
        if key not in values:
            continue
        given, where = values[key], origin.get(key, "configuration")
        for number in given if isinstance(given, list) else [given]:
            if number not in allowed:
                raise ConfigError(f"{where}: {key} expects {_what(given)}{allowed}, got {given}.")
        if key in NOT_EMPTY and given == []:
            raise ConfigError(f"{where}: {key} expects at least one number, got [].")
    if values.get("learning_starts", math.inf) < values.get("batch_size", 0):
        raise ConfigError(
            f"configuration: learning_starts = {values['learning_starts']} is less than batch_size = "
            f"{values['batch_size']}; the first update needs a full batch. Raise learning_starts."
        )


def _what(given: Any) -> str:
    return "numbers of " if isinstance(given, list) else ""
