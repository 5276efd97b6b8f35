"""What exported policies hold, and the controllers and configurations read from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from assembly.parts import make_mac
from components.batch import EnvInfo
from config.enemies import LEARNER
from config.resolve import config_from_dict
from config.schema import Config
from config.trust import NOTHING, Trust, TrustError
from controllers.basic_controller import BasicMAC
from controllers.policy import MACPolicy
from records import checkpoint
from records.files import read_json
from utils.errors import InputError
from utils.paths import ROOT
from utils.version import made_by

SHAPING = (  # keys that decide which networks there are, and their sizes
    *("mac", "agent", "mixer", "learner"),
    *("hidden_dims", "conv_channels", "rnn_hidden_dim", "dueling", "normalise"),
    *("share_params", "obs_agent_id", "obs_last_action"),
    *("n_groups", "top_level", "gmf_hidden_dims", "share_gmf", "mean_field_action"),
    *("attention", "attention_dim", "attention_input"),
    *("mf_heads", "mf_head_dim", "mf_hidden_dims"),
    *("mixing_embed_dim", "hypernet_embed", "max_agents", "critic_hidden_dims"),
)
ENEMIES = "enemy_"  # begins the names of what belongs to enemies that learn


def prefix_of(team: str) -> str:
    """Return what begins the names of files and metrics of a team of enemies that learns."""
    return f"{ENEMIES}{team}_" if team else ENEMIES


def team_of(prefix: str) -> str:
    """Return the team that `prefix_of` makes this of."""
    return prefix.removeprefix(ENEMIES).removesuffix("_")


def recorded_config(run_dir: Path, trust: Trust) -> Config:
    """Read the configuration of a recorded run, from which ``trust`` says what may be imported. Raises InputError."""
    return config_from_dict(read_json(run_dir / "config.json"), read_json(run_dir / "run.json"), trust)


def policy_state(config: Config, mac: BasicMAC) -> dict[str, Any]:
    """Return what an exported policy holds: the controller's networks and what rebuilds them.

    Folders of this machine are left out.
    """
    info = {field: getattr(mac.info, field) for field in EnvInfo.__dataclass_fields__}
    info["obs_dtype"] = str(mac.info.obs_dtype).removeprefix("torch.")
    portable = replace(config, local_results_path="results", tensorboard=False, tracker="none", checkpoint_path="")
    return {"config": portable.to_dict(), "info": info, "mac": mac.state_dict()}


def mac_of_policy(state: Mapping[str, Any], trust: Trust) -> BasicMAC:
    """Build the controller that `policy_state` describes, with new networks. Raises what a wrong state leads to."""
    dtype = getattr(torch, state["info"]["obs_dtype"])
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"obs_dtype is {state['info']['obs_dtype']}")
    told: dict[str, Any] = dict(state["info"])
    lists = {key: tuple(value) for key, value in told.items() if isinstance(value, list)}  # of JSON
    info = EnvInfo(**{**told, **lists, "obs_dtype": dtype})
    return make_mac(config_from_dict(state["config"], state, trust), info)


def read_policy(path: Path, device: torch.device, trust: Trust = NOTHING) -> tuple[Mapping[str, Any], BasicMAC]:
    """Read what an exported policy file holds (`policy_state`), and its controller, frozen. Raises CheckpointError.

    ``trust``: what it may import.
    """
    state = checkpoint.load(path, device)
    try:
        mac = mac_of_policy(state, trust).to(device)
        mac.load_state_dict(state["mac"])
    except TrustError:
        raise
    except (InputError, AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise checkpoint.CheckpointError(
            f"checkpoint: {path} is no policy that can be loaded ({checkpoint.one_line(error)}); {made_by(state)}."
        ) from error
    return state, mac.requires_grad_(False)


def load_policy(path: Path, device: torch.device, trust: Trust = NOTHING) -> BasicMAC:
    """Read a frozen controller from an exported policy file, as `read_policy`."""
    return read_policy(path, device, trust)[1]


def frozen_policy(path: str, device: torch.device, trust: Trust) -> MACPolicy:
    """Load the greedy policy of an exported file; a relative path starts at the project. Raises CheckpointError."""
    return MACPolicy(load_policy(ROOT / path, device, trust), greedy=True)


def differences(path: Path, config: Config, info: EnvInfo) -> list[str]:
    """List what decides on networks and differs between an exported policy file and ``config`` with a game as ``info``.

    Keys that only one of the two has follow from others. Empty for a file that cannot be read.
    """
    try:
        state = checkpoint.load(path, torch.device("cpu"))
    except checkpoint.CheckpointError:
        return []
    there, here = state.get("config", {}), config.to_dict()
    pairs = {key: (there[key], here[key]) for key in SHAPING if key in there and key in here}
    for key in ("n_agents", "n_actions", "obs_shape"):
        if key in state.get("info", {}):
            pairs[key] = state["info"][key], getattr(info, key)
    return [f"{key}: checkpoint {told}, here {own}" for key, (told, own) in pairs.items() if told != own]


def enemy_file(folder: Path, name: str, prefix: str = ENEMIES) -> Path:
    """Find the file ``name`` of enemies that learned, in a checkpoint folder. Raises CheckpointError where none did."""
    path = folder / f"{prefix}{name}"
    if not path.exists():
        raise checkpoint.CheckpointError(
            f"checkpoint: expected {path}, which runs with env_args.opponent={LEARNER} keep, it does not exist. Choose "
            "a checkpoint of such a run, or another opponent."
        )
    return path
