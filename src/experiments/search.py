"""A search: trials of hyper-parameters by Optuna, each one or more recorded runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError

from analysis.collect import score
from analysis.tables import Cell, Table
from assembly.parts import make_env, make_mac
from config.schema import ConfigError
from experiments.evaluation import statistics
from experiments.plan import PlannedRun, plan_run
from experiments.space import Space
from experiments.sweep import Sweep
from experiments.workers import LocalWorkers
from records.index import RunIndex
from records.query import flatten
from records.store import FileStore
from utils.errors import InputError
from utils.lock import Lock
from utils.words import amount, from_yaml, nearest, to_yaml, word

ENDED = (TrialState.COMPLETE, TrialState.FAIL)
DATABASE = "search.db"
RANGE_KEYS = {"low", "high", "log", "step"}
SHARED, DROPPED = "shared", "dropped"  # attributes of a study: what its trials share, numbers of those that never count


def distribution(key: str, given: Any, where: str) -> BaseDistribution:
    """Make Optuna's form of one entry of ``space``; choices travel as YAML text. Raises ConfigError."""
    if isinstance(given, list) and given:
        return CategoricalDistribution([to_yaml(value) for value in given])
    if isinstance(given, dict) and {"low", "high"} <= given.keys() <= RANGE_KEYS:
        bounds = (given["low"], given["high"])
        for name in ("low", "high", "step"):
            if name in given and (type(given[name]) not in (int, float) or not abs(given[name]) < math.inf):
                raise ConfigError(
                    f"{where}: space.{key}.{name} expects a number such as 3, 0.001 or 1e-3, got {given[name]!r}. "
                    "Write one."
                )
        kind = IntDistribution if all(type(bound) is int for bound in bounds) else FloatDistribution
        if kind is IntDistribution and type(given.get("step", 1)) is not int:
            raise ConfigError(
                f"{where}: space.{key}.step expects a whole number, as low and high are, got {given['step']!r}. "
                "Write low and high with a point (1.0) for fractions."
            )
        options = {name: value for name, value in given.items() if name in ("log", "step")}
        try:
            return kind(*bounds, **options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: space.{key}: {error}") from error
    raise ConfigError(
        f"{where}: space.{key} expects a list of values or {{low, high}} with log: true or step, got {given!r}."
    )


def draws(given: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution can draw ``value``."""
    if isinstance(given, (FloatDistribution, IntDistribution)):
        steps = (value - given.low) / given.step if given.step else 0.0
        return given.low <= value <= given.high and abs(steps - round(steps)) < 1e-8
    return isinstance(given, CategoricalDistribution) and value in given.choices


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """List the trials that count: the completed ones, and those whose runs failed."""
    dropped = study.user_attrs.get(DROPPED, [])
    return [trial for trial in study.get_trials(states=ENDED) if trial.number not in dropped]


def drop(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    """Drop a trial: it ends without a value and does not count, so that another takes its place."""
    study.set_user_attr(DROPPED, [*study.user_attrs.get(DROPPED, []), trial.number])
    study.tell(trial.number, state=TrialState.FAIL)
    print(f"{study.study_name} trial {trial.number}: left out, {why}, {trial.params}", flush=True)


@contextmanager
def database(folder: Path) -> Iterator[None]:
    """Raise InputError where the database of the studies, in ``folder``, cannot be read or written."""
    try:
        yield
    except (OperationalError, StorageInternalError) as error:
        reason = str(error.__cause__).partition("\n")[0]  # SQLite's words: below them are those of SQLAlchemy
        raise InputError(
            f"search: cannot read and write {folder / DATABASE} ({reason}). Free space there, or mend its rights; the "
            "same command continues."
        ) from error


class Search:
    """The studies of one space file."""

    def __init__(self, space: Space, where: str, results: Path, folder: Path) -> None:
        self.space, self.where, self.results, self.folder = space, where, results, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = f"sqlite:///{folder / DATABASE}"
        self.index = RunIndex(FileStore(results / "sacred"))
        distributions = {key: distribution(key, given, where) for key, given in space.space.items()}
        self.distributions = {
            algorithm: {key: found for key, found in distributions.items() if self.reads(algorithm, key)}
            for algorithm in space.algorithms
        }
        for key in distributions:
            if not any(key in found for found in self.distributions.values()):
                raise ConfigError(f"{where}: no algorithm of this search reads space.{key}. Remove it.")
        for algorithm, keys in space.own.items():
            if algorithm not in self.distributions:
                known = ", ".join(space.algorithms)
                raise ConfigError(f"{where}: own.{algorithm}: expected an algorithm of this search, one of {known}.")
            for key, given in keys.items():
                if not self.reads(algorithm, key):
                    raise ConfigError(f"{where}: own.{algorithm}.{key}: {algorithm} does not read it. Remove it.")
                self.distributions[algorithm][key] = distribution(key, given, where)
        self.check_metric()
        self.shared = {
            **{key: getattr(space, key) for key in ("environment", "metric", "score")},
            "seeds": sorted(space.seeds),
            **{f"overrides.{key}": value for key, value in flatten(space.overrides).items()},
        }

    def check_metric(self) -> None:
        """Raise ConfigError for a metric that no episode has; a short one shows which there are."""
        algorithm = self.space.algorithms[0]
        short = {"episode_limit": 1, "opponent": "random"}  # who plays the enemies changes no names
        given = {f"test_env_args.{key}": short[key] for key in short if self.reads(algorithm, f"env_args.{key}")}
        config = self.plan(algorithm, {"use_cuda": False, **given})[0].config
        env = make_env(config, 1, test=True)
        names = statistics(config, make_mac(config, env.info), 1, seed=0)
        env.close()
        known = [*(f"test_{name}" for name in names), *names]
        if self.space.metric not in known:
            raise ConfigError(
                f"{self.where}: metric expects a statistic of episodes, got '{self.space.metric}'."
                f"{nearest(self.space.metric, known)} Known: {', '.join(names)}; of evaluations, with test_ in front."
            )

    def reads(self, algorithm: str, key: str) -> bool:
        """Return whether a key of the space is one of the algorithm's."""
        config = self.plan(algorithm, {})[0].config
        return any(f"{found}.".startswith(f"{key}.") for found in flatten(config.to_dict()))

    def study(self, algorithm: str) -> optuna.Study:
        """Open the recorded study of one algorithm, or a new one.

        Raises ConfigError where trials that ended are of another search, whose file may have the same name.
        """
        study = self.opened(algorithm)
        if differences := self.differences(study):
            if ended(study):
                raise ConfigError(
                    f"{self.where}: expected what the trials of {algorithm} in {self.folder} have, "
                    f"{'; '.join(differences)}. Of a search that has trials, low and high may change, and keys and "
                    "algorithms may be added. Undo the rest, or rename the file, which begins another search."
                )
            optuna.delete_study(study_name=algorithm, storage=self.storage)  # nothing was measured yet
            study = self.opened(algorithm)
        if SHARED not in study.user_attrs:  # a new study, or one from before this was recorded
            study.set_user_attr(SHARED, self.shared)
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))  # a continued study draws on, not again
        return study

    def opened(self, algorithm: str) -> optuna.Study:
        """Open the study of one algorithm as it was left; see `study`."""
        return optuna.create_study(
            storage=self.storage, study_name=algorithm, direction="maximize", load_if_exists=True
        )

    def differences(self, study: optuna.Study) -> list[str]:
        """List, for a message, where this search differs from the one that a study was recorded by."""
        recorded = study.user_attrs.get(SHARED, self.shared)
        keys = [key for key in {**recorded, **self.shared} if recorded.get(key) != self.shared.get(key)]
        found = [(key, to_yaml(recorded.get(key)), to_yaml(self.shared.get(key))) for key in keys]
        drawn = {key: old for trial in study.trials for key, old in trial.distributions.items()}
        for key, new in self.distributions[study.study_name].items():
            try:
                check_distribution_compatibility(drawn.get(key, new), new)
            except ValueError:  # Optuna's, which would come when a trial is half made
                found.append((f"space.{key}", _written(drawn[key]), _written(new)))
        return [f"{key} {old}, got {new}" for key, old, new in found]

    def plan(self, algorithm: str, parameters: Mapping[str, Any]) -> list[PlannedRun]:
        """Plan the runs of one trial."""
        values = {key: from_yaml(value) if isinstance(value, str) else value for key, value in parameters.items()}
        method = " ".join([algorithm, *(word(*item) for item in values.items())])
        return [
            plan_run(
                algorithm,
                self.space.environment,
                {**flatten(self.space.overrides), **values, "seed": seed, "local_results_path": str(self.results)},
                self.where,
                method,
            )
            for seed in self.space.seeds
        ]

    def next_trials(self, study: optuna.Study, algorithm: str, n: int) -> list[FrozenTrial]:
        """Take trials that an interrupted search left open, then new ones.

        Drops open ones that the space, which may have changed since, could not draw.
        """
        space, opened = self.distributions[algorithm], list[FrozenTrial]()
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            if trial.params.keys() == space.keys() and all(draws(space[key], trial.params[key]) for key in space):
                opened.append(trial)
            else:
                drop(study, trial, "not of this space")
        new = [study.ask(space).number for _ in range(n - len(opened))]
        return [*opened[:n], *(study.trials[number] for number in new)]

    def planned(self, study: optuna.Study, trial: FrozenTrial) -> list[PlannedRun]:
        """Plan the runs of a trial; drop it, else it would come again, and raise ConfigError where they cannot run."""
        try:
            return self.plan(study.study_name, trial.params)
        except ConfigError:
            drop(study, trial, "cannot run")
            raise

    def execute(self, n_trials: int, n_workers: int) -> None:
        """Bring every method to ``n_trials``, all of them side by side, so that a search that is stopped early has
        tuned them equally; raises KeyboardInterrupt after the running ones have saved, InputError where another
        process searches in this folder.
        """
        lock = Lock.take(self.folder / "search.lock")
        if lock is None:  # both would make the same database, draw the same trials and end each other's
            raise InputError(
                f"search: another process searches in {self.folder} at this moment. When it has ended, the same "
                "command continues."
            )
        try:
            self._execute(n_trials, n_workers)
        finally:
            lock.release()

    def _execute(self, n_trials: int, n_workers: int) -> None:
        studies = {algorithm: self.study(algorithm) for algorithm in self.space.algorithms}
        while left := self.left(studies, n_trials):
            at_once = max(n_workers // (len(self.space.seeds) * len(left)), 1)
            trials = [
                (studies[algorithm], trial, self.planned(studies[algorithm], trial))
                for algorithm, n in left.items()
                for trial in self.next_trials(studies[algorithm], algorithm, min(n, at_once))
            ]
            runs = [run for _, _, planned in trials for run in planned]
            sweep = Sweep(runs, self.index, LocalWorkers(n_workers), self.folder)
            sweep.execute()
            if sweep.left:
                raise InputError(
                    f"search: another process runs {sweep.left[0].run.label} at this moment. When it has ended, "
                    "the same command continues."
                )
            for study, trial, planned in trials:
                self.tell(study, trial, planned)

    @staticmethod
    def left(studies: Mapping[str, optuna.Study], n_trials: int) -> dict[str, int]:
        """Count how many trials each method that has not ended still lacks."""
        lacking = {name: n_trials - len(ended(study)) for name, study in studies.items()}
        return {name: n for name, n in lacking.items() if n > 0}

    def tell(self, study: optuna.Study, trial: FrozenTrial, runs: Sequence[PlannedRun]) -> None:
        """Record the value of a trial, or that one of its runs failed."""
        records = [self.index.finished(run.identity) for run in runs]
        values = [self.value(record.id) for record in records if record is not None]
        if len(values) < len(runs):
            study.tell(trial.number, state=TrialState.FAIL)
            print(f"{study.study_name} trial {trial.number}: failed, {trial.params}", flush=True)
            return
        value = sum(values) / len(values)
        study.tell(trial.number, value)
        print(f"{study.study_name} trial {trial.number}: {self.space.metric} {value:.4g}, {trial.params}", flush=True)

    def value(self, run_id: int) -> float:
        """Read the score of the searched metric. Raises RecordError when the run never logged it."""
        return score(self.index.store.metrics(run_id, [self.space.metric])[self.space.metric], self.space.score)

    def best(self) -> str:
        """Return the best trial of every method as YAML to copy from."""
        lines = []
        for algorithm in self.space.algorithms:
            study = self.study(algorithm)
            if not study.get_trials(states=[TrialState.COMPLETE]):
                lines.append(f"{algorithm}: no trial completed")
                continue
            trial = study.best_trial
            words = " ".join(f"{key}={value}" for key, value in trial.params.items())
            ids = [
                record.id for run in self.plan(algorithm, trial.params) if (record := self.index.finished(run.identity))
            ]
            n = amount(len(ended(study)), "trial")
            lines.append(f"{algorithm}: {self.space.metric} {trial.value:.4g} (best of {n}, runs {ids}): {words}")
        return "\n".join(lines)

    def given(self) -> str:
        """Say how many trials every method was given: an earlier call may have asked for more."""
        counts = {algorithm: len(ended(self.study(algorithm))) for algorithm in self.space.algorithms}
        if len(set(counts.values())) == 1:
            return f"{amount(counts[self.space.algorithms[0]], 'trial')} of every method"
        return " and ".join(f"{amount(n, 'trial')} of {algorithm}" for algorithm, n in counts.items())

    def table(self) -> Table:
        """Tabulate the ended trials of every method, best first."""
        rows: list[list[Cell]] = []
        given = self.given()
        said = "Every method was given as many." if given.endswith("of every method") else f"There are {given}."
        for algorithm in self.space.algorithms:
            trials = ended(self.study(algorithm))
            ranked = sorted(trials, key=lambda trial: -math.inf if trial.value is None else trial.value, reverse=True)
            for trial in ranked:
                value = "failed" if trial.value is None else f"{trial.value:.4g}"
                parameters = (f"{key}={_short(value)}" for key, value in trial.params.items())
                rows.append([algorithm, trial.number, value, " ".join(parameters)])
        caption = (
            f"Trials of {Path(self.where).stem}: {self.space.metric} ({self.space.score}), mean over seeds "
            f"{', '.join(map(str, self.space.seeds))}; best first. {said}"
        )
        return Table(caption, ["method", "trial", "score", "keys"], rows)

    def comparison(self) -> dict[str, Any]:
        """Make the experiment that compares the best trials, with ``final``'s seeds and overrides: a file for sweep.py.

        Raises InputError when a method has no completed trial.
        """
        best = {}
        for algorithm in self.space.algorithms:
            study = self.study(algorithm)
            if not study.get_trials(states=[TrialState.COMPLETE]):
                raise InputError(f"search: no trial of {algorithm} completed, so there is nothing to compare it by.")
            parameters = study.best_trial.params.items()
            best[algorithm] = {key: from_yaml(value) if isinstance(value, str) else value for key, value in parameters}
        shared = {"algorithms": self.space.algorithms, "environments": [self.space.environment]}
        return {**shared, **self.space.final, "per_algorithm": best}


def _written(given: BaseDistribution) -> str:
    """Write a distribution as a space file has it."""
    if isinstance(given, CategoricalDistribution):
        return f"[{', '.join(map(str, given.choices))}]"
    assert isinstance(given, (FloatDistribution, IntDistribution))
    return to_yaml({"low": given.low, "high": given.high} | ({"log": True} if given.log else {}))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
