"""Hyper-parameter search: the space, the studies, and what an interruption leaves."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from tests.support import recorded

from config.loader import available
from config.schema import RECORDING, ConfigError
from experiments import search as searches
from experiments.plan import PlannedRun, load_experiment, plan
from experiments.search import Search, distribution
from experiments.space import load_space
from experiments.sweep import Job
from records.index import RunIndex
from records.store import FileStore
from search import main
from utils.errors import InputError
from utils.lock import Lock

SPACE: dict[str, Any] = {
    "algorithms": ["iql", "hmf"],
    "environment": "bar",
    "seeds": [1, 2],
    "metric": "test_return_mean",
    "space": {"lr": {"low": 0.001, "high": 0.1, "log": True}, "n_groups": [2, 5], "hidden_dims": [[8], [4, 4]]},
    "overrides": {"t_max": 100},
}


def space_file(folder: Path, **changes: object) -> str:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({**SPACE, **changes}))
    return str(path)


class RecordingSweep:
    """Records a run whose return is its learning rate instead of running it; fails or stops where told to."""

    fail_at: tuple[int, ...] = ()  # numbers of runs
    interrupt_at: int | None = None
    n_runs = 0
    left: tuple[Job, ...] = ()  # to other processes

    def __init__(self, runs: Sequence[PlannedRun], index: RunIndex, workers: object, log_dir: Path) -> None:
        self.runs, self.index = runs, index

    def execute(self) -> None:
        for run in self.runs:
            number = type(self).n_runs
            type(self).n_runs += 1
            if number == self.interrupt_at:
                raise KeyboardInterrupt
            if number not in self.fail_at and self.index.finished(run.identity) is None:
                store = self.index.store
                recorded.put(store, max(store.ids(), default=0) + 1, run.config, values=[0.0, run.config.args["lr"]])
        self.index.refresh()


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> type[RecordingSweep]:
    class Fresh(RecordingSweep):
        pass

    monkeypatch.setattr(searches, "Sweep", Fresh)
    return Fresh


def test_enemies_that_learn_are_searched_too(tmp_path: Path) -> None:
    """Their keys may stand in the space, and nobody has to play them for the names of metrics."""
    own, theirs = ({"low": 0.001, "high": 0.1} for _ in range(2))
    path = space_file(
        tmp_path,
        environment="battle",
        metric="test_win",
        space={"lr": own, "opponent_args.lr": theirs},
        overrides={"env_args.opponent": "learner", "opponent_config": "mfq"},
    )
    search = Search(load_space(path), path, tmp_path, tmp_path / "search")
    run = search.plan("iql", {"lr": 0.01, "opponent_args.lr": 0.02})[0]
    assert (run.config.args["lr"], run.config.opponent_args["lr"]) == (0.01, 0.02)
    assert all(found.keys() == {"lr", "opponent_args.lr"} for found in search.distributions.values())


def test_one_algorithm_of_all_teams_may_be_searched(tmp_path: Path) -> None:
    teams = {"entry": "mpe2.simple_crypto_v3", "team": "eve", "teams": ["alice", "bob"], "opponent": "learner"}
    path = space_file(
        tmp_path, environment="pettingzoo", space={"opponent_config": ["iql", "vdn"]}, overrides={"env_args": teams}
    )
    search = Search(load_space(path), path, tmp_path, tmp_path / "search")
    assert search.reads("iql", "opponent_config")
    assert not search.reads("iql", "opponent_conf")
    assert search.plan("iql", {"opponent_config": "vdn"})[0].config.opponent_config == {"alice": "vdn", "bob": "vdn"}


def command(tmp_path: Path, trials: int) -> list[str]:
    return [space_file(tmp_path), f"--trials={trials}", f"--results={tmp_path}", "--workers=1"]


def trials_of(tmp_path: Path, algorithm: str) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{tmp_path / 'sweeps' / 'space' / 'search.db'}"
    return optuna.load_study(study_name=algorithm, storage=storage).trials


def test_every_method_gets_the_same_trials_over_the_keys_it_reads(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, 3)) == 0
    iql, hmf = trials_of(tmp_path, "iql"), trials_of(tmp_path, "hmf")
    assert [len(iql), len(hmf)] == [3, 3]
    assert iql[0].params.keys() == {"lr", "hidden_dims"}
    assert hmf[0].params.keys() == {"lr", "hidden_dims", "n_groups"}
    for trial in iql:
        assert trial.value == pytest.approx(trial.params["lr"])  # the mean of the last values of both seeds
        assert 0.001 <= trial.params["lr"] <= 0.1
    best = max(trial.params["lr"] for trial in iql)
    last = capsys.readouterr().out.splitlines()[-2]
    assert last.startswith(f"iql: test_return_mean {best:.4g} (best of 3 trials, runs [")
    assert f"lr={best}" in last
    config = FileStore(tmp_path / "sacred").get(1).config
    assert config["hidden_dims"] in ([8], [4, 4])


def test_the_score_may_be_the_mean_of_the_last_evaluations(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    name = space_file(tmp_path, score="tail")
    assert main([name, "--trials=1", f"--results={tmp_path}", "--workers=1"]) == 0
    trial = trials_of(tmp_path, "iql")[0]
    assert trial.value == pytest.approx(trial.params["lr"] / 2)  # of 0 and the learning rate


def test_a_method_may_search_keys_of_its_own(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    name = space_file(tmp_path, algorithms=["hmf", "hmf_ipc"], space={"lr": [0.1]}, own={"hmf": {"n_groups": [2, 5]}})
    assert main([name, "--trials=1", f"--results={tmp_path}", "--workers=1"]) == 0
    assert trials_of(tmp_path, "hmf")[0].params.keys() == {"lr", "n_groups"}
    assert trials_of(tmp_path, "hmf_ipc")[0].params.keys() == {"lr"}


def test_the_best_trials_become_an_experiment(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    final = {"seeds": [7, 8], "overrides": {"t_max": 300}}
    name, compared = space_file(tmp_path, final=final), tmp_path / "compared.yaml"
    assert main([name, "--trials=2", f"--results={tmp_path}", "--workers=1", f"--compare={compared}"]) == 0
    experiment, where = load_experiment(str(compared))
    best = {name: max(trial.params["lr"] for trial in trials_of(tmp_path, name)) for name in ("iql", "hmf")}
    found = {(run.config.name, run.config.seed, run.config.args["lr"]) for run in plan(experiment, where, tmp_path)}
    assert found == {(name, seed, lr) for name, lr in best.items() for seed in (7, 8)}
    assert {run.config.t_max for run in plan(experiment, where, tmp_path)} == {300}


def test_nothing_completed_is_nothing_to_compare(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.fail_at = (0,)
    name, compared = space_file(tmp_path, final={"seeds": [7]}), tmp_path / "x.yaml"
    assert main([name, "--trials=1", f"--results={tmp_path}", "--workers=1", f"--compare={compared}"]) == 2
    assert "no trial of iql completed" in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    ("final", "place", "message"),
    [
        ({}, "x.yaml", "--compare: expected 'final: {seeds: "),
        ({"seeds": [7]}, "no/x.yaml", "--compare: expected an existing folder"),
        ({"seeds": [7]}, "x", "--compare: expected a file's name that ends in .yaml, got "),
        ({"seeds": [7]}, "folder.yaml", "--compare: expected a file's name that ends in .yaml, got "),
    ],
)
def test_a_comparison_that_cannot_be_written_is_refused_before_the_first_trial(
    final: dict[str, Any], place: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = space_file(tmp_path, final=final)
    (tmp_path / "folder.yaml").mkdir()
    assert main([name, "--trials=1", f"--results={tmp_path}", f"--compare={tmp_path / place}"]) == 2
    assert message in capsys.readouterr().err
    assert main([name, "--trials=1", f"--results={tmp_path}", f"--table={tmp_path / 'no' / 'x'}"]) == 2
    assert "--table: expected an existing folder" in capsys.readouterr().err
    assert main([name, "--trials=1", f"--results={tmp_path}", f"--table={tmp_path / 'x.md'}"]) == 2
    assert "x.md. Leave .md off: .md, .csv, .tex are added." in capsys.readouterr().err
    assert not (tmp_path / "sweeps").exists()


def test_all_trials_as_a_table(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    """Best first, failed ones last; every method has as many rows."""
    sweep.fail_at = (1,)
    assert main([*command(tmp_path, 3), f"--table={tmp_path / 'trials'}"]) == 0
    head, *rows = csv.reader((tmp_path / "trials.csv").read_text().splitlines())
    assert head == ["method", "trial", "score", "keys"]
    assert [row[0] for row in rows] == ["iql"] * 3 + ["hmf"] * 3
    for method in ("iql", "hmf"):
        values = {trial.number: trial.value for trial in trials_of(tmp_path, method)}
        shown = [(int(row[1]), row[2]) for row in rows if row[0] == method]
        assert shown == sorted(
            ((number, "failed" if value is None else f"{value:.4g}") for number, value in values.items()),
            key=lambda pair: values[pair[0]] or -1e9,
            reverse=True,
        )
    assert any(row[2] == "failed" for row in rows)


def test_methods_advance_side_by_side(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    sweep.interrupt_at = 8  # of four runs a round
    assert main(command(tmp_path, 5)) == 130
    ended = [[trial.state for trial in trials_of(tmp_path, name)].count(TrialState.COMPLETE) for name in ("iql", "hmf")]
    assert ended == [2, 2]


def test_a_study_continues_and_never_repeats_itself(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    assert main(command(tmp_path, 1)) == 0
    assert main(command(tmp_path, 3)) == 0
    rates = [trial.params["lr"] for trial in trials_of(tmp_path, "iql")]
    assert len(set(rates)) == 3
    assert main(command(tmp_path, 3)) == 0
    assert len(trials_of(tmp_path, "iql")) == 3


def test_an_interrupted_trial_is_taken_up_with_its_values(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    sweep.interrupt_at = 5  # the second seed of iql's second trial
    assert main(command(tmp_path, 2)) == 130
    before = trials_of(tmp_path, "iql")
    assert [trial.state for trial in before] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert main(command(tmp_path, 2)) == 0
    after = trials_of(tmp_path, "iql")
    assert [trial.params for trial in after] == [trial.params for trial in before]
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * 2


def test_a_failed_trial_counts_and_never_wins(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.fail_at = (1, 4, 5)  # of iql's two trials: the second seed of the first, both seeds of the second
    assert main(command(tmp_path, 2)) == 0
    assert [trial.state for trial in trials_of(tmp_path, "iql")] == [TrialState.FAIL] * 2
    printed = capsys.readouterr().out
    assert "iql: no trial completed" in printed
    assert "hmf: test_return_mean" in printed


def test_results_that_are_no_folder_are_refused_before_the_first_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = space_file(tmp_path)
    assert main([name, "--trials=1", f"--results={name}"]) == 2
    assert f"error: results folder: cannot write in {name}/sacred (Not a directory)." in capsys.readouterr().err


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sweeps/space/search.db"
    file.mkdir(parents=True)
    assert main(command(tmp_path, 1)) == 2
    said = f"error: search: cannot read and write {file} (unable to open database file). Free space there, or mend its"
    assert capsys.readouterr().err.startswith(said)


def test_a_disk_that_is_full_amid_the_trials_is_one_line(tmp_path: Path) -> None:
    """Optuna puts an error of its own around what SQLite and SQLAlchemy say."""
    expected = r"cannot read and write .*search\.db \(database or disk is full\)\. Free space there"
    with pytest.raises(InputError, match=expected), searches.database(tmp_path):
        raise StorageInternalError("while committing") from Exception("database or disk is full\n[SQL: ...]")


def test_forms_of_a_space() -> None:
    assert distribution("lr", {"low": 1.0, "high": 2, "log": True}, "x") == FloatDistribution(1.0, 2.0, log=True)
    assert distribution("batch", {"low": 32, "high": 64, "step": 32}, "x") == IntDistribution(32, 64, step=32)
    assert distribution("dims", [[8], [4, 4]], "x") == CategoricalDistribution(["[8]", "[4, 4]"])
    assert distribution("flag", [True, None], "x") == CategoricalDistribution(["true", "null"])


@pytest.mark.parametrize("given", [3, [], {"low": 1}, {"low": 1, "high": 2, "logs": True}])
def test_a_faulty_entry_says_what_is_expected(given: object) -> None:
    with pytest.raises(ConfigError, match=r"here: space.lr expects a list of values or \{low, high\}"):
        distribution("lr", given, "here")


def test_without_optuna_one_line_names_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["space.yaml", "--trials", "1"]) == 2
    said = "error: expected the package optuna, it is not installed. Install it: ./install_dependencies.sh\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"lr": {"low": 2.0, "high": 1.0}}}, "space.lr: .*low"),
        (
            {"space": {"lr": {"low": "a", "high": 0.1}}},
            r"space.lr.low expects a number such as 3, 0.001 or 1e-3, got 'a'\. Write one\.",
        ),
        ({"space": {"lr": {"low": 0.01, "high": math.inf}}}, r"space\.lr\.high expects a number such as .* got inf\."),
        ({"space": {"lr": {"low": math.nan, "high": 1.0}}}, r"space\.lr\.low expects a number such as .* got nan\."),
        (
            {"space": {"lr": {"low": 0.1, "high": 1.0, "step": math.inf}}},
            r"space\.lr\.step expects a number such as .* got inf\.",
        ),
        (
            {"space": {"train_interval": {"low": 1, "high": 8, "step": 0.5}}},
            r"space\.train_interval\.step expects a whole number, as low and high are, got 0\.5\. Write low and high ",
        ),
        ({"space": {"seed": [1, 2]}}, "space.seed: the seeds of a trial are those of 'seeds'. Remove it."),
        ({"overrides": {"seed": 3}}, "overrides.seed: the seeds of a trial are those of 'seeds'. Remove it."),
        ({"own": {"iql": {"seed": [5, 6]}}}, "own.iql.seed: the seeds of a trial are those of 'seeds'. Remove it."),
        ({"overrides": {"local_results_path": "x"}}, "overrides.local_results_path: say where .* with --results"),
        (
            {"metric": "test_retrun_mean"},
            "metric expects a statistic of episodes, got 'test_retrun_mean'. Did you mean 'test_return_mean'. "
            "Known: return_mean, .*, n_episodes; of evaluations, with test_ in front.",
        ),
        ({"metric": "nonsense"}, "metric expects a statistic of episodes, got 'nonsense'. Known: return_mean, "),
        ({"space": {"mf_heads": [2, 4]}}, "no algorithm of this search reads space.mf_heads"),
        ({"own": {"vdn": {"lr": [0.1]}}}, "own.vdn: expected an algorithm of this search, one of iql, hmf."),
        ({"own": {"iql": {"n_groups": [2]}}}, "own.iql.n_groups: iql does not read it. Remove it."),
        ({"final": {"seed": [1]}}, "final: expected seeds and overrides, got seed."),
        ({"final": {"seeds": 3}}, "final.seeds expects list.*, got 3 "),
        ({"final": {"seeds": [1], "overrides": [2]}}, r"final.overrides expects dict, got \[2\] "),
        ({"space": {}}, "must not be empty"),
        ({"enviroment": "bar"}, "unknown key 'enviroment'.*Did you mean 'environment'"),
    ],
)
def test_a_faulty_file_is_one_clear_message(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Search(load_space(space_file(tmp_path, **changes)), "space.yaml", tmp_path, tmp_path / "sweeps")


@pytest.mark.parametrize("metric", ["test_return_mean", "return_q10", "test_crowded", "test_ep_length"])
def test_any_statistic_of_episodes_can_be_searched_by(tmp_path: Path, metric: str) -> None:
    Search(load_space(space_file(tmp_path, metric=metric)), "space.yaml", tmp_path, tmp_path / "sweeps")


@pytest.mark.slow
def test_search_runs_real_trials(tmp_path: Path) -> None:
    overrides = {"t_max": 600, "test_interval": 600, "test_nepisode": 2, "log_interval": 100}
    name = space_file(tmp_path, algorithms=["iql"], seeds=[1], space={"lr": [0.01, 0.001]}, overrides=overrides)
    assert main([name, "--trials=1", f"--results={tmp_path}"]) == 0
    assert [record.status for record in FileStore(tmp_path / "sacred").list()] == ["COMPLETED"]


def test_a_trial_that_another_process_runs_is_left_open(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    run = searches.Search(load_space(space_file(tmp_path)), "space", tmp_path, tmp_path).plan("iql", {})[0]
    sweep.left = (Job(run, tmp_path / "log"),)
    assert main(command(tmp_path, 1)) == 2
    assert "another process runs " in capsys.readouterr().err
    assert [trial.state for trial in trials_of(tmp_path, "iql")] == [TrialState.RUNNING]


def test_a_file_of_another_task_does_not_count_the_trials_of_its_namesake(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    """What trials share is recorded; what a search may grow by, trials, keys and algorithms, is not."""
    options = [f"--results={tmp_path}", "--workers=1"]
    assert main([space_file(tmp_path, algorithms=["hmf"], seeds=[1, 2]), "--trials=2", *options]) == 0
    other = tmp_path / "other"
    other.mkdir()
    changed = space_file(
        other,
        algorithms=["hmf"],
        environment="hawk_dove",
        overrides={"t_max": 160, "epsilon_anneal_time": 9},
        seeds=[1],
    )
    n_runs = sweep.n_runs
    assert main([changed, "--trials=3", *options]) == 2
    said = capsys.readouterr().err
    assert "expected what the trials of hmf in " in said
    assert "environment bar, got hawk_dove; seeds [1, 2], got [1]; overrides.t_max 100, got 160; " in said
    assert "overrides.epsilon_anneal_time null, got 9. " in said
    assert "rename the file, which begins another search." in said
    for faulty in ({"metric": "test_crowded"}, {"score": "tail"}):
        assert main([space_file(tmp_path, **faulty), "--trials=3", *options]) == 2
    assert sweep.n_runs == n_runs
    grown = {"space": {**SPACE["space"], "lr": {"low": 0.0001, "high": 1.0, "log": True}, "td_lambda": [0.0, 0.5]}}
    assert main([space_file(tmp_path, seeds=[2, 1], overrides={"t_max": 1e2}, **grown), "--trials=3", *options]) == 0
    assert [len(trials_of(tmp_path, name)) for name in ("iql", "hmf")] == [3, 3]


def test_a_search_that_measured_nothing_may_become_another(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    sweep.interrupt_at = 0
    assert main(command(tmp_path, 1)) == 130
    changes = {"environment": "matrix_game", "space": {"lr": {"low": 0.1, "high": 0.2}, "hidden_dims": [[16]]}}
    assert main([space_file(tmp_path, **changes), "--trials=1", f"--results={tmp_path}", "--workers=1"]) == 0
    (trial,) = trials_of(tmp_path, "iql")
    assert 0.1 <= trial.params["lr"] <= 0.2


def test_a_study_from_before_searches_were_told_apart_is_taken_and_marked(
    tmp_path: Path, sweep: type[RecordingSweep]
) -> None:
    folder = tmp_path / "sweeps" / "space"
    folder.mkdir(parents=True)
    storage = f"sqlite:///{folder / 'search.db'}"
    old = optuna.create_study(storage=storage, study_name="iql", direction="maximize")
    old.tell(old.ask({"lr": FloatDistribution(0.001, 0.1, log=True)}).number, 0.5)
    assert main(command(tmp_path, 2)) == 0
    assert trials_of(tmp_path, "iql")[0].value == 0.5
    marked = optuna.load_study(study_name="iql", storage=storage).user_attrs[searches.SHARED]
    assert (marked["environment"], marked["overrides.t_max"]) == ("bar", 100)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_dims": [[8], [4, 4], [32]]}, "space.hidden_dims [[8], [4, 4]], got [[8], [4, 4], [32]]. Of a search"),
        ({"lr": {"low": 0.001, "high": 0.1}}, "space.lr {high: 0.1, log: true, low: 0.001}, got {high: 0.1, low: "),
        ({"lr": [0.1]}, "space.lr {high: 0.1, log: true, low: 0.001}, got [0.1]."),
    ],
)
def test_a_space_that_a_study_cannot_follow_is_refused_before_a_trial(
    changed: dict[str, Any],
    message: str,
    tmp_path: Path,
    sweep: type[RecordingSweep],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Optuna lets ranges move, and nothing else."""
    assert main(command(tmp_path, 1)) == 0
    name = space_file(tmp_path, space={**SPACE["space"], **changed})
    assert main([name, "--trials=2", f"--results={tmp_path}", "--workers=1"]) == 2
    assert message in capsys.readouterr().err
    assert [trial.state for trial in trials_of(tmp_path, "iql")] == [TrialState.COMPLETE]
    assert main(command(tmp_path, 2)) == 0


def test_open_trials_that_the_space_could_not_draw_are_left_out_and_made_up_for(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that lacks a key, one below the range, one of a key that the space has no more; the last is taken up."""
    assert main(command(tmp_path, 1)) == 0
    study = optuna.load_study(study_name="iql", storage=f"sqlite:///{tmp_path / 'sweeps' / 'space' / 'search.db'}")
    lr, dims = FloatDistribution(0.001, 0.1, log=True), CategoricalDistribution(["[8]", "[4, 4]"])
    low = FloatDistribution(1e-6, 1e-5, log=True)
    study.ask({"lr": lr})
    study.ask({"lr": low, "hidden_dims": dims})
    study.ask({"lr": lr, "hidden_dims": dims, "td_lambda": FloatDistribution(0.0, 1.0)})
    study.ask({"lr": lr, "hidden_dims": dims})
    assert main([*command(tmp_path, 3), f"--table={tmp_path / 'trials'}"]) == 0
    states = [trial.state for trial in trials_of(tmp_path, "iql")]
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert states == [complete, fail, fail, fail, complete, complete]
    printed = capsys.readouterr().out
    assert "iql trial 1: left out, not of this space, {'lr': " in printed
    assert "iql: test_return_mean" in printed
    assert "(best of 3 trials, runs" in printed
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 7


def test_a_trial_that_cannot_run_does_not_come_again(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    good, options = {"lr": [0.1]}, ["--trials=1", f"--results={tmp_path}", "--workers=1"]
    for number in (1, 2):
        rates = {"low": -1.0, "high": 0.0}
        assert main([space_file(tmp_path, algorithms=["iql"], space={"lr": rates}), *options]) == 2
        assert "lr expects above 0, got " in capsys.readouterr().err
        assert [trial.state for trial in trials_of(tmp_path, "iql")] == [TrialState.FAIL] * number
    assert main([space_file(tmp_path, algorithms=["iql"], space=good), *options]) == 0
    assert [trial.params["lr"] for trial in trials_of(tmp_path, "iql")] == ["0.1"]


@pytest.mark.parametrize(
    ("given", "value", "drawn"),
    [
        (FloatDistribution(0.1, 0.5), 0.5, True),
        (FloatDistribution(0.1, 0.5), 0.6, False),
        (FloatDistribution(0.0, 1.0, step=0.1), 0.3, True),
        (FloatDistribution(0.0, 1.0, step=0.1), 0.35, False),
        (IntDistribution(2, 8, step=2), 4, True),
        (IntDistribution(2, 8, step=2), 5, False),
        (CategoricalDistribution(["[8]"]), "[8]", True),
        (CategoricalDistribution(["[8]"]), "[4]", False),
    ],
)
def test_what_a_distribution_can_draw(given: optuna.distributions.BaseDistribution, value: Any, drawn: bool) -> None:
    assert searches.draws(given, value) == drawn


def test_two_searches_at_once_are_refused(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweeps" / "space"
    first = Lock.take(folder / "search.lock")
    assert first is not None
    assert main(command(tmp_path, 1)) == 2
    said = capsys.readouterr().err
    assert f"another process searches in {folder} at this moment. When it has ended, the same command" in said
    assert not (folder / "search.db").exists()
    first.release()
    assert main(command(tmp_path, 1)) == 0
    assert not (folder / "search.lock").exists()


def test_the_head_of_a_comparison_counts_all_trials(tmp_path: Path, sweep: type[RecordingSweep]) -> None:
    """An earlier call may have asked for more, of some of the methods."""
    compared, options = tmp_path / "x.yaml", [f"--results={tmp_path}", "--workers=1"]
    alone, both = ({"algorithms": names, "final": {"seeds": [7]}} for names in (["hmf"], ["hmf", "iql"]))
    assert main([space_file(tmp_path, **alone), "--trials=2", *options]) == 0
    name = space_file(tmp_path, **both)
    for n, said in ((1, "2 trials of hmf and 1 trial of iql"), (2, "2 trials of every method")):
        asked = [f"--trials={n}", f"--compare={compared}", f"--table={tmp_path / 'trials'}"]
        assert main([name, *asked, *options]) == 0
        assert compared.read_text().startswith(f"# The best of {said} of {name}: written by src/search.py.")
        says_so = "There are 2 trials of hmf and 1 trial of iql." in (tmp_path / "trials.md").read_text()
        assert says_so == (n == 1)


def test_a_table_keeps_the_dots_of_its_name(
    tmp_path: Path, sweep: type[RecordingSweep], capsys: pytest.CaptureFixture[str]
) -> None:
    stem = tmp_path / "trials.v1"
    assert main([*command(tmp_path, 1), f"--table={stem}"]) == 0
    assert f"written: {stem}.md, .csv and .tex" in capsys.readouterr().out
    names = {f"trials.v1.{suffix}" for suffix in ("md", "csv", "tex")}
    assert {path.name for path in tmp_path.glob("trials*")} == names


@pytest.mark.parametrize("name", available("searches"))
def test_every_search_of_the_project_is_sound(name: str, tmp_path: Path) -> None:
    search = Search(load_space(name), name, tmp_path, tmp_path / "sweeps")
    assert all(search.distributions.values())
    # The comparison of the best differs in budget and seeds alone.
    assert set(search.space.final["seeds"]).isdisjoint(search.space.seeds)
    assert search.space.final["overrides"].keys() - set(RECORDING) == search.space.overrides.keys()
