"""Planning experiments and running them."""

from __future__ import annotations

import errno
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from tests.support import recorded
from tests.support.paths import SRC

import report
from assembly.registries import REGISTRIES
from config.command_line import parse_command_line
from config.loader import available, layers
from config.resolve import make_config
from config.schema import Config, ConfigError
from experiments.plan import PlannedRun, load_experiment, plan
from experiments.sweep import Sweep, weights
from experiments.workers import WorkerError, start_child
from main import main as train
from records.checkpoint import RESUME
from records.identity import identity
from records.index import RunIndex
from records.listing import Listing, overview
from records.store import FileStore, completed
from sweep import LEFT_OUT, main
from utils.cli import BAD_INPUT, COPY_INCOMPLETE, FAILED
from utils.lock import Lock
from utils.words import from_yaml, word

SWEEP = SRC / "sweep.py"
QUICK = {
    "t_max": 400,
    "test_interval": 400,
    "test_nepisode": 2,
    "log_interval": 100,
    "regime": "replay",
    "learning_starts": 64,
    "hidden_dims": [8],
}


def experiment_file(folder: Path, **values: object) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"algorithms": ["iql"], "environments": ["bar"], "seeds": [1], **values}))
    return str(path)


def planned(folder: Path, **values: object) -> list[PlannedRun]:
    return plan(*load_experiment(experiment_file(folder, **values)), folder / "results")


@pytest.mark.parametrize("name", available("experiments"))
def test_every_experiment_of_the_project_plans_valid_runs(name: str) -> None:
    experiment, where = load_experiment(name)
    runs = plan(experiment, where, Path("results"))
    cells = len(experiment.algorithms) * len(experiment.environments) * len(experiment.seeds)
    assert len(runs) >= cells
    assert len({run.identity for run in runs}) == len(runs)


@pytest.mark.parametrize("words", [[], ["--dry-run"]], ids=["run", "plan"])
def test_results_that_are_no_folder_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = experiment_file(tmp_path)
    assert main([name, "--results", name, *words]) == BAD_INPUT
    said = capsys.readouterr()
    assert f"error: results folder: cannot write in {name}/sacred (Not a directory)." in said.err
    assert not said.out


OWN = {"name", "seed", "mac", "mixer", "learner", "grouping", "selector"}  # what makes an algorithm
OWN |= {"mean_field_action", "top_level", "td_level", "group_reward", "attention_input"}  # what HMF's presets change
OWN |= {"share_gmf", "kl_coef"}


def test_the_papers_methods_meet_on_equal_terms() -> None:
    """Every key that two methods share has the same value on a task, but for what makes them different algorithms."""
    names = [name for name in available("experiments") if name.startswith("paper_")]
    compared = [name for name in names if name not in ("paper_lines", "paper_crossplay")]
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for run in (run for name in compared for run in plan(*load_experiment(name), Path("results"))):
        config = run.config.to_dict()
        task = str((config["env"], config["env_args"]))
        seeds[config["name"], task].add(config["seed"])
        for key in config.keys() - OWN:
            values[task, key].add(str(config[key]))
    assert {key: found for key, found in values.items() if len(found) > 1} == {}
    assert {"lr", "hidden_dims", "t_max", "batch_size"} <= {key for _, key in values}
    assert set(map(len, seeds.values())) == {4}


def test_command_lines_make_the_planned_configurations(tmp_path: Path) -> None:
    runs = planned(
        tmp_path,
        algorithms=["iql", "hmf"],
        seeds=[3, 4],
        overrides={"lr": 1e-05, "env_args": {"capacity": 7}, "hidden_dims": [8, 4]},
        factors={"env_args.n_agents": [10, 20]},
    )
    assert len(runs) == 8
    for run in runs:
        arguments = parse_command_line(list(run.arguments))
        config, _ = make_config(layers(arguments.config, arguments.env_config, arguments.overrides), REGISTRIES)
        assert config == run.config
    assert runs[0].config.args["lr"] == 1e-05
    assert runs[0].label == "iql env_args.n_agents=10 bar seed=3"
    assert [run.config.seed for run in runs] == [3] * 4 + [4] * 4  # all methods of one seed before the next


def test_later_layers_win(tmp_path: Path) -> None:
    runs = planned(
        tmp_path,
        algorithms=["iql", "vdn"],
        environments=["bar", "bar_30"],
        overrides={"gamma": 0.1},
        per_environment={"bar_30": {"gamma": 0.2}},
        per_algorithm={"vdn": {"gamma": 0.3}},
    )
    assert [run.config.args["gamma"] for run in runs] == [0.1, 0.3, 0.2, 0.3]
    runs = planned(tmp_path, per_algorithm={"iql": {"gamma": 0.3}}, factors={"gamma": [0.4, 0.5]})
    assert [run.config.args["gamma"] for run in runs] == [0.4, 0.5]


def test_tuned_keys_are_those_of_another_experiment(tmp_path: Path) -> None:
    tuned = {"iql": {"gamma": 0.3, "lr": 0.1}, "vdn": {"gamma": 0.4}, "qmix": {"gamma": 0.5}}
    place = tmp_path / "tuned.yaml"
    place.write_text(yaml.safe_dump({"per_algorithm": tuned}))
    own = {"iql": {"lr": 0.2}}
    runs = planned(tmp_path, algorithms=["iql", "vdn"], keys_of=str(place), overrides={"gamma": 0.1}, per_algorithm=own)
    assert [run.config.args["gamma"] for run in runs] == [0.3, 0.4]
    assert runs[0].config.args["lr"] == 0.2
    with pytest.raises(ConfigError, match=r"tuned.yaml', whose per_algorithm has no 'hmf'.*: iql, qmix, vdn"):
        planned(tmp_path, algorithms=["hmf"], keys_of=str(place))


@pytest.mark.parametrize("key", ["seed", "local_results_path"])
@pytest.mark.parametrize("place", ["overrides", "factors", "variants"])
def test_what_the_sweep_sets_itself_may_not_be_given(key: str, place: str, tmp_path: Path) -> None:
    given = {"overrides": {key: 9}, "factors": {key: [9]}, "variants": {"other": {key: 9}}}[place]
    with pytest.raises(ConfigError, match=f"{key} is no key that may stand here. Write: s"):
        planned(tmp_path, **{place: given})


def test_variants_are_runs_with_names(tmp_path: Path) -> None:
    variants = {"brief": {"t_max": 100, "env_args": {"capacity": 7}}, "replay": {"regime": "replay", "gamma": 0.2}}
    runs = planned(tmp_path, overrides={"t_max": 200, "gamma": 0.1}, variants=variants, factors={"lr": [0.1, 0.2]})
    assert [run.label for run in runs] == [
        *("iql brief lr=0.1 bar seed=1", "iql brief lr=0.2 bar seed=1"),
        *("iql replay lr=0.1 bar seed=1", "iql replay lr=0.2 bar seed=1"),
    ]
    assert [run.config.t_max for run in runs] == [100, 100, 200, 200]
    assert [run.config.regime for run in runs] == ["rollout", "rollout", "replay", "replay"]
    assert [run.config.args["gamma"] for run in runs] == [0.1, 0.1, 0.2, 0.2]
    assert [run.config.env_args["capacity"] for run in runs] == [7, 7, 60, 60]


def test_runs_that_differ_in_nothing_they_read_are_one(tmp_path: Path) -> None:
    runs = planned(tmp_path, algorithms=["iql", "hmf"], factors={"n_groups": [2, 5]})
    assert [run.config.name for run in runs] == ["iql", "hmf", "hmf"]


@pytest.mark.parametrize("value", [1e-05, True, None, "text", "1", "1e3", [1, 2.5], {"a": 1}, "a: b"])
def test_words_are_read_back(value: object) -> None:
    key, _, text = word("key", value).partition("=")
    assert (key, from_yaml(text)) == ("key", value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"algorithm": ["hmf"]}, "unknown key 'algorithm'.*Did you mean 'algorithms'"),
        ({"seeds": 4}, "seeds expects .*got 4"),
        ({"seeds": []}, "seeds is empty"),
        ({"per_algorithm": {"hmf": {"lr": 0.1}}}, "per_algorithm names 'hmf', which the experiment does not run"),
        ({"per_algorithm": {"iql": 3}}, "per_algorithm.iql expects"),
        ({"factors": {"lr": 0.1}}, "factors.lr expects a list"),
        ({"variants": {"slow": 0.1}}, "variants.slow expects"),
        ({"variants": {"slow": {"gmf_coef": 0.1}}}, "no algorithm of this experiment reads 'gmf_coef'"),
        ({"variants": {"a": {"lr": 0.1}, "b": {"lr": 0.1}}}, "variants.b makes the same runs as the variants before"),
        ({"factors": {"use_cuda": [False, True]}}, "factors.use_cuda: True makes the same runs as the values before"),
        ({"factors": {"test_online": [True, False], "lr": [0.1, 0.2]}}, "test_online: False makes the same runs as"),
        ({"overrides": {"gmf_coef": 2.0}}, "no algorithm of this experiment reads 'gmf_coef'"),
        ({"overrides": {"t_maks": 5}}, "unknown key 't_maks'.*t_max"),
        ({"environments": ["baar"]}, "no envs configuration 'baar'.*bar"),
    ],
)
def test_a_faulty_experiment_is_one_clear_message(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(tmp_path, **values)


def test_missing_keys_and_files_are_one_clear_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "half.yaml").write_text("algorithms: [iql]")
    with pytest.raises(ConfigError, match="the key 'environments' is missing"):
        load_experiment(str(tmp_path / "half.yaml"))
    assert main(["nowhere.yaml"]) == 2
    assert "error: expected a file nowhere.yaml, there is none in" in capsys.readouterr().err
    assert main(["smokee"]) == 2
    assert "no experiments configuration 'smokee'. Did you mean 'smoke'?" in capsys.readouterr().err


def test_identity_is_the_configuration_and_not_its_place(tmp_path: Path) -> None:
    run = planned(tmp_path)[0]
    assert identity(replace(run.config, local_results_path="elsewhere").to_dict()) == run.identity
    assert identity(replace(run.config, use_cuda=True).to_dict()) == run.identity
    assert identity(replace(run.config, test_online=False).to_dict()) == run.identity
    assert identity(replace(run.config, seed=2).to_dict()) != run.identity


def test_index_knows_finished_running_and_resumable_runs(tmp_path: Path) -> None:
    done, cut, live, new = (run for run in planned(tmp_path, seeds=[1, 2, 3, 4], overrides={"t_max": 100}))
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, done.config, resumable=True)
    recorded.put(store, 2, cut.config, "INTERRUPTED", [0, 0, 0], resumable=True)
    recorded.put(store, 3, cut.config, "FAILED", [0, 0, 0, 0])
    recorded.put(store, 4, live.config, "RUNNING", [0, 0])
    index = RunIndex(store)
    finished = [index.finished(run.identity) for run in (done, cut, live, new)]
    assert [record and record.id for record in finished] == [1, None, None, None]
    assert [index.running(run.identity) for run in (done, cut, live, new)] == [False, False, True, False]
    folders = [index.resumable(run.identity) for run in (done, cut, live, new)]
    assert folders == [None, store.folder(2), None, None]
    assert index.resumable(cut.identity, use_cuda=True) is None, "a run goes on where it was computed"
    assert [index.progress(run.identity) for run in (done, cut, live, new)] == [100, 30, 10, 0]


def test_a_run_of_several_processes_is_another(tmp_path: Path) -> None:
    (run,) = planned(tmp_path, seeds=[1], overrides={"t_max": 100})
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, run.config, "RUNNING", [0, 0], resumable=True)
    index = RunIndex(store)
    assert index.running(run.identity), "by how many it is played is not recorded yet"
    (store.folder(1) / "info.json").write_text(json.dumps({"resolved": {"processes": 2}}))
    index.refresh()
    assert not index.running(run.identity)
    stopped = json.loads((store.folder(1) / "run.json").read_text()) | {"status": "INTERRUPTED"}
    (store.folder(1) / "run.json").write_text(json.dumps(stopped))
    index.refresh()
    assert index.resumable(run.identity) is None
    recorded.put(store, 2, run.config)
    recorded.put(store, 3, replace(run.config, seed=2), info={"resolved": {"processes": 2}})
    (task,) = recorded.tasks_of(store)
    methods = {method.label: [*method.curves] for method in task.methods}
    assert methods == {"iql processes=1": [1], "iql processes=2": [2]}
    head, *rows = overview(store, Listing(status="COMPLETED"))
    assert [row[head.index("processes")] for row in rows] == [1, 2]
    assert [record.id for record in completed(store, ["processes=2"])] == [3]


def test_a_run_of_another_program_stops_no_sweep(tmp_path: Path) -> None:
    (run,) = planned(tmp_path, seeds=[1])
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, run.config)
    config = json.loads((store.folder(1) / "config.json").read_text())
    config.pop("evaluate")
    (store.folder(1) / "config.json").write_text(json.dumps(config))
    assert RunIndex(store).seconds_per_step() == {}


OWN_BAR = "from envs.bar import Bar\n\n\nclass Own(Bar):\n    pass\n"
SMALL_OWN = {**QUICK, "env": "own_bar:Own", "t_max": 80, "env_args.n_agents": 3, "env_args.capacity": 2}


def test_a_changed_file_of_one_s_own_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own_bar.py"
    own.write_text(OWN_BAR)
    monkeypatch.syspath_prepend(tmp_path)
    overrides = {**SMALL_OWN, "save_replay": "always"}
    file = experiment_file(tmp_path, overrides=overrides)
    (run,) = plan(*load_experiment(file), tmp_path / "results")
    words = ["seed=1", f"local_results_path={tmp_path / 'results'}"]
    words += [word(key, value) for key, value in overrides.items()]
    assert train(["--config=iql", "--env-config=bar", "with", *words]) == 0
    command = [file, "--dry-run", "--results", str(tmp_path / "results")]
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"finished as run 1        {run.label}"
    own.write_text(OWN_BAR + "\n\n# pays ten times as much\n")
    assert main(command) == 0
    note, line, _ = capsys.readouterr().out.splitlines()
    assert note.startswith("note: 1 finished runs (1) were made with other code than there is now")
    assert line == f"finished as run 1        {run.label}  (made with another own_bar, whose file has changed)"
    resumed = tmp_path / "results/sacred/1"
    assert train([f"--resume={resumed}", "--trust", "with", "t_max=120", words[1]]) == 0
    assert "note: own_bar is not what run 1 was made with: its file has changed." in capsys.readouterr().out


def test_index_measures_costs_of_uninterrupted_runs(tmp_path: Path) -> None:
    run = planned(tmp_path, overrides={"t_max": 100})[0]
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, run.config, seconds=50)
    recorded.put(store, 2, run.config, seconds=100)
    recorded.put(store, 3, run.config, seconds=1, info={"resumed_from": 1, "resumed_at": 90})
    assert list(RunIndex(store).seconds_per_step().values()) == [0.75]
    recorded.put(store, 6, planned(tmp_path, overrides={"t_max": 1})[0].config, seconds=8)
    assert list(RunIndex(store).seconds_per_step().values()) == [pytest.approx(158 / 201)], "not 8 seconds a step"
    for run_id, enemies in enumerate(("mfq", "hmf"), start=4):
        both = recorded.config(
            "iql", "battle", 1, "env_args.opponent=learner", f"opponent_config={enemies}", "t_max=50"
        )
        recorded.put(store, run_id, both, seconds=50 * run_id)
    costs = list(RunIndex(store).seconds_per_step().values())
    assert costs == [pytest.approx(158 / 201), 4.0, 5.0], "enemies that learn cost what their algorithm does"


class FakeWorkers:
    """Ends every child at the next look with what ``outcome`` says of its command; 0 is recorded in ``store``."""

    def __init__(self, n_slots: int, outcome: Callable[[Sequence[str]], int], store: FileStore | None = None) -> None:
        self.n_slots, self.outcome, self.store = n_slots, outcome, store
        self.configs: list[Config] = []
        self.said = "Traceback\nthe reason\n"
        self.started: list[list[str]] = []
        self.stopped: list[int] = []
        self.alive = self.most_alive = 0

    def start(self, command: Sequence[str], log: Path, config: Config, claim: Lock) -> int:
        log.write_text(self.said)
        self.started.append(list(command))
        self.configs.append(config)
        self.alive += 1
        self.most_alive = max(self.alive, self.most_alive)
        return len(self.started) - 1

    def exit_code(self, handle: int) -> int | None:
        if handle in self.stopped:
            return 130
        self.alive -= 1
        code = self.outcome(self.started[handle])
        if code == 0 and self.store is not None:
            recorded.put(self.store, max(self.store.ids(), default=0) + 1, self.configs[handle])
        return code

    def stop(self, handle: int) -> None:
        self.stopped.append(handle)


def test_runs_of_unknown_cost_weigh_the_median(tmp_path: Path) -> None:
    """A minute in one step, as random play takes, says nothing about a step of training."""
    store = FileStore(tmp_path / "sacred")
    recorded_runs = planned(tmp_path, algorithms=["random", "iql", "vdn"], overrides={"t_max": 600})
    for number, run in enumerate(recorded_runs, start=1):
        recorded.put(store, number, replace(run.config, t_max=1) if number == 1 else run.config, seconds=60.0)
    wanted = planned(tmp_path, algorithms=["iql", "hmf"], overrides={"t_max": 600})
    assert weights(wanted, RunIndex(store)) == [60.0, 60.0]


@pytest.fixture
def runs(tmp_path: Path) -> list[PlannedRun]:
    return planned(tmp_path, seeds=[1, 2, 3])


def test_sweep_skips_finished_resumes_interrupted_and_fills_its_slots(tmp_path: Path, runs: list[PlannedRun]) -> None:
    store = FileStore(tmp_path / "results" / "sacred")
    recorded.put(store, 1, runs[0].config)
    recorded.put(store, 2, runs[1].config, "INTERRUPTED", resumable=True)
    workers = FakeWorkers(2, lambda command: 0, store)
    jobs = Sweep(runs, RunIndex(store), workers, tmp_path / "logs")
    jobs.execute()
    assert [command[2:] for command in workers.started] == [
        [f"--resume={store.folder(2)}", f"--results={tmp_path / 'results'}"],
        list(runs[2].arguments),
    ]
    assert workers.most_alive == 2
    assert list((tmp_path / "logs").iterdir()) == []  # nothing to tell of runs that succeeded
    assert jobs.failed == []


def test_a_log_that_is_gone_stops_nobody(tmp_path: Path, runs: list[PlannedRun]) -> None:
    """Another sweep, or a person, may have cleaned up."""

    def cleaned_up(command: Sequence[str]) -> int:
        for log in (tmp_path / "logs").iterdir():
            log.unlink()
        return 0

    workers = FakeWorkers(1, cleaned_up)
    Sweep(runs, RunIndex(FileStore(tmp_path / "sacred")), workers, tmp_path / "logs").execute()
    assert len(workers.started) == 3


def test_failed_runs_are_tried_once_more_and_reported(tmp_path: Path, runs: list[PlannedRun]) -> None:
    codes = iter([1, 0, 1, 0, 7])  # seed 1 fails twice, seed 2 never, seed 3 once... in order of the slot
    store = FileStore(tmp_path / "sacred")
    workers = FakeWorkers(1, lambda command: next(codes), store)
    jobs = Sweep(runs, RunIndex(store), workers, tmp_path / "logs")
    jobs.execute()
    assert [command[-2] for command in workers.started] == ["seed=1", "seed=2", "seed=3", "seed=1", "seed=3"]
    assert [job.run.label for job in jobs.failed] == ["iql bar seed=3"]
    assert jobs.failed[0].failure() == f"iql bar seed=3: exit code 7: the reason (all of it: {jobs.failed[0].log})"
    assert "1 failed" in jobs.line()


def test_a_run_that_is_nowhere_has_failed_whatever_its_process_said(tmp_path: Path, runs: list[PlannedRun]) -> None:
    workers = FakeWorkers(1, lambda command: 0)
    jobs = Sweep(runs[:1], RunIndex(FileStore(tmp_path / "sacred")), workers, tmp_path / "logs")
    jobs.execute()
    assert [job.exit_code for job in jobs.failed] == [0]
    assert len(workers.started) == 1


@pytest.mark.parametrize(
    ("code", "said", "attempts"),
    [
        (BAD_INPUT, "error: lr expects float.\n", 1),
        (FAILED, "some warning\nerror: mixer=Shape: expected one value per transition.\n", 1),
        (FAILED, "Traceback\nValueError: error: shapes differ\n", 2),
        (-9, "", 2),
    ],
    ids=["refused", "refused on the way", "crashed", "killed"],
)
def test_what_the_input_ended_is_not_tried_again(
    code: int, said: str, attempts: int, tmp_path: Path, runs: list[PlannedRun]
) -> None:
    workers = FakeWorkers(1, lambda command: code)
    workers.said = said
    jobs = Sweep(runs[:1], RunIndex(FileStore(tmp_path / "sacred")), workers, tmp_path / "logs")
    jobs.execute()
    assert len(workers.started) == attempts
    assert len(jobs.failed) == 1


def test_a_run_that_diverges_leaves_one_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = {**QUICK, "lr": 1e30, "log_interval": 64}
    assert main([experiment_file(tmp_path, overrides=overrides), f"--results={tmp_path}", "--workers=1"]) == FAILED
    assert "exit code 1: error: learning diverged: expected a finite " in capsys.readouterr().out
    assert [record.status for record in FileStore(tmp_path / "sacred").list()] == ["FAILED"]


def test_a_finished_run_without_its_copy_has_not_failed(tmp_path: Path, runs: list[PlannedRun]) -> None:
    store = FileStore(tmp_path / "results" / "sacred")

    def finished_uncopied(command: Sequence[str]) -> int:
        recorded.put(store, len(store.ids()) + 1, runs[len(store.ids())].config)
        return COPY_INCOMPLETE

    jobs = Sweep(runs, RunIndex(store), FakeWorkers(1, finished_uncopied), tmp_path / "logs")
    jobs.execute()
    assert [job.run.label for job in jobs.uncopied] == [run.label for run in runs]
    assert jobs.failed == []


def test_a_run_that_did_not_finish_has_failed_whatever_was_copied(tmp_path: Path, runs: list[PlannedRun]) -> None:
    workers = FakeWorkers(1, lambda command: COPY_INCOMPLETE)
    jobs = Sweep(runs, RunIndex(FileStore(tmp_path / "sacred")), workers, tmp_path / "logs")
    jobs.execute()
    assert len(jobs.failed) == 3
    assert jobs.uncopied == []


def test_as_many_runs_at_once_as_there_are_cores_for_their_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sweep.n_cores", lambda: 8)
    for threads, at_once in ((1, 8), (3, 2), (16, 1)):
        name = experiment_file(tmp_path, overrides={**QUICK, "threads": threads})
        assert main([name, "--dry-run", f"--results={tmp_path}"]) == 0
        assert f"on {at_once}" in capsys.readouterr().out


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM])
def test_a_machine_without_room_for_a_process_is_asked_again(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, refusals, slept = subprocess.Popen, [code, code], list[float]()

    def popen(*args: Any, **kwargs: Any) -> Any:
        if refusals:
            raise OSError(refusals.pop(), "no room")
        return begin(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(time, "sleep", slept.append)
    assert start_child([sys.executable, "-c", ""], tmp_path / "log").wait() == 0
    assert slept[:2] == [1, 2]
    refusals += [code] * 6
    with pytest.raises(WorkerError, match=r"this machine had none for 38 s \(no room"):
        start_child([sys.executable, "-c", ""], tmp_path / "log")
    refusals += [errno.ENOENT]
    with pytest.raises(FileNotFoundError):
        start_child([sys.executable, "-c", ""], tmp_path / "log")


def test_runs_of_another_sweep_are_left_to_it(tmp_path: Path, runs: list[PlannedRun]) -> None:
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, runs[0].config, "RUNNING")
    workers = FakeWorkers(1, lambda command: 0)
    jobs = Sweep(runs, RunIndex(store), workers, tmp_path / "logs")
    jobs.execute()
    assert [command[-2] for command in workers.started] == ["seed=2", "seed=3"]
    assert [job.run.label for job in jobs.left] == ["iql bar seed=1"]


def test_what_another_sweep_gives_up_is_run_at_the_end(tmp_path: Path, runs: list[PlannedRun]) -> None:
    store = FileStore(tmp_path / "sacred")
    claim = RunIndex(store).claim(runs[0].identity)
    assert claim is not None
    assert RunIndex(store).claim(runs[0].identity) is None

    def gives_up(command: Sequence[str]) -> int:
        if command[-2] == "seed=2":
            claim.release()
        return 0

    workers = FakeWorkers(1, gives_up)
    jobs = Sweep(runs, RunIndex(store), workers, tmp_path / "logs")
    jobs.execute()
    assert [command[-2] for command in workers.started] == ["seed=2", "seed=3", "seed=1"]
    assert jobs.left == []


def test_ctrl_c_stops_the_children_and_waits_for_them(tmp_path: Path, runs: list[PlannedRun]) -> None:
    def interrupt(command: Sequence[str]) -> int:
        raise KeyboardInterrupt

    workers = FakeWorkers(2, interrupt)
    jobs = Sweep(runs, RunIndex(FileStore(tmp_path / "sacred")), workers, tmp_path / "logs")
    with pytest.raises(KeyboardInterrupt):
        jobs.execute()
    assert workers.stopped == [0, 1]
    assert len(workers.started) == 2


def test_long_runs_show_progress_in_a_log(
    tmp_path: Path, runs: list[PlannedRun], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line a minute, and one when a run ends."""
    looks = iter([None] * 5 + [0] * 5)

    class Slow(FakeWorkers):
        def exit_code(self, handle: int) -> int | None:
            return next(looks)  # five looks pass before the first run ends

    minutes = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 25.0 * next(minutes))  # every question takes 25 s
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    index = RunIndex(FileStore(tmp_path / "sacred"))
    Sweep(runs[:1], index, Slow(1, lambda command: 0), tmp_path / "logs").execute()
    lines = capsys.readouterr().out.splitlines()
    running = [line for line in lines if "0/1 runs finished, 1 running, 0 waiting, 0 failed" in line]
    assert len(running) > 1
    assert lines[: len(running)] == running
    assert "0 running" in lines[-1]


def test_time_left_follows_from_what_is_done(
    tmp_path: Path, runs: list[PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "sacred")
    recorded.put(store, 1, runs[0].config)
    index = RunIndex(store)
    jobs = Sweep(runs, index, FakeWorkers(1, lambda command: 0), tmp_path / "logs")
    assert "1/3 runs finished, 0 running, 2 waiting, 0 failed  33%" in jobs.line()
    assert jobs.line().endswith("left ?")
    recorded.put(store, 2, runs[1].config)
    index.refresh()
    monkeypatch.setattr(time, "monotonic", lambda: jobs.began + 100.25)  # whatever began is, this rounds to 100
    assert jobs.line().endswith("67%  elapsed 0:01:40  left 0:01:40")


def test_dry_run_prints_the_plan_and_its_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = experiment_file(tmp_path, algorithms=["iql", "vdn"], seeds=[1, 2], overrides={"t_max": 1000})
    results = tmp_path / "results"
    store = FileStore(results / "sacred")
    runs = plan(*load_experiment(name), results)
    recorded.put(store, 1, runs[0].config, seconds=600)
    recorded.put(store, 2, runs[1].config, "INTERRUPTED", resumable=True)
    assert main([name, "--dry-run", "--workers=2", f"--results={results}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["finished", "as", "run", "1", "iql", "bar", "seed=1"]
    assert lines[1].startswith("resume run 2")
    assert lines[1].endswith("vdn bar seed=1  (1,000 steps, cost unknown)")
    assert lines[2].endswith("iql bar seed=2  (1,000 steps, cost 0:10:00)")
    expected = "left to do: 0:10:00 of one core, 0:05:00 on 2, and 2 runs of unknown cost"
    assert lines[-1] == f"4 runs; {expected}"
    assert store.ids() == [1, 2]


def test_sweep_records_real_runs_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [experiment_file(tmp_path, overrides=QUICK), f"--results={tmp_path}", "--workers=1"]
    assert main(command) == 0
    assert "1/1 runs finished" in capsys.readouterr().out
    store = FileStore(tmp_path / "sacred")
    assert [record.status for record in store.list()] == ["COMPLETED"]
    assert store.get(1).entry["host"]["torch_threads"] == 1
    assert main(command) == 0
    assert store.ids() == [1]


def sweep_process(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(SWEEP), *command], stdout=subprocess.PIPE, text=True)


def test_two_sweeps_at_one_instant_run_everything_once(tmp_path: Path) -> None:
    command = [experiment_file(tmp_path, seeds=[1, 2], overrides=QUICK), f"--results={tmp_path}", "--workers=1"]
    sweeps = [sweep_process(command) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in sweeps]
    assert FileStore(tmp_path / "sacred").ids() == [1, 2]
    for process, output in zip(sweeps, outputs, strict=True):
        assert process.returncode == (LEFT_OUT if "left to another process" in output else 0)
    assert 0 in [process.returncode for process in sweeps]
    assert list((tmp_path / "sacred" / "claims").iterdir()) == []


@pytest.mark.slow
def test_a_killed_sweep_is_continued_at_once(tmp_path: Path) -> None:
    """First the sweep is killed: its run goes on, and is left to itself. Then the run: a third sweep continues it."""
    overrides = {**QUICK, "t_max": 10**6, "save_model_interval": 200}
    command = [experiment_file(tmp_path, overrides=overrides), f"--results={tmp_path}", "--workers=1"]
    store, state = FileStore(tmp_path / "sacred"), tmp_path / "sacred" / "1" / "checkpoints" / RESUME
    first = sweep_process(command)
    deadline = time.monotonic() + 240
    while not state.exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (child,) = psutil.Process(first.pid).children()
    first.kill()
    first.wait()
    assert sweep_process(command).wait(timeout=120) == LEFT_OUT
    assert store.get(1).status == "RUNNING"
    child.kill()
    child.wait()
    third = sweep_process(command)
    while len(store.ids()) < 2 or store.get(2).resumed is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert store.get(1).status == "DEAD"
    third.send_signal(signal.SIGINT)
    assert third.wait(timeout=120) == 130
    assert [record.status for record in store.list()] == ["DEAD", "INTERRUPTED"]


@pytest.mark.slow
def test_interrupted_sweep_continues_its_runs(tmp_path: Path) -> None:
    name = experiment_file(tmp_path, overrides={**QUICK, "t_max": 8000, "test_interval": 4000})
    command = [sys.executable, str(SWEEP), name, f"--results={tmp_path}", "--workers=1"]
    store = FileStore(tmp_path / "sacred")
    interrupt_when_training(subprocess.Popen(command), store)
    assert [record.status for record in store.list()] == ["INTERRUPTED"]
    assert subprocess.run(command, check=False).returncode == 0
    assert [record.status for record in store.list()] == ["INTERRUPTED", "COMPLETED"]
    assert store.get(2).resumed is not None
    steps = store.metrics(2)["test_return_mean"].steps
    assert steps[0] == 0
    assert steps[-1] >= 8000


def interrupt_when_training(process: subprocess.Popen[bytes], store: FileStore) -> None:
    """Ctrl-C for the sweep alone once its run has recorded a metric."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(store.own_metrics(run_id) for run_id in store.ids()):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130


@pytest.mark.slow
def test_sweep_on_a_ray_cluster_of_two_nodes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements-cluster.txt")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        name = experiment_file(tmp_path, seeds=[1, 2], overrides={**QUICK, "t_max": 8000, "test_interval": 4000})
        command = [sys.executable, str(SWEEP), name, f"--results={tmp_path}", f"--ray={cluster.address}"]
        store = FileStore(tmp_path / "sacred")
        interrupt_when_training(subprocess.Popen(command), store)
        assert {record.status for record in store.list()} == {"INTERRUPTED"}
        n_interrupted = len(store.ids())
        assert subprocess.run(command, check=False).returncode == 0
        completed = store.list(status="COMPLETED")
        assert len(completed) == 2
        assert sum("resumed_from" in record.info for record in completed) == n_interrupted
    finally:
        cluster.shutdown()


def test_ray_without_ray_or_a_cluster_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**arguments: object) -> None:
        raise ConnectionError

    command = [experiment_file(tmp_path), "--ray=auto", f"--results={tmp_path / 'results'}"]
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(command) == 2
    assert "--ray needs the package ray: .venv/bin/pip install -r requirements-cluster.txt" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    assert main(command) == 2
    assert "--ray auto: no cluster answers. Start one with: ray start --head" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("lr_finish", [0.5, 1.0])
def test_a_run_that_was_made_longer_is_the_long_one_only_where_its_learning_rate_never_knew(
    lr_finish: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {key: value for key, value in QUICK.items() if key != "learning_starts"}
    keys |= {"regime": "rollout", "save_replay": "always", "lr_finish": lr_finish, "test_interval": 4000}
    file = experiment_file(tmp_path, overrides={**keys, "t_max": 4000})
    results = f"local_results_path={tmp_path / 'results'}"
    words = [word(key, value) for key, value in {**keys, "t_max": 2000, "seed": 1}.items()]
    assert train(["--config=iql", "--env-config=bar", "with", results, *words]) == 0
    assert train([f"--resume={tmp_path / 'results/sacred/1'}", "with", "t_max=4000", results]) == 0
    (run,) = plan(*load_experiment(file), tmp_path / "results")
    assert identity(FileStore(tmp_path / "results/sacred").get(2).config) == run.identity
    capsys.readouterr()
    assert main([file, "--dry-run", "--results", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out.startswith("finished as run 2" if lr_finish == 1.0 else "start")
    words = ["--experiment", file, "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert report.main(words) == (0 if lr_finish == 1.0 else 2)
