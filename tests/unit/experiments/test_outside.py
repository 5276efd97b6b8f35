"""Teams of others: a state dict and an adapter play Battle on both sides; what is none of these is one line."""

from __future__ import annotations

import csv
import importlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.factory import config_for
from tests.support.paths import ROOT
from torch import Tensor, nn

from assembly.parts import make_env, make_mac
from assembly.saved import policy_state
from controllers.outside import PlainNetwork
from crossplay import main
from experiments.crossplay import line_up, load_outside
from records import checkpoint
from utils.errors import InputError

SMALL = {"n_agents": 6, "n_enemies": 6, "map_size": 24, "episode_limit": 4}


def plain(hidden: int = 16) -> nn.Sequential:
    """Two convolutions and two linear layers with random weights."""
    torch.manual_seed(hidden)
    convolutions = (nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*convolutions, nn.Linear(4 * 9 * 9, hidden), nn.ReLU(), nn.Linear(hidden, 21))


def saved(state: Any, path: Path) -> str:
    torch.save(state, path)
    return str(path)


def test_plain_networks_are_read_from_their_tensors() -> None:
    original, obs = plain(), torch.rand(7, 13, 13, 5)
    named = {f"body.{name}": value for name, value in original.state_dict().items()}
    assert torch.equal(PlainNetwork(named)(obs), original(obs.permute(0, 3, 1, 2)))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(845, 21, bias=False))
    assert torch.equal(PlainNetwork(linear.state_dict())(obs), linear(obs.permute(0, 3, 1, 2)))


def test_outside_teams_meet_ours_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for("iql", "battle_symmetric", env_args=SMALL)
    env = make_env(config, 1, test=True)
    ours = tmp_path / "ours.pt"
    checkpoint.save(ours, policy_state(config, make_mac(config, env.info)))
    file = saved(plain().state_dict(), tmp_path / "theirs.pt")
    example = (ROOT / "docs/experiments.md").read_text().partition("### Teams of others")[2]
    (tmp_path / "my_adapter.py").write_text(example.partition("```python\n")[2].partition("```")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    body = nn.Sequential(nn.Linear(845, 120), nn.LayerNorm(120), nn.Tanh())
    other = saved(nn.ModuleDict({"body": body, "head": nn.Linear(120, 21)}).state_dict(), tmp_path / "others.pt")
    outside = ["--outside", file, "--outside", other, "my_adapter:Network", "--outside", file]
    assert main([str(ours), *outside, "--episodes=2", f"--out={tmp_path / 'out'}"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "crossplay.csv").open()))
    labels = [f"iql:{ours}", f"plain:{file}", f"my_adapter:Network:{other}"]
    pairs = list(itertools.combinations(labels, 2)) + [(label, "random") for label in labels]
    assert sorted((row["row"], row["column"]) for row in rows[::2]) == sorted(pairs)  # the other half: the other side
    assert f"plain:{file} on the right against" in capsys.readouterr().out


class Attacking(nn.Module):
    """Attacks to the left of an enemy that it sees there; else walks left."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()

    def forward(self, obs: Tensor) -> Tensor:
        values = torch.zeros(len(obs), 21)
        values[:, 5] = 1.0
        values[:, 16] = 2.0 * obs[:, 6, 5, 3]
        return values


def test_their_actions_are_those_of_the_game(tmp_path: Path) -> None:
    team = load_outside(Path(saved({}, tmp_path / "none.pt")), f"{__name__}:Attacking")
    config = config_for("iql", "battle_symmetric", env_args={**SMALL, "opponent": "random"})
    row, memory = make_env(config, 1, test=True).reset(0), team.mac.bare_memory(1, 6)
    obs = row.obs.clone()
    obs[0, 3, 6, 5, 3] = 100  # an enemy on the cell to the left
    for stored, expected in ((row.obs, [5] * 6), (obs, [5, 5, 5, 16, 5, 5])):
        chosen, _ = team.mac.select_actions(replace(row, obs=stored), memory, 0, True, torch.Generator())
        assert chosen.tolist() == [expected]


def test_games_of_one_file_are_those_of_its_adapter(tmp_path: Path) -> None:
    """Or `games.jsonl` would hold those of the adapter before it was corrected."""
    file = Path(saved(plain().state_dict(), tmp_path / "theirs.pt"))
    assert load_outside(file).digest != load_outside(file, f"{__name__}:Attacking").digest


def test_without_a_run_the_game_is_battle_v4(tmp_path: Path) -> None:
    team = load_outside(Path(saved(plain().state_dict(), tmp_path / "theirs.pt")))
    assert team.config.env_args["n_agents"] == team.config.env_args["n_enemies"] == 81
    assert line_up([team]) == ([team], [team], True)
    narrow = config_for("iql", "battle", env_args=SMALL)
    env = make_env(narrow, 1, test=True)
    half = type(team)("half", make_mac(narrow, env.info), narrow)
    assert line_up([half, team]) == ([half], [team], False)  # the enemies of `battle` have MAgent's defaults


@pytest.mark.parametrize(
    ("state", "adapter", "message"),
    [
        (plain(), "plain", r"expected a state dict of tensors, .*, got .*theirs.pt \(UnpicklingError\)"),
        (nn.Linear(845, 9).state_dict(), "plain", r"expected values of shape \(2, 21\) .*, got \(2, 9\)"),
        (nn.Linear(7, 21).state_dict(), "plain", r"does not fit the adapter plain \(RuntimeError: mat1 and mat2"),
        (nn.LayerNorm(5).state_dict(), "plain", r"expected a convolution or a linear layer, got weight, bias \(5,\)"),
        ([1, 2], "plain", "does not fit the adapter plain"),
        (plain().state_dict(), "plian", "--outside: unknown name 'plian'. Did you mean 'plain'"),
        (plain().state_dict(), "nowhere:Network", "--outside: cannot import 'nowhere:Network'"),
        (
            plain().state_dict(),
            "config.trust:Trust",
            "--outside: expected a subclass of torch.nn.modules",
        ),
    ],
)
def test_what_fits_nothing_is_one_line(tmp_path: Path, state: Any, adapter: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_outside(Path(saved(state, tmp_path / "theirs.pt")), adapter)
    assert "\n" not in str(caught.value)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.pt")
    assert main(["--outside", missing]) == 2
    assert f"got {missing} (FileNotFoundError)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--outside", missing, "a:B", "3"])
    assert f"--outside: expected a file and at most one adapter, got {missing} a:B 3" in capsys.readouterr().err


def test_the_adapter_of_stable_baselines_makes_its_network_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    adapter = importlib.import_module("outside_adapter")
    body = nn.Sequential(nn.Linear(845, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 21))
    network = adapter.Network({f"q_net.{name}": weight for name, weight in body.state_dict().items()})
    obs = torch.rand(7, 13, 13, 5)
    assert torch.equal(network(obs), body(obs.flatten(1))), "its observations are flattened with channels last"
    with pytest.raises(RuntimeError, match="q_net"):
        adapter.Network(body.state_dict())
