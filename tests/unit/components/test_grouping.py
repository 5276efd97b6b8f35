"""Groupings that do not cluster, the controller that keeps groups, and what it reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from assembly.registries import REGISTRIES
from components.batch import EnvInfo, GroupHistory, Memory, Step
from components.grouping import (
    Assignment,
    ContiguousGrouping,
    Grouping,
    GroupingError,
    GroupingInput,
    IPCGrouping,
    KindGrouping,
    RandomGrouping,
)
from components.grouping import SpatialGrouping as Spatial
from components.selectors import EpsilonGreedySelector
from config.registry import resolve
from controllers.group_controller import GroupMAC
from modules.agents.mlp import MLPAgent
from utils.errors import InputError

KIND = REGISTRIES["grouping"]
INFO = EnvInfo(
    name="toy",
    n_agents=6,
    n_actions=2,
    obs_shape=(3,),
    obs_dtype=torch.float32,
    obs_scale=1.0,
    episode_limit=5,
    has_position=True,
)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(alive: Tensor, position: Tensor | None = None) -> GroupingInput:
    n_envs, n_agents = alive.shape
    generator = stream(1)
    return GroupingInput(
        obs=torch.randn(n_envs, n_agents, 3, generator=generator),
        action=torch.eye(2)[torch.randint(2, (n_envs, n_agents), generator=generator)],
        alive=alive,
        position=torch.randn(n_envs, n_agents, 2, generator=generator) if position is None else position,
    )


def make(name: str, info: EnvInfo, n_groups: int) -> Grouping:
    extra = {"ipc_features": "obs_action"} if name == "ipc" else {}
    if name == "kind":
        info = replace(info, kinds=tuple(agent % n_groups for agent in range(info.n_agents)))
    made: Grouping = resolve(KIND, name, "grouping")(info, n_groups=n_groups, **extra)
    return made


@pytest.mark.parametrize("name", KIND.known)
@pytest.mark.parametrize("n_groups", [1, 2, 6])
def test_labels_are_in_range_and_the_dead_have_none(name: str, n_groups: int) -> None:
    alive = torch.tensor([[True] * 6, [True, False, True, True, False, True], [False] * 5 + [True], [False] * 6])
    group = make(name, INFO, n_groups).assign(features(alive), stream()).group
    assert group.dtype == torch.int64
    assert ((group >= 0) == alive).all()
    assert int(group.max()) < n_groups


@pytest.mark.parametrize("name", KIND.known)
def test_same_stream_same_groups(name: str) -> None:
    grouping, given = make(name, INFO, 3), features(torch.ones(2, 6, dtype=torch.bool))
    assert torch.equal(grouping.assign(given, stream(5)).group, grouping.assign(given, stream(5)).group)


def test_contiguous_runs_differ_by_one_at_most() -> None:
    group = ContiguousGrouping(replace(INFO, n_agents=5), n_groups=3).assign(
        features(torch.ones(1, 5).bool()), stream()
    )
    assert group.group.tolist() == [[0, 0, 1, 1, 2]]


def test_random_groups_are_equal_among_the_living() -> None:
    alive = torch.zeros(200, 6, dtype=torch.bool)
    alive[:, [1, 3, 4]] = True
    grouping, generator = RandomGrouping(INFO, n_groups=3), stream()
    label = grouping.assign(features(alive), generator).group
    assert (label[~alive] == -1).all()
    assert (label[alive].view(200, 3).sort(dim=1).values == torch.arange(3)).all()
    assert len(label[alive].view(200, 3).unique(dim=0)) == 6, "every order"
    alone = torch.zeros(1, 6, dtype=torch.bool)
    assert (grouping.assign(features(alone), generator).group == -1).all(), "nobody is left"


def test_random_groups_are_equal_and_new_every_time() -> None:
    grouping, given, generator = RandomGrouping(INFO, n_groups=3), features(torch.ones(8, 6).bool()), stream()
    first, second = (grouping.assign(given, generator).group for _ in range(2))
    assert (first.sort(-1).values == torch.tensor([0, 0, 1, 1, 2, 2])).all()
    assert not torch.equal(first, second)


def test_spatial_strips_run_along_the_longer_side_and_share_the_living() -> None:
    x = torch.tensor([9.0, 1.0, 5.0, 3.0, 100.0, 7.0])
    position = torch.stack((torch.linspace(0, 1, 6), x), dim=-1)[None]
    alive = torch.tensor([[True, True, True, True, False, True]])
    grouping = Spatial(INFO, n_groups=5)
    assert grouping.assign(features(alive, position), stream()).group.tolist() == [[4, 0, 2, 1, -1, 3]]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            torch.full((1, 6), 3),
            r"expected labels from 0 to 2 for the living and -1 for the dead, got 3 for one of the liv",
        ),
        (torch.full((1, 6), -1), r"got -1 for one of the living"),
        (torch.zeros(1, 6).long(), r"got 0 for one of the dead"),
        (torch.zeros(1, 6), r"expected labels of shape \(1, 6\) and dtype torch.int64, got \(1, 6\) and torch.float32"),
        (torch.zeros(6).long(), r"expected labels of shape \(1, 6\)"),
    ],
)
def test_groups_that_are_none_are_refused(group: Tensor, message: str) -> None:
    class Own(Grouping):
        dynamic = False

        def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
            return Assignment(group)

    alive = torch.tensor([[True, True, True, True, False, True]])
    with pytest.raises(GroupingError, match=f"grouping=Own: .*{message}.*Correct its assign"):
        Own(INFO, n_groups=3).checked(features(alive), stream())


def test_a_grouping_says_whether_members_change() -> None:
    class Silent(Grouping):
        def assign(self, features: GroupingInput, generator: torch.Generator) -> Assignment:
            raise NotImplementedError

    with pytest.raises(GroupingError, match="grouping=Silent: expected the class attribute dynamic"):
        Silent(INFO, n_groups=3)


@pytest.mark.parametrize("n_groups", [0, 7])
def test_impossible_number_of_groups(n_groups: int) -> None:
    with pytest.raises(InputError, match=rf"n_groups: expected between 1 and .* agents \(6\), got {n_groups}"):
        ContiguousGrouping(INFO, n_groups=n_groups)


def test_kinds_are_groups_wherever_they_stand() -> None:
    grouping = KindGrouping(replace(INFO, kinds=(1, 0, 0, 1, 2, 1)), n_groups=3)
    alive = torch.tensor([[True, True, True, False, True, True]])
    assert grouping.assign(features(alive), stream()).group.tolist() == [[1, 0, 0, -1, 2, 1]]


def test_a_slot_has_its_kind_also_where_nobody_is_yet() -> None:
    """Whoever is born later joins the group of its slot."""
    grouping = KindGrouping(replace(INFO, kinds=(0, 0, 0, 1, 2, 1)), n_groups=3)
    assert grouping.by_slot(torch.device("cpu")).tolist() == [0, 0, 0, 1, 2, 1]


def test_as_many_groups_as_kinds_are_demanded() -> None:
    with pytest.raises(
        InputError, match="grouping=kind: expected n_groups=2, the number of kinds of agents in toy, go"
    ):
        KindGrouping(replace(INFO, kinds=(0, 1, 0, 1, 0, 0)), n_groups=3)


def test_positions_are_demanded_when_the_grouping_is_made() -> None:
    blind = replace(INFO, has_position=False)
    with pytest.raises(InputError, match="grouping=spatial needs an environment with positions, toy has none"):
        Spatial(blind, n_groups=2)
    with pytest.raises(InputError, match="ipc_features=position needs an environment with positions, toy has none"):
        IPCGrouping(blind, n_groups=2, ipc_features="position")


def controller(grouping: Grouping, regroup_interval: int = 0) -> GroupMAC:
    torch.manual_seed(0)
    agent = MLPAgent(
        (3,), 0, 6, 2, hidden_dims=[4], share_params=True, obs_agent_id=False, dueling=False, normalise="none"
    )
    selector = EpsilonGreedySelector(epsilon_start=1.0, epsilon_finish=1.0, epsilon_anneal_time=1)
    return GroupMAC(INFO, agent, selector, grouping, obs_last_action=False, regroup_interval=regroup_interval)


def row(alive: Tensor, done: Tensor | None = None, seed: int = 3) -> Step:
    n_envs = len(alive)
    nothing = torch.zeros(n_envs, dtype=torch.bool)
    generator = stream(seed)
    return Step(
        obs=torch.randn(n_envs, 6, 3, generator=generator),
        alive=alive,
        reward=torch.zeros(n_envs, 6),
        terminated=nothing if done is None else done,
        truncated=nothing,
        info={},
        position=torch.randn(n_envs, 6, 2, generator=generator),
    )


ALL = torch.ones(2, 6, dtype=torch.bool)


def test_groups_last_an_episode_and_the_dead_leave() -> None:
    mac, generator = controller(RandomGrouping(INFO, n_groups=3)), stream()
    _, first = mac.select_actions(row(ALL), mac.init_memory(2), 0, False, generator)
    alive = ALL.clone()
    alive[0, 2] = False
    _, second = mac.select_actions(row(alive), first, 0, False, generator)
    assert torch.equal(second.group, first.group.masked_fill(~alive, -1))


def test_who_is_born_late_joins_the_group_of_its_slot() -> None:
    mac, generator = controller(RandomGrouping(INFO, n_groups=3)), stream()
    few = ALL.clone()
    few[0, 1:] = few[1, 5] = False
    _, first = mac.select_actions(row(few), mac.init_memory(2), 0, False, generator)
    _, second = mac.select_actions(row(ALL), first, 0, False, generator)
    assert torch.equal(second.group, torch.where(few, first.group, torch.tensor([0, 0, 1, 1, 2, 2])))
    _, third = mac.select_actions(row(few), second, 0, False, generator)
    assert torch.equal(third.group, first.group)


def test_new_groups_only_where_an_episode_begins() -> None:
    mac, generator = controller(RandomGrouping(INFO, n_groups=3)), stream()
    ended = torch.tensor([True, False])
    _, last = mac.select_actions(row(ALL, ended), mac.init_memory(2), 0, False, generator)
    _, fresh = mac.select_actions(row(ALL), last, 0, False, generator)
    assert not torch.equal(fresh.group[0], last.group[0])
    assert torch.equal(fresh.group[1], last.group[1])
    assert fresh.groups is not None
    assert torch.equal(fresh.groups.previous[0], last.group[0])
    assert (fresh.groups.previous[1] == -1).all()


def test_regroup_interval_counts_steps_of_the_episode() -> None:
    mac, generator = controller(RandomGrouping(INFO, n_groups=3), regroup_interval=2), stream()
    memory, groups = mac.init_memory(2), []
    for _ in range(4):
        _, memory = mac.select_actions(row(ALL), memory, 0, False, generator)
        groups.append(memory.group)
    assert torch.equal(groups[0], groups[1])
    assert not torch.equal(groups[1], groups[2])
    assert torch.equal(groups[2], groups[3])


def test_an_episodes_last_row_is_not_grouped_anew() -> None:
    """Nobody plays on from there, so IPC would learn from states, and metrics compare groups, that no one acted in."""
    mac, generator = controller(ipc(), regroup_interval=2), stream()
    _, memory = mac.select_actions(row(ALL), mac.init_memory(2), 0, False, generator)
    _, memory = mac.select_actions(row(ALL), memory, 0, False, generator)
    ended = torch.tensor([True, False])
    _, last = mac.select_actions(row(ALL, ended, seed=4), memory, 0, False, generator)
    assert mac.state_dict()["grouping.moments.count"] == 12 + 6
    assert last.groups is not None
    assert (last.groups.previous[0] == -1).all()
    assert (last.groups.previous[1] >= 0).all()


def ipc() -> IPCGrouping:
    return IPCGrouping(INFO, n_groups=3, ipc_features="obs_action")


def test_test_mode_learns_nothing() -> None:
    mac = controller(ipc())
    before = {name: value.clone() for name, value in mac.state_dict().items()}
    mac.select_actions(row(ALL), mac.init_memory(2), 0, True, stream())
    assert all(torch.equal(value, before[name]) for name, value in mac.state_dict().items())
    mac.select_actions(row(ALL), mac.init_memory(2), 0, False, stream())
    assert mac.state_dict()["grouping.moments.count"] == 12


def play(mac: GroupMAC, memory: Memory, rows: range, generator: torch.Generator) -> list[Memory]:
    """Every row ends its episode, so that every row is grouped anew."""
    memories = []
    for seed in rows:
        _, memory = mac.select_actions(row(ALL, torch.ones(2).bool(), seed), memory, 0, False, generator)
        memories.append(memory)
    return memories


def test_evaluation_does_not_disturb_training_and_the_rest_of_a_run_follows_from_what_is_saved() -> None:
    mac, generator = controller(ipc()), stream()
    *_, middle = play(mac, mac.init_memory(2), range(3), generator)
    saved, position = {name: value.clone() for name, value in mac.state_dict().items()}, generator.get_state()
    undisturbed = play(mac, middle, range(3, 6), generator)

    resumed = controller(ipc())
    resumed.load_state_dict(saved)
    for seed in range(10):  # an evaluation
        resumed.select_actions(row(ALL, None, seed), resumed.init_memory(2), 0, True, stream())
    again = play(resumed, middle, range(3, 6), stream().set_state(position))
    for expected, actual in zip(undisturbed, again, strict=True):
        assert expected.groups is not None
        assert actual.groups is not None
        for field in ("latest", "previous", "centre", "inertia", "locality"):
            assert torch.equal(getattr(expected.groups, field), getattr(actual.groups, field)), field


def metrics_of(mac: GroupMAC, latest: list, previous: list, inertia: Tensor | None = None) -> dict[str, float]:
    history = GroupHistory(torch.tensor(latest), torch.tensor(previous), inertia=inertia)
    memory = replace(mac.init_memory(len(latest)), groups=history)
    return {name: float(value) for name, value in mac.metrics(memory).items()}


def test_metrics_compare_agents_that_were_in_both_groupings() -> None:
    mac = controller(RandomGrouping(INFO, n_groups=3))
    # First environment: agents 0-3 count, [0 0 1 1] against [0 0 1 2]: 4/7 (see test_ipc), one of four changed.
    # Second: the same groups under other numbers. Third: nothing to compare with.
    latest = [[0, 0, 1, 1, -1, 2], [0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2]]
    previous = [[0, 0, 1, 2, 0, -1], [1, 1, 2, 2, 0, 0], [-1] * 6]
    metrics = metrics_of(mac, latest, previous)
    assert metrics == pytest.approx({"group_rand_index": (4 / 7 + 1) / 2, "group_changed": 7 / 10})


def test_metrics_say_nothing_when_there_is_nothing_to_compare() -> None:
    assert metrics_of(controller(RandomGrouping(INFO, n_groups=3)), [[0] * 6], [[-1] * 6]) == {}
    assert metrics_of(controller(ContiguousGrouping(INFO, n_groups=3)), [[0] * 6], [[0] * 6]) == {}
    assert metrics_of(controller(ipc()), [[0] * 6], [[-1] * 6], torch.tensor([3.0])) == {"group_inertia": 3.0}


@pytest.mark.parametrize(("torus_side", "split"), [(0.0, -0.5), (8.0, 1.0)])
def test_locality_says_whether_groups_are_neighbourhoods(torus_side: float, split: float) -> None:
    """First environment: two of the first group at either end, which a torus makes one spot. Second: one spot each."""
    mac = controller(ContiguousGrouping(INFO, n_groups=3))
    mac.info = replace(INFO, torus_side=torus_side)
    place = torch.tensor([[0.0, 8.0, 4.0, 4.0, -1.0, -1.0], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]])
    alive = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    step = replace(row(alive), position=torch.stack((place, torch.zeros(2, 6)), -1))
    _, memory = mac.select_actions(step, mac.init_memory(2), 0, False, stream())
    assert memory.groups is not None
    # Of the plane: within 4² + 4² over 2 that are free, in all as much over 3.
    torch.testing.assert_close(memory.groups.locality, torch.tensor([split, 1.0]))
    assert float(mac.metrics(memory)["group_locality"]) == pytest.approx((split + 1) / 2)


def test_locality_is_the_mean_of_those_environments_where_it_can_be_told() -> None:
    mac = controller(ContiguousGrouping(INFO, n_groups=3))
    one, alone = torch.tensor([[0.0, 0.0, 1.0, 1.0, 2.0, 2.0]]), torch.tensor([[True] + [False] * 5])
    place = torch.stack((one.expand(2, 6), torch.zeros(2, 6)), -1)
    for alive, said in ((torch.cat((ALL[:1], alone)), {"group_locality": 1.0}), (alone.expand(2, 6), {})):
        step = replace(row(alive), position=place)
        _, memory = mac.select_actions(step, mac.init_memory(2), 0, False, stream())
        assert mac.metrics(memory) == said


def test_without_places_there_is_no_locality() -> None:
    mac = controller(ContiguousGrouping(INFO, n_groups=3))
    _, memory = mac.select_actions(replace(row(ALL), position=None), mac.init_memory(2), 0, False, stream())
    assert mac.metrics(memory) == {}


def test_numbers_stay_with_places_through_the_controllers_memory() -> None:
    """Six agents who never move, each a cluster of its own: every episode gives each the same number."""
    mac, generator = controller(IPCGrouping(INFO, n_groups=6, ipc_features="position")), stream()
    memory, groups = mac.init_memory(1), []
    for _ in range(8):
        _, memory = mac.select_actions(row(ALL[:1], torch.ones(1).bool()), memory, 0, False, generator)
        groups.append(memory.group)
    assert all(torch.equal(group, groups[0]) for group in groups)
