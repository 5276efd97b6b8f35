"""Runs from Python, for scripts and notebooks: train, continue, evaluate, film and compare.

A run is played and recorded by the code behind ``src/main.py``, so both give the same numbers and the same records.
What cannot be run raises `utils.errors.InputError`, whose text says what to do.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from analysis.collect import arrange, curves_of
from analysis.comparison import RETURN, results_table
from analysis.tables import Table
from config.loader import Layer, named_layer, parse_overrides, stacked
from config.schema import ConfigError
from config.trust import NOTHING, Trust
from envs.base import Env
from experiments.evaluation import Evaluation
from experiments.video import film
from launch import Job, prepared
from records.checkpoint import find_run
from records.files import Curve, RecordError
from records.query import flatten
from records.store import FileStore, RunRecord
from request import Request
from utils.cli import say
from utils.errors import InputError
from utils.paths import default_results
from utils.processes import ALONE
from utils.signals import Stopped
from utils.words import word

# Configuration keys, nested or with dots: {"lr": 0.001, "env_args": {"n_agents": 40}}. Values may be numpy's, or paths.
Overrides = Mapping[str, Any]
NONE: Overrides = MappingProxyType({})


@dataclass(frozen=True)
class Run:
    """A recorded run."""

    folder: Path
    trust: Trust = NOTHING  # what its record may import beside this project's code

    @property
    def record(self) -> RunRecord:
        """Its configuration, status, versions, times and machine, as they are on disk now.

        Raises RecordError for a folder that is not named by the run's id, as `curves` does.
        """
        return FileStore(self.folder.parent).get(self._id)

    def curves(self, *metrics: str) -> dict[str, Curve]:
        """Read metric -> steps, values and times, all or the named ones, with those of the runs that it continues.

        Raises RecordError for a name that the run never logged.
        """
        return dict(FileStore(self.folder.parent).metrics(self._id, metrics or None))

    @property
    def _id(self) -> int:
        if not self.folder.name.isdecimal():
            raise RecordError(f"run: expected a folder named by the run's id, got {self.folder}. Name it so again.")
        return int(self.folder.name)

    def evaluate(
        self, overrides: Overrides = NONE, *, step: int | str = "newest", episodes: int = 16, seed: int = 0
    ) -> dict[str, dict[str, float]]:
        """Play greedy episodes as ``src/evaluate.py`` does: side -> statistic -> mean, also recorded with the run.

        ``overrides`` change ``env_args`` alone; ``step``: that of a checkpoint, ``best`` or ``newest``; ``episodes``:
        of each side, where an environment has sides. Raises InputError for what cannot be played.
        """
        return self._evaluation(overrides, step, episodes, seed).play()

    def video(
        self,
        path: Path | str,
        overrides: Overrides = NONE,
        *,
        step: int | str = "newest",
        seed: int = 0,
        colour: str = "side",
        fps: int = 12,
        every: int = 1,
    ) -> Path:
        """Write every ``every``-th picture of one greedy episode as .gif, .mp4, .png (one sheet) or folder.

        ``colour``: ``side``, ``group`` or ``attention``. Returns the path. Raises InputError for what cannot be played
        or drawn.
        """
        fps, every = _whole("fps", fps, 1), _whole("every", every, 1)
        film(self._evaluation(overrides, step, 1, seed), Path(path), colour, fps, every)
        return Path(path)

    def resume(self, overrides: Overrides = NONE) -> Run:
        """Continue exactly where the run stopped, as ``--resume`` does: a new run that continues this one.

        It is recorded beside this one. ``overrides`` may change keys that change nothing learned, such as ``t_max``.
        Raises InputError for a run that kept no state, and KeyboardInterrupt when asked to stop, after saving.
        """
        beside = {"local_results_path": str(self.folder.parent.parent)}
        given = Layer("overrides", {**beside, **_given(overrides)})
        return _play(Request.further(str(self.folder), given, self.trust))

    def _evaluation(self, overrides: Overrides, step: int | str, episodes: int, seed: int) -> Evaluation:
        episodes, seed = _whole("episodes", episodes, 1), _whole("seed", seed, 0)
        return Evaluation.of_run(self.folder, str(step), _words(overrides), episodes, seed, self.trust)


def train(
    config: str | Path,
    env: str | Path | type[Env] | Callable[..., Any],
    overrides: Overrides = NONE,
    *,
    results: Path | str | None = None,
) -> Run:
    """Train as ``src/main.py --config=CONFIG --env-config=ENV with OVERRIDES`` does, and return the recorded run.

    ``config``: a file of src/config/algs, or a path ending in .yaml. ``env``: likewise of src/config/envs; or a
    subclass of `envs.base.Env`; or a function that makes a PettingZoo parallel environment, that of a library
    (``simple_spread_v3.parallel_env``) included; either of the two with arguments by `functools.partial`.
    ``results``: the folder to record in, where main.py records if None.

    Raises InputError for what cannot be run, before anything is written, RecordError when a part of the record is not
    on disk at the end, and KeyboardInterrupt when asked to stop, after saving.
    """
    place = {} if results is None else {"local_results_path": str(results)}
    given = Layer("overrides", {**_given(overrides), **place})
    return _play(Request.fresh(stacked(env_layer(env), str(config), given)))


def load(run: int | str | Path, *, results: Path | str | None = None, trust: str | Sequence[str] = ()) -> Run:
    """Find a recorded run by its id in the folder ``results`` (main.py's if None), or by its own folder.

    ``trust``: foreign modules and classes that its record may import, or the only one. Raises CheckpointError for
    a run that is not there.
    """
    folder = find_run(str(run), default_results() if results is None else Path(results))
    return Run(folder.resolve(), Trust(frozenset([trust] if isinstance(trust, str) else trust)))


def compare(runs: Sequence[Run], metric: str = RETURN) -> Table:
    """Tabulate ``metric`` of runs that are recorded in one folder: a row per task and method, over seeds.

    Its ``markdown()``, ``csv()`` and ``latex()`` are text. Raises RecordError for runs of several folders, and for one
    that never logged the metric.
    """
    places = {run.folder.parent.resolve() for run in runs}
    if len(places) != 1:
        raise RecordError(
            f"compare: expected runs that are recorded in one folder, got {len(places)} folders. Train them with the "
            "same results=..., or copy them into one."
        )
    store, records = FileStore(places.pop()), [run.record for run in runs]
    curves, errors = curves_of(store, records, metric)
    if errors:
        raise errors[0]
    return results_table(arrange(records, curves, {}), metric)


def env_layer(env: str | Path | type[Env] | Callable[..., Any]) -> Layer:
    """Make the layer of configuration that ``env``, as of `train`, stands for. Raises ConfigError."""
    if isinstance(env, str | Path):
        return named_layer("envs", str(env))
    made, arguments = (env.func, _plain(env.keywords)) if isinstance(env, partial) else (env, {})
    if isinstance(env, partial) and env.args:
        raise ConfigError(f"env: expected arguments by keyword, got {env.args}. Write partial(CLASS, name=value).")
    if not callable(made):
        raise ConfigError(
            f"env: expected a name, a class or a function that makes a PettingZoo environment, got an object of "
            f"{type(made).__name__}. A run plays many copies: give the class, with its arguments by functools.partial."
        )
    path = _importable(made)
    if isinstance(made, type) and issubclass(made, Env):
        return Layer("env", {"env": path, "env_args": arguments})
    imported = named_layer("envs", "pettingzoo").values
    return Layer("env", {**imported, "env_args": {**imported["env_args"], "entry": path, "kwargs": arguments}})


def _importable(made: Callable[..., Any]) -> str:
    """Name what a record says to make ``made`` again: ``module:name``, or the game's module for a parallel_env.

    The parallel_env of many libraries is defined inside another function; modules hold it. Raises ConfigError.
    """
    module, name = getattr(made, "__module__", ""), getattr(made, "__qualname__", "")
    if getattr(sys.modules.get(module), name, None) is made:
        return f"{module}:{name}"
    games = [game for game, held in [*sys.modules.items()] if getattr(held, "parallel_env", None) is made]
    games = [game for game in games if game != "__main__"]
    if not games:
        raise ConfigError(
            f"env: expected something that its module holds under its own name, got {made}. Define it at the top of a "
            "module, a script or a notebook."
        )
    return min(games, key=len)  # mpe2.simple_spread_v3 before mpe2.simple_spread.simple_spread


def _words(overrides: Overrides) -> list[str]:
    """Write overrides as words of a command line. Raises InputError for what it cannot say."""
    if not isinstance(overrides, Mapping):
        raise InputError(f"overrides: expected a dictionary such as {{'lr': 0.001}}, got {type(overrides).__name__}.")
    return [_word(key, value) for key, value in flatten(overrides).items()]


def _word(key: str, value: Any) -> str:
    try:
        return word(key, _plain(value))
    except yaml.YAMLError as error:
        raise InputError(
            f"overrides: {key} expects numbers, texts, or lists or dictionaries of them, got an object of "
            f"{type(value).__name__}. Give what YAML can hold."
        ) from error


def _plain(value: Any) -> Any:
    """Return numbers of numpy as Python's, and paths as text, within lists and mappings too."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _whole(name: str, value: Any, low: int) -> int:
    """Return ``value`` as a Python int. Raises InputError for what is no whole number of at least ``low``."""
    if not isinstance(value, int | np.integer) or value < low:
        raise InputError(f"{name}: expected a whole number of at least {low}, got {value!r}.")
    return int(value)


def _given(overrides: Overrides) -> dict[str, Any]:
    return parse_overrides(_words(overrides)).values


def _play(request: Request) -> Run:
    """Play the whole run. Raises as `train` does."""
    if threading.current_thread() is not threading.main_thread():
        raise InputError("train: expected the main thread, which gets Ctrl-C, got another. Train in a process instead.")
    job = prepared(lambda: request, ALONE)
    assert isinstance(job, Job)  # alone, this is the process that records
    try:
        job.run()
    except (Stopped, KeyboardInterrupt):
        kept = "what resume() needs is kept" if job.continuable else "nothing was saved to continue from"
        say(f"interrupted; {kept}")
        raise KeyboardInterrupt from None
    finally:
        job.close()
    if job.observer.failed:
        raise RecordError(job.observer.summary())
    return Run(job.observer.run_dir.resolve(), request.config.trust)
