"""The vectorised mean-field code against slow, obvious loops over groups and agents, in float64.

Populations are drawn at random: deaths, empty groups, agents that belong nowhere, one agent, one survivor, nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.factory import config_for, info_for, learner_for, random_batch
from torch import Tensor, nn

from components.batch import Batch
from components.mean_field import (
    attention_weight,
    group_mean,
    group_sum,
    mean_action_of_others,
    membership,
    of_own_group,
    uniform_weight,
    weight_entropy,
)
from learners.hmf_learner import HMFLearner
from modules.mixers.hmf_mixer import GroupValues, HMFMixer
from modules.nets import StackedLinear

OBS, ACTIONS = 3, 4
LIVES = ["some", "all", "one", "last", "none"]  # last: one, who dies in this step


@dataclass(frozen=True)
class Case:
    """A drawn population: B transitions of N agents in m groups."""

    size: int
    n_agents: int
    n_groups: int
    lives: str
    seed: int

    def random(self, *shape: int, salt: int = 0) -> Tensor:
        """Standard normal numbers, float64."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(self.seed + salt), dtype=torch.float64)

    def batch(self) -> Batch:
        """A float64 batch with this population's deaths, unavailable actions, weights and agents without a group."""
        info = info_for(self.n_agents, ACTIONS, (OBS,))
        death_rate = 0.4 if self.lives == "some" else 0.0
        drawn = random_batch(info, self.size, self.n_groups, death_rate, self.seed)
        generator = torch.Generator().manual_seed(self.seed + 1)  # another stream than random_batch's
        shape = (self.size, self.n_agents)
        if self.lives in ("one", "last", "none"):
            one = (torch.arange(self.n_agents) == self.seed % self.n_agents).expand(shape)
            drawn = replace(drawn, alive=one & (self.lives != "none"), next_alive=one & (self.lives == "one"))
        if self.lives == "some":  # born after the groups were made
            nowhere = torch.rand(shape, generator=generator) < 0.1
            drawn = replace(drawn, group=drawn.group.masked_fill(nowhere, -1))
        avail, next_avail = torch.rand(2, *shape, ACTIONS, generator=generator) < 0.7
        avail, next_avail = avail & drawn.alive[..., None], next_avail & drawn.next_alive[..., None]
        return replace(
            drawn,
            obs=drawn.obs.double() * drawn.alive[..., None],
            next_obs=drawn.next_obs.double() * drawn.next_alive[..., None],
            reward=drawn.reward.double() * drawn.alive,
            group=drawn.group.masked_fill(~drawn.alive, -1),
            avail=avail.scatter(-1, drawn.action[..., None], drawn.alive[..., None]),
            next_avail=next_avail.scatter(-1, drawn.action[..., None], drawn.next_alive[..., None]),
            weight=(torch.rand(self.size, generator=generator) < 0.8).double(),
        )


sizes = {"size": st.integers(1, 3), "n_agents": st.integers(1, 6), "seed": st.integers(0, 10**6)}
cases = st.builds(Case, n_groups=st.integers(1, 4), lives=st.sampled_from(LIVES), **sizes).filter(
    lambda case: case.n_groups <= case.n_agents
)
often = settings(max_examples=80, deadline=None)
seldom = settings(max_examples=25, deadline=None)


def members_of(group: Tensor, b: int, i: int) -> list[int]:
    return [k for k in range(group.shape[1]) if int(group[b, k]) == i]


# ------------------------------------------------------------------------------------------------- pure functions


@often
@given(cases)
def test_membership_means_and_sums(case: Case) -> None:
    group, value = case.batch().group, case.random(case.size, case.n_agents, 2)
    member = membership(group, case.n_groups, torch.float64)
    mean, total, uniform = group_mean(value, member), group_sum(value[..., 0], member), uniform_weight(member)
    per_group = case.random(case.size, case.n_groups, salt=1)
    own = of_own_group(per_group, group)
    for b in range(case.size):
        for i in range(case.n_groups):
            members = members_of(group, b, i)
            expected_mean, expected_sum = torch.zeros(2, dtype=torch.float64), 0.0
            for k in members:
                expected_mean = expected_mean + value[b, k] / len(members)
                expected_sum += float(value[b, k, 0])
                assert own[b, k] == per_group[b, i]
            torch.testing.assert_close(mean[b, i], expected_mean)
            assert float(total[b, i]) == pytest.approx(expected_sum)
            for k in range(case.n_agents):
                assert member[b, i, k] == (1.0 if k in members else 0.0)
                assert float(uniform[b, i, k]) == pytest.approx(1 / len(members) if k in members else 0.0)


def slow_softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


@often
@given(cases)
def test_attention_and_its_entropy(case: Case) -> None:
    group, dim = case.batch().group, 2
    query, key = case.random(case.size, case.n_groups, dim), case.random(case.size, case.n_agents, dim, salt=1)
    member = membership(group, case.n_groups, torch.float64)
    weight = attention_weight(query, key, member)
    entropy = weight_entropy(weight, member)
    for b in range(case.size):
        for i in range(case.n_groups):
            members = members_of(group, b, i)
            scores = [float((query[b, i] * key[b, k]).sum()) / math.sqrt(dim) for k in members]
            expected = slow_softmax(scores) if members else []
            for k in range(case.n_agents):
                assert float(weight[b, i, k]) == pytest.approx(expected[members.index(k)] if k in members else 0.0)
            assert float(weight[b, i].sum()) == pytest.approx(1.0 if members else 0.0)
            spread = -sum(p * math.log(p) for p in expected)
            relative = spread / math.log(len(members)) if len(members) > 1 else 0.0
            assert float(entropy[b, i]) == pytest.approx(relative, abs=1e-12)


@often
@given(cases)
def test_mean_action_of_others(case: Case) -> None:
    batch = case.batch()
    mean = mean_action_of_others(batch.prev_action, batch.alive, ACTIONS)
    for b in range(case.size):
        for k in range(case.n_agents):
            others = [
                int(batch.prev_action[b, j])
                for j in range(case.n_agents)
                if j != k and batch.alive[b, j] and batch.prev_action[b, j] >= 0
            ]
            expected = [others.count(action) / max(len(others), 1) for action in range(ACTIONS)]
            assert mean[b, k].tolist() == pytest.approx(expected)


# ------------------------------------------------------------------------------------------------- slow reference


def slow_net(net: nn.Sequential, i: int, x_F: Tensor) -> Tensor:
    """Layer by layer, for the ``i``-th of stacked networks or the one that all share."""
    for layer in net:
        x_F = x_F @ layer.weight[i] + layer.bias[i, 0] if isinstance(layer, StackedLinear) else layer(x_F)
    return x_F.squeeze(-1)


@torch.no_grad()
def slow_mixer(mixer: HMFMixer, q: Tensor, obs: Tensor, action: Tensor, group: Tensor) -> GroupValues:
    """The equations group by group and agent by agent."""
    (size, n_agents), m = group.shape, mixer.n_groups
    dtype = obs.dtype
    q_group, q_gmf = torch.zeros(size, m, dtype=dtype), torch.zeros(size, m, dtype=dtype)
    field = torch.zeros(size, m, obs.shape[-1] + action.shape[-1], dtype=dtype)
    weight, member = torch.zeros(size, m, n_agents, dtype=dtype), torch.zeros(size, m, n_agents, dtype=dtype)
    top = torch.zeros(size, 1 if mixer.top_level == "central" else m, dtype=dtype)
    for b in range(size):
        for i in range(m):
            members = members_of(group, b, i)
            if not members:
                continue
            x = {k: torch.cat((obs[b, k], action[b, k])) for k in members}
            seen = {k: x[k] if mixer.attend_action else obs[b, k] for k in members}
            if mixer.query is None or mixer.key is None:
                shares = [1 / len(members)] * len(members)
            else:
                asked = mixer.query(sum(seen.values()) / len(members))
                scores = [float((asked * mixer.key(seen[k])).sum()) / math.sqrt(len(asked)) for k in members]
                shares = slow_softmax(scores)
            for k, share in zip(members, shares, strict=True):
                weight[b, i, k], member[b, i, k] = share, 1.0
                field[b, i] += share * x[k]
                q_group[b, i] += share * q[b, k]
            q_gmf[b, i] = slow_net(mixer.gmf.net, i, field[b, i])
            q_group[b, i] += mixer.gmf_coef * q_gmf[b, i]
            if mixer.top_level == "own_head":
                top[b, i] = slow_net(mixer.top.net, i, field[b, i])  # type: ignore[union-attr, arg-type]
            elif mixer.top_level in ("group_sum", "gmf_sum"):
                top[b, i] = q_group[b, i] if mixer.top_level == "group_sum" else q_gmf[b, i]
        if mixer.top_level == "central":
            top[b] = slow_net(mixer.top, 0, torch.cat(list(field[b])))  # type: ignore[arg-type]
    q_top = None if mixer.top_level == "none" else top
    return GroupValues(q_group, q_gmf, q_top, field, weight, member, member.sum(-1) > 0)


def slow_policy(learner: HMFLearner, q: Tensor, avail: Tensor) -> Tensor:
    """softmax(Q / T) over available actions; over all of them for those who have none."""
    policy = torch.zeros_like(q)
    for b in range(q.shape[0]):
        for k in range(q.shape[1]):
            actions = [a for a in range(ACTIONS) if avail[b, k, a]] or list(range(ACTIONS))
            chances = slow_softmax([float(q[b, k, a]) / learner.policy_temperature for a in actions])
            policy[b, k, actions] = torch.tensor(chances, dtype=q.dtype)
    return policy


def slow_behaviour(epsilon: float, q: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
    """Epsilon-greedy distribution (B, N, A) and greedy action (B, N)."""
    behaviour, best = torch.zeros_like(q), torch.zeros(q.shape[:2], dtype=torch.int64)
    for b in range(q.shape[0]):
        for k in range(q.shape[1]):
            actions = [a for a in range(ACTIONS) if avail[b, k, a]] or list(range(ACTIONS))
            best[b, k] = max(actions, key=lambda a: float(q[b, k, a]))
            behaviour[b, k, actions] = epsilon / len(actions)
            behaviour[b, k, best[b, k]] += 1 - epsilon
    return behaviour, best


def onehot(action: Tensor) -> Tensor:
    return torch.eye(ACTIONS, dtype=torch.float64)[action]


def slow_shared(batch: Batch, sharing: float) -> Tensor:
    """Rewards with ``sharing`` of each given to the mean of the agent's group."""
    shared = batch.reward.clone()
    for b, k in (batch.group >= 0).nonzero().tolist():
        members = members_of(batch.group, b, int(batch.group[b, k]))
        mean = sum(float(batch.reward[b, j]) for j in members) / len(members)
        shared[b, k] = (1 - sharing) * batch.reward[b, k] + sharing * mean
    return shared


@torch.no_grad()
def slow_loss(learner: HMFLearner, batch: Batch, epsilon: float) -> float:
    """The whole HMF loss, transition by transition, group by group, agent by agent."""
    assert batch.avail is not None
    assert batch.next_avail is not None
    q, next_target = learner.mac.q_values(batch), learner.target_mac.next_q_values(batch)
    selecting = learner.mac.next_q_values(batch) if learner.double_q else next_target
    behaviour, _ = slow_behaviour(epsilon, q, batch.avail)
    next_behaviour, next_action = slow_behaviour(epsilon, selecting, batch.next_avail)
    taken = q.gather(-1, batch.action[..., None]).squeeze(-1)
    next_value = next_target.gather(-1, next_action[..., None]).squeeze(-1)
    acted, next_acted = {
        "expected": (behaviour, next_behaviour),
        "softmax": (slow_policy(learner, q, batch.avail), slow_policy(learner, selecting, batch.next_avail)),
        "none": (q[..., :0], q[..., :0]),
        "taken": (onehot(batch.action), onehot(next_action)),
    }[learner.mean_field_action]
    shared = slow_shared(batch, learner.reward_sharing)
    next_group = torch.where(batch.next_alive, batch.group, -1)
    now = slow_mixer(learner.mixer, taken, batch.obs, acted, batch.group)
    after = slow_mixer(learner.target_mixer, next_value, batch.next_obs, next_acted, next_group)
    policy = slow_policy(learner, q, batch.avail)
    reg_action = policy if learner.reg_action == "policy" else onehot(batch.action)
    mean_policy, gamma, coef = learner.mean_policy.policy, learner.gamma, learner.mixer.gmf_coef

    shares_deaths = learner.death_share and learner.group_reward == "mean"

    bottom, top, distances, divergences = [], [], [], []
    for b in range(len(batch.weight)):
        if batch.weight[b] == 0:
            continue
        team_reward, team_later, n_members, n_survivors = 0.0, 0.0, 0, 0
        for i in range(learner.mixer.n_groups):
            members = members_of(batch.group, b, i)
            if not members:
                continue
            reward = sum(float(shared[b, k]) for k in members)
            reward = reward if learner.group_reward == "sum" else reward / len(members)
            team_reward += reward
            survivors = members_of(next_group, b, i)
            goes_on = bool(survivors) and not batch.terminated[b]
            n_members, n_survivors = n_members + len(members), n_survivors + len(survivors)
            share = len(survivors) / len(members) if shares_deaths else 1.0
            if after.q_top is not None and goes_on and learner.mixer.top_level != "central":
                team_later += share * float(after.q_top[b, i])
            if learner.td_level == "group":
                target = reward + (gamma * share * float(after.q_group[b, i]) if goes_on else 0.0)
                bottom.append((float(now.q_group[b, i]) - target) ** 2)
            else:
                bound = 0.0
                for k in members:
                    target = float(shared[b, k])
                    if k in survivors and not batch.terminated[b]:
                        target += gamma * float(next_value[b, k] + coef * after.q_gmf[b, i])
                    delta = float(taken[b, k] + coef * now.q_gmf[b, i]) - target
                    bound += float(now.weight[b, i, k]) * delta**2
                bottom.append(bound)
            x = {k: torch.cat((batch.obs[b, k], reg_action[b, k])) for k in members}
            centre = sum(now.weight[b, i, k] * x[k] for k in members)
            for k in members:
                distances.append(float((x[k] - centre).square().sum()))
                divergences.append(
                    sum(
                        float(p) * (math.log(float(p)) - math.log(float(mean_policy[i, a])))
                        for a, p in enumerate(policy[b, k])
                        if p > 0
                    )
                )
        if now.q_top is not None and after.q_top is not None:
            if learner.mixer.top_level == "central" and n_survivors and not batch.terminated[b]:
                team_later = (n_survivors / n_members if shares_deaths else 1.0) * float(after.q_top[b])
            top.append((float(now.q_top[b].sum()) - team_reward - gamma * team_later) ** 2)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    penalties = learner.reg_coef * mean(distances) + learner.kl_coef * mean(divergences)
    return mean(bottom) + learner.top_coef * mean(top) + penalties


# ------------------------------------------------------------------------------------------------- the mixer

switches: dict[str, st.SearchStrategy[Any]] = {
    "top_level": st.sampled_from(["own_head", "group_sum", "central", "gmf_sum", "none"]),
    "attention": st.sampled_from(["learned", "uniform"]),
    "attention_input": st.sampled_from(["obs", "obs_action"]),
    "share_gmf": st.booleans(),
    "mean_field_action": st.sampled_from(["expected", "softmax", "none", "taken"]),
    "td_level": st.sampled_from(["group", "agent"]),
    "group_reward": st.sampled_from(["mean", "sum"]),
    "death_share": st.booleans(),
    "reward_sharing": st.sampled_from([0.0, 0.4, 1.0]),
    "double_q": st.booleans(),
    "reg_action": st.sampled_from(["policy", "taken"]),
    "reg_coef": st.sampled_from([0.0, 0.3]),
    "kl_coef": st.sampled_from([0.0, 0.2]),
}
EPSILON = 0.3


def hmf(case: Case, **overrides: Any) -> HMFLearner:
    """A float64 learner whose targets and mean policies differ from what it started with."""
    fixed = {"epsilon_start": EPSILON, "epsilon_finish": EPSILON, "policy_temperature": 0.5, "top_coef": 0.7}
    network = {"hidden_dims": [5], "gmf_hidden_dims": [6], "attention_dim": 3, "share_params": True}
    config = config_for("hmf_expected", "bar", n_groups=case.n_groups, **{**fixed, **network, **overrides})
    learner = learner_for(config, info_for(case.n_agents, ACTIONS, (OBS,)), case.seed)
    assert isinstance(learner, HMFLearner)
    for module in learner._modules().values():
        module.double()
    targets = (*learner.target_mac.parameters(), *learner.target_mixer.parameters())
    for salt, parameter in enumerate(targets):
        parameter.data += 0.1 * case.random(*parameter.shape, salt=salt)
    learner.mean_policy.policy = torch.softmax(case.random(case.n_groups, ACTIONS), -1)
    return learner


def mixer_inputs(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = case.batch()
    action = torch.softmax(case.random(case.size, case.n_agents, ACTIONS), -1)
    return case.random(case.size, case.n_agents, salt=1), batch.obs, action, batch.group


@often
@given(cases, st.fixed_dictionaries(dict(list(switches.items())[:4])))
def test_mixer_equals_the_loops(case: Case, chosen: dict[str, Any]) -> None:
    mixer, inputs = hmf(case, **chosen).mixer, mixer_inputs(case)
    fast, slow = mixer(*inputs), slow_mixer(mixer, *inputs)
    for name, expected in vars(slow).items():
        actual = getattr(fast, name)
        if expected is None:
            assert actual is None
        else:
            torch.testing.assert_close(actual, expected)


@often
@given(cases, st.fixed_dictionaries(dict(list(switches.items())[:4])))
def test_weights_sum_to_one_over_members_and_follow_permutations(case: Case, chosen: dict[str, Any]) -> None:
    mixer, (q, obs, action, group) = hmf(case, **chosen).mixer, mixer_inputs(case)
    values = mixer(q, obs, action, group)
    torch.testing.assert_close(values.weight.sum(-1), values.occupied.double())
    assert (values.weight[values.member == 0] == 0).all()
    order = torch.randperm(case.n_agents, generator=torch.Generator().manual_seed(case.seed))
    moved = mixer(q[:, order], obs[:, order], action[:, order], group[:, order])
    for name in ("q_group", "q_gmf", "q_top", "mean_field", "occupied"):
        if getattr(values, name) is not None:
            torch.testing.assert_close(getattr(moved, name), getattr(values, name))
    torch.testing.assert_close(moved.weight, values.weight[..., order])


# ------------------------------------------------------------------------------------------------- the loss


@often
@given(cases, st.fixed_dictionaries(switches))
def test_loss_equals_the_loops(case: Case, chosen: dict[str, Any]) -> None:
    learner, batch = hmf(case, **chosen), case.batch()
    expected = slow_loss(learner, batch, EPSILON)
    loss, metrics = learner.loss(batch, t_env=0)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert all(value.isfinite() for value in metrics.values())
    if loss.requires_grad:
        loss.backward()
    gradients = [parameter.grad for parameter in learner.parameters if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@seldom
@given(cases, st.fixed_dictionaries(switches))
def test_loss_does_not_depend_on_the_order_of_agents(case: Case, chosen: dict[str, Any]) -> None:
    batch = case.batch()
    order = torch.randperm(case.n_agents, generator=torch.Generator().manual_seed(case.seed))
    per_agent = [
        name
        for name, value in vars(batch).items()
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == case.n_agents
    ]
    moved = replace(batch, **{name: getattr(batch, name)[:, order] for name in per_agent})
    losses = [float(hmf(case, **chosen).loss(given_, t_env=0)[0].detach()) for given_ in (batch, moved)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@often
@given(cases, st.sampled_from(["expected", "taken"]))
def test_agent_credit_bounds_the_group_loss(case: Case, mean_field_action: str) -> None:
    """Jensen: exact when the group's error is the lambda-mean of its agents' (uniform lambda, nobody dies)."""
    batch = case.batch()
    batch = replace(batch, next_alive=batch.alive, next_avail=batch.avail)
    common = {"attention": "uniform", "group_reward": "mean", "top_level": "none"}
    common["mean_field_action"] = mean_field_action
    group, agent = (
        float(hmf(case, td_level=level, **common).loss(batch, t_env=0)[0].detach()) for level in ("group", "agent")
    )
    assert agent >= group - 1e-12
