"""Wrong code that looks right: small changes that the tests of the area they are in must find."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change. ``old`` stands in ``file`` exactly once; one of ``tests`` must fail once it is ``new``."""

    what: str
    file: str  # under src
    old: str
    new: str
    tests: tuple[str, ...]  # files under tests, or tests in files where most are slow


UPDATE = ("unit/learners/test_update.py",)
STREAMS = ("unit/test_streams.py",)
RUNNER = ("unit/runners/test_vector_runner.py", "unit/runners/test_episodes.py")
OPPONENT = ("unit/envs/test_opponents.py",)
PETTINGZOO = ("unit/envs/test_pettingzoo_env.py",)
REPLAY = ("unit/components/test_replay.py",)
RETURNS = ("unit/components/test_returns.py",)
SELECTOR = ("unit/components/test_selectors.py",)
CONTROLLER = ("unit/controllers/test_controller.py",)
REGIMES, Q_LEARNER, MFVFD, MADDPG, HMF = (
    (f"unit/learners/test_{name}.py",) for name in ("regimes", "q_learner", "mfvfd", "maddpg", "hmf_targets")
)
ROLLOUT = ("unit/components/test_rollout.py", *REGIMES)
RESUME = tuple(
    f"unit/test_run.py::test_{name}"
    for name in ("resuming_a_state_with_one_wrong_bit", "resuming_with_a_count_that_no_run_can_have")
)
KILLED = ("smoke/test_killed.py::test_a_killed_run_continues_without_a_hole",)
STORE = ("unit/records/test_run_store.py",)

SOFT = "soft_update(self.targets[name], online, self.tau)"
EXPLORES = 'runner=VectorRunner(env, side.mac, stream("behaviour"), start),'
EVALUATES = 'test_runner=VectorRunner(test_env, side.learner.acting(), stream("evaluation"), start),'
EARNED = "self.reward = np.where(acting, earned, np.float32(0))"

MUTANTS = (
    # What all learners share.
    Mutant(
        "no gradient clipping",
        "learners/base.py",
        "clip_grad_norm_(self.parameters, self.grad_norm_clip)",
        'clip_grad_norm_(self.parameters, float("inf"))',
        UPDATE,
    ),
    Mutant("gradients accumulate", "learners/base.py", "        self.optimiser.zero_grad()\n", "", UPDATE),
    Mutant("targets never follow", "learners/base.py", SOFT, SOFT.replace("self.tau", "0.0"), UPDATE),
    Mutant("targets are copied at once", "learners/base.py", SOFT, SOFT.replace("self.tau", "1.0"), UPDATE),
    Mutant("targets follow by 1 - tau", "learners/base.py", SOFT, SOFT.replace("self.tau", "1.0 - self.tau"), UPDATE),
    Mutant("updates are not counted", "learners/base.py", "        self.n_updates += 1\n", "", UPDATE),
    Mutant(
        "the learning rate does not fall",
        "learners/base.py",
        "self._set_lr(self.schedule.value(t_env))",
        "self._set_lr(self.schedule.start)",
        UPDATE,
    ),
    Mutant(
        "the average follows by its decay",
        "learners/base.py",
        "soft_update(self.average, self.mac, 1.0 - self.average_decay)",
        "soft_update(self.average, self.mac, self.average_decay)",
        UPDATE,
    ),
    # Random streams.
    Mutant(
        "the same initial networks for all seeds",
        "build.py",
        'seeding.derive_seed(config.seed, "networks")',
        'seeding.derive_seed(0, "networks")',
        STREAMS,
    ),
    Mutant(
        "the same replay draws for all seeds",
        "build.py",
        'rows = regime.rows(spec, seeding.generator(config.seed, "replay"',
        'rows = regime.rows(spec, seeding.generator(0, "replay"',
        STREAMS,
    ),
    Mutant(
        "the same exploration for all seeds",
        "build.py",
        EXPLORES,
        EXPLORES.replace('stream("behaviour")', 'seeding.generator(0, "behaviour", device)'),
        STREAMS,
    ),
    Mutant(
        "the same training episodes for all seeds",
        "build.py",
        'start = seeding.derive_seed(config.seed, "environment", processes.rank)',
        'start = seeding.derive_seed(0, "environment", processes.rank)',
        STREAMS,
    ),
    Mutant(
        "the same evaluation episodes for all seeds",
        "run.py",
        'seeding.derive_seed(self.config.seed, "evaluation", self.counters.t_env)',
        'seeding.derive_seed(0, "evaluation", self.counters.t_env)',
        STREAMS,
    ),
    Mutant(
        "the same evaluation episodes at every step",
        "run.py",
        'seeding.derive_seed(self.config.seed, "evaluation", self.counters.t_env)',
        'seeding.derive_seed(self.config.seed, "evaluation")',
        STREAMS,
    ),
    Mutant(
        "exploration shares the evaluation's stream",
        "build.py",
        f"        {EXPLORES}\n        {EVALUATES}",
        '        runner=VectorRunner(env, side.mac, (shared := stream("behaviour")), start),\n'
        "        test_runner=VectorRunner(test_env, side.learner.acting(), shared, start),",
        STREAMS,
    ),
    Mutant(
        "streams do not depend on their names",
        "utils/seeding.py",
        "zlib.crc32(stream.encode())",
        "len(stream) * 0",
        STREAMS,
    ),
    # Playing.
    Mutant(
        "evaluation explores",
        "runners/vector_runner.py",
        "self.advance(t_env=0, test_mode=True)",
        "self.advance(t_env=0, test_mode=False)",
        RUNNER,
    ),
    Mutant(
        "training does not explore",
        "runners/vector_runner.py",
        "self.advance(t_env, test_mode=False, rows=rows)",
        "self.advance(t_env, test_mode=True, rows=rows)",
        RUNNER,
    ),
    Mutant(
        "short episodes are favoured",
        "runners/vector_runner.py",
        "while int(played.min()) < quota:",
        "while int(played.sum()) < n_episodes:",
        RUNNER,
    ),
    Mutant(
        "surplus episodes count",
        "runners/vector_runner.py",
        "wanted = (played < quota)[finished]",
        "wanted = (played >= 0)[finished]",
        RUNNER,
    ),
    Mutant(
        "resets count as steps",
        "runners/vector_runner.py",
        "made = self.env.n_envs - int(self.row.done.count_nonzero())",
        "made = self.env.n_envs",
        RUNNER,
    ),
    Mutant(
        "epsilon never anneals",
        "runners/vector_runner.py",
        "self.advance(t_env, test_mode=False, rows=rows)",
        "self.advance(0, test_mode=False, rows=rows)",
        RUNNER,
    ),
    Mutant(
        "a learner with a replay is told t_env = 0",
        "learners/regimes.py",
        "            batch, targets = next(drawn)\n            yield learner.train(batch, t_env, targets)",
        "            batch, targets = next(drawn)\n            yield learner.train(batch, 0, targets)",
        UPDATE,
    ),
    Mutant(
        "a learner with rollouts is told t_env = 0",
        "learners/regimes.py",
        "rows, t_env):\n            yield learner.train(batch, t_env, targets)",
        "rows, t_env):\n            yield learner.train(batch, 0, targets)",
        UPDATE,
    ),
    Mutant(
        "targets of rollouts are made as at t_env = 0",
        "learners/regimes.py",
        "learner.outcomes(rows.gather(*part), t_env)",
        "learner.outcomes(rows.gather(*part), 0)",
        UPDATE,
    ),
    Mutant(
        "players are told t_env = 0",
        "run.py",
        "made = system.runner.collect(self.counters.t_env, system.rows) if first or not begins else 0",
        "made = system.runner.collect(0, system.rows) if first or not begins else 0",
        UPDATE,
    ),
    Mutant(
        "an evaluation's opponent explores",
        "build.py",
        "set_opponent(test_env, side.learner.acting(), greedy=True, ",
        "set_opponent(test_env, side.learner.acting(), greedy=False, ",
        OPPONENT,
    ),
    Mutant(
        "a frozen opponent explores",
        "assembly/saved.py",
        "device, trust), greedy=True)",
        "device, trust), greedy=False)",
        OPPONENT,
    ),
    Mutant(
        "an opponent explores as at step 0",
        "controllers/policy.py",
        "self.mac.select_actions(step, memory, FULLY_ANNEALED, self.greedy, generator)",
        "self.mac.select_actions(step, memory, 0, self.greedy, generator)",
        OPPONENT,
    ),
    Mutant(
        "a controller's previous action is not reset",
        "controllers/basic_controller.py",
        "prev_action=memory.prev_action.masked_fill(where[:, None], -1)",
        "prev_action=memory.prev_action",
        CONTROLLER,
    ),
    Mutant(
        "a controller's hidden state is not reset",
        "controllers/basic_controller.py",
        "hidden=None if hidden is None else hidden.masked_fill(where[:, None, None], 0.0)",
        "hidden=hidden",
        CONTROLLER,
    ),
    Mutant(
        "the dead of PettingZoo earn",
        "envs/pettingzoo/game.py",
        EARNED,
        EARNED.replace("acting, ", "True, "),
        PETTINGZOO,
    ),
    Mutant(
        "how a battle begins depends on when others ended",
        "envs/battle/env.py",
        "self._start(int(env), self._streams[env])",
        "self._start(int(env), self._streams[0])",
        OPPONENT,
    ),
    Mutant(
        "evaluations act by the stream of first states",
        "runners/vector_runner.py",
        'self.generator.manual_seed(seeding.derive_seed(seed, "evaluation actions"))',
        "self.generator.manual_seed(seed)",
        RUNNER,
    ),
    # Rows.
    *(
        Mutant(
            what,
            "components/rows.py",
            f'{name}=self._optional("{array}", {row}, env_B)',
            f'{name}=self._optional("{array}", {other}, env_B)',
            REPLAY,
        )
        for what, name, array, row, other in (
            ("positions at t are those at t + 1", " position", "position", "row", "nxt"),
            ("positions at t + 1 are those at t", "next_position", "position", "nxt", "row"),
            ("actions legal at t are those at t + 1", " avail", "avail", "row", "nxt"),
            ("actions legal at t + 1 are those at t", "next_avail", "avail", "nxt", "row"),
        )
    ),
    Mutant(
        "the reward is that of the transition before",
        "components/rows.py",
        'reward=self._read("reward", nxt, env_B)',
        'reward=self._read("reward", row, env_B)',
        REPLAY,
    ),
    Mutant(
        "junctions between episodes are sampled",
        "components/rows.py",
        "valid[row] = ~done[row]",
        "valid[row] = True",
        REPLAY,
    ),
    Mutant(
        "a row whose past is overwritten is sampled",
        "components/rows.py",
        "for distance in range(1, self.burn_in + 1):",
        "for distance in range(1, self.burn_in):",
        REPLAY,
    ),
    # Learners.
    Mutant(
        "Q-learning bootstraps from illegal actions",
        "learners/q_learner.py",
        "self.next_q_values(batch, self.double_q), batch.next_avail)",
        "self.next_q_values(batch, self.double_q), None)",
        Q_LEARNER,
    ),
    Mutant(
        "double Q-learning values with the network that chose",
        "learners/base.py",
        "return (self.mac.next_q_values(batch) if double_q and self.has_targets else evaluate_BNA), evaluate_BNA",
        "return evaluate_BNA, evaluate_BNA",
        Q_LEARNER,
    ),
    Mutant(
        "MFVFD's neighbours at t + 1 are those at t",
        "learners/mfvfd_learner.py",
        "batch.next_alive, batch.next_position)",
        "batch.next_alive, batch.position)",
        MFVFD,
    ),
    Mutant(
        "MADDPG ignores its temperature",
        "learners/maddpg_learner.py",
        "straight_through_gumbel(logits_BNA, self.temperature, self.generator)",
        "straight_through_gumbel(logits_BNA, 1.0, self.generator)",
        MADDPG,
    ),
    Mutant(
        "the temperature multiplies",
        "learners/maddpg_learner.py",
        "torch.softmax((logits + noise) / temperature, dim=-1)",
        "torch.softmax((logits + noise) * temperature, dim=-1)",
        MADDPG,
    ),
    Mutant(
        "HMF's empty groups bootstrap",
        "learners/hmf_learner.py",
        "~batch.terminated[:, None] & following.occupied",
        "~batch.terminated[:, None] & torch.ones_like(following.occupied)",
        HMF,
    ),
    Mutant(
        "HMF's field has the epsilon of step 0",
        "learners/hmf_learner.py",
        "return self.mac.selector.probabilities(q_BNA.detach(), avail_BNA, t_env)",
        "return self.mac.selector.probabilities(q_BNA.detach(), avail_BNA, 0)",
        HMF,
    ),
    Mutant(
        "HMF's field at t has the epsilon of step 0",
        "learners/hmf_learner.py",
        "        action_BNA = self.field_action(q_BNA, batch.action, batch.avail, t_env)\n        now =",
        "        action_BNA = self.field_action(q_BNA, batch.action, batch.avail, 0)\n        now =",
        HMF,
    ),
    Mutant(
        "HMF's field at t + 1 has the epsilon of step 0",
        "learners/hmf_learner.py",
        "self.field_action(select_BNA, greedy_BN, batch.next_avail, t_env)",
        "self.field_action(select_BNA, greedy_BN, batch.next_avail, 0)",
        HMF,
    ),
    Mutant(
        "a true end bootstraps",
        "components/returns.py",
        "goes_on_BN = ~batch.terminated[:, None] & batch.next_alive",
        "goes_on_BN = batch.next_alive",
        Q_LEARNER,
    ),
    Mutant(
        "the dead bootstrap",
        "components/returns.py",
        "goes_on_BN = ~batch.terminated[:, None] & batch.next_alive",
        "goes_on_BN = ~batch.terminated[:, None].expand_as(batch.alive)",
        Q_LEARNER,
    ),
    Mutant(
        "a return runs over the end of its window",
        "components/rollout.py",
        "        carry_TE[-1] = False  # the next transition is another rollout's\n",
        "",
        ROLLOUT,
    ),
    Mutant(
        "lambda and 1 - lambda are exchanged",
        "components/returns.py",
        "(1.0 - td_lambda) * next_TEU[t] + td_lambda * target[-1]",
        "td_lambda * next_TEU[t] + (1.0 - td_lambda) * target[-1]",
        RETURNS,
    ),
    Mutant(
        "epsilon is the chance of the greedy action",
        "components/selectors.py",
        'return probabilities.scatter_(-1, best, 1.0 - epsilon, reduce="add")',
        'return probabilities.scatter_(-1, best, epsilon, reduce="add")',
        SELECTOR,
    ),
    # Records.
    Mutant(
        "digests are not looked at",
        "records/checkpoint.py",
        'if found not in digests.read_text(errors="replace").split():',
        "if False:",
        RESUME,
    ),
    Mutant(
        "an impossible count is resumed from",
        "run.py",
        '"tested": -1 <= counters.tested <= t_env,',
        '"tested": True,',
        RESUME,
    ),
    Mutant("a state is saved before its points", "records/saver.py", "            first()\n", "", KILLED),
    Mutant(
        "any run of the right number is the parent",
        "records/store.py",
        "return self.started is None or is_same_time(",
        "return True or is_same_time(",
        STORE,
    ),
)
