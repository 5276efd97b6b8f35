"""Who plays the enemies of an environment of two sides, and the teammates of one that deviates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from assembly.saved import ENEMIES, enemy_file, frozen_policy, prefix_of
from config.enemies import LEARNER, teams_of
from config.schema import Config, ConfigError
from config.trust import Trust
from controllers.basic_controller import BasicMAC
from controllers.policy import MACPolicy
from envs.base import Env
from envs.opponents import TwoSidedEnv, WithTeam
from records import checkpoint
from utils.paths import ROOT


def enemies_at(folder: Path, config: Config) -> Path:
    """Find what ``opponent_checkpoint`` names of enemies that learned, as it was in a checkpoint ``folder`` of the run.

    The file of the only team, or the folder of several. Raises CheckpointError where there is no such file.
    """
    folder = folder.resolve()
    return enemy_file(folder, checkpoint.POLICY) if teams_of(config) == [""] else folder


def policy_digests(config: Config) -> dict[str, str]:
    """Compute the digests of policy files in the game of ``config``: name there -> SHA-256; missing ones are left out.

    A path alone does not say who plays: a run's id, and so its folder, is free again once the run is deleted.
    """
    named, found = config.env_args, dict[str, str]()
    for who in ("opponent", "team"):
        if named.get(who) == "checkpoint":
            name = named[f"{who}_checkpoint"]
            path = ROOT / name
            files = sorted(path.glob(f"{ENEMIES}*{checkpoint.POLICY}")) if path.is_dir() else [path]
            digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
            found |= {name: " ".join(digests)} if digests else {}
    return found


def set_opponent(
    env: Env, mac: BasicMAC, greedy: bool, trust: Trust, enemies: Mapping[str, BasicMAC] = MappingProxyType({})
) -> None:
    """Give an environment of two sides the policies that play its enemies: the learning controller or frozen ones.

    One that plays its learner's teammates too gets their frozen policy.
    ``greedy`` environments are the evaluation's; ``trust``: what a frozen policy may import; ``enemies``: the
    controllers of enemies that learn. Raises ConfigError for a league, which only a run in training has, and for
    enemies that should learn where none do.
    """
    if not isinstance(env, TwoSidedEnv):
        return
    set_frozen(env, mac.device, trust)
    if env.opponent == "league":
        raise ConfigError(
            "env_args.opponent=league trains; evaluations need an opponent that stays what it is. Set "
            "test_env_args.opponent=random, checkpoint or self_play (evaluate.py: env_args.opponent)."
        )
    if env.opponent == LEARNER:
        if not enemies:
            raise ConfigError(
                "test_env_args.opponent=learner expects env_args.opponent=learner, whose enemies it would play. Set "
                "that too, or another opponent."
            )
        if {prefix_of(team) for team in env.others} != enemies.keys():
            raise ConfigError(
                "test_env_args.teams expects those of env_args.teams, which learn, got "
                f"{', '.join(env.others) or 'none'}. Leave it out."
            )
        for team in env.others:
            env.set_opponent(MACPolicy(enemies[prefix_of(team)], greedy=True), team)
    elif env.opponent == "self_play":
        env.set_opponent(MACPolicy(mac, greedy))


def set_frozen(env: TwoSidedEnv, device: torch.device, trust: Trust) -> None:
    """Give an environment the policies of files that play in it. Raises ConfigError for a file where a folder fits."""
    if isinstance(env, WithTeam) and env.team == "checkpoint":
        env.set_team(frozen_policy(env.team_checkpoint, device, trust))
    if env.opponent == "checkpoint":
        path, several = ROOT / env.opponent_checkpoint, "" not in env.others
        if path.is_dir() != several:
            expected = "a checkpoint's folder, with a policy for every team" if several else "one policy file"
            raise ConfigError(
                f"env_args.opponent_checkpoint: expected {expected}, got '{env.opponent_checkpoint}'. Choose another, "
                "or change env_args.teams."
            )
        for team in env.others:
            file = enemy_file(path, checkpoint.POLICY, prefix_of(team)) if several else path
            env.set_opponent(frozen_policy(str(file), device, trust), team)
