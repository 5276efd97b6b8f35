"""From what a command line asks for to a recorded run, and its end. The only file that imports Sacred's Experiment."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import build
from assembly.saved import team_of
from config.schema import Config
from records import checkpoint
from records.files import read_json
from records.ids import check_writable
from records.index import RunIndex, task_key
from records.mongo import MongoCopy, MongoStore
from records.observer import FileObserver
from records.query import env_title, flatten
from records.sources import changed, digests
from records.store import FileStore
from records.tracker import require_trackers
from records.tracking import Tracking
from request import Request
from run import Record, Trainer, Unrecorded, evaluate_once
from side import Side
from utils.cli import BAD_INPUT, COPY_INCOMPLETE, FAILED, INTERRUPTED, RECORDING_FAILED, close_output, refuse, say
from utils.errors import InputError
from utils.processes import Processes, ProcessLost
from utils.progress import clock
from utils.sacred import SETTINGS, Experiment, Run, RunObserver
from utils.signals import Stopped, StopRequest
from utils.words import amount

SETTINGS.CAPTURE_MODE = "sys"  # "fd" loses the end of the output
SETTINGS.CONFIG.READ_ONLY_CONFIG = True
SETTINGS.HOST_INFO.CAPTURED_ENV = []
SETTINGS.DISCOVER_SOURCES = "none"
SETTINGS.DISCOVER_DEPENDENCIES = "none"

BEAT_SECONDS = 2  # at most this much of the metrics is lost by kill -9


@dataclass(frozen=True)
class Resumed:
    """The run to continue."""

    folder: Path
    started: str | None  # start_time of its record
    t_env: int
    state: dict[str, Any]  # of `Trainer.state_dict`

    @classmethod
    def read(cls, folder: Path, n_processes: int | None, t_max: int) -> Resumed:
        """Read the run in ``folder``. Raises CheckpointError, also where ``n_processes`` or ``t_max`` do not fit it.

        ``n_processes``: None for any, where nothing will be played.
        """
        # To the CPU, where random streams and engines live; networks and memories move to their device.
        state = checkpoint.load(folder / "checkpoints" / checkpoint.RESUME, torch.device("cpu"))
        expected = 1 + len(state.get("others", []))
        if n_processes not in (expected, None):
            raise checkpoint.CheckpointError(
                f"--resume: expected the number of processes that {folder} was played by, {expected}, got "
                f"{n_processes}. Start with: {launcher(expected)} src/main.py --resume={shlex.quote(str(folder))}"
            )
        record, planned = read_json(folder / "run.json"), read_json(folder / "config.json").get("t_max")
        counters = state.get("counters")
        step = counters.get("t_env") if isinstance(counters, dict) else None
        t_env = step if isinstance(step, int) else 0  # what is broken in a state is told later
        ended = record.get("status") == "COMPLETED" or t_max != planned  # else its last evaluation may be left
        if ended and t_env >= t_max:
            raise checkpoint.CheckpointError(
                f"--resume: expected a t_max above {t_env:,}, the step at which {folder} stands, got {t_max:,}. "
                f"Nothing is left to train until there; go on with: python src/main.py "
                f"--resume={shlex.quote(str(folder))} with t_max=STEPS"
            )
        return cls(folder, record.get("start_time"), t_env, state)


def recorders(request: Request) -> tuple[FileObserver, list[MongoCopy | Tracking]]:
    """Make the observer that records a run as files, and those of its copies: in a database, in trackers.

    Raises RecordError for what is no MongoDB URL, and where no run could be recorded.
    """
    results = Path(request.config.local_results_path) / "sacred"
    copy = MongoCopy(MongoStore.at(request.mongo_url), results) if request.mongo_url else None
    files = FileObserver(results) if copy is None else FileObserver(results, copy.first_id(), copy.claim)
    check_writable(results)
    trackings = [Tracking(kind, Path(request.config.local_results_path)) for kind in require_trackers(request.config)]
    return files, [*([copy] if copy else []), *trackings]


def experiment(
    system: build.System,
    notes: Sequence[str],
    observer: FileObserver,
    observers: list[RunObserver],
    resumed: Resumed | None,
    stop: StopRequest,
) -> Experiment:
    """Make the Sacred experiment of one run, which says ``notes`` first; ``observers`` record it until ``stop``."""
    config = system.config
    title = f"{config.name} {env_title(flatten(config.to_dict()))}"  # what lists of runs show
    ex = Experiment(title, save_git_info=False)
    ex.logger = logging.getLogger("hmf")  # type: ignore[assignment]
    ex.add_config(config.to_dict())
    ex.observers.extend(observers)

    @ex.main
    def main(_run: Run) -> float | None:
        for note in notes:
            say(note)
        info = system.mac.info
        for line in headlines(system):
            say(line)
        say(f"run {_run._id}: {observer.run_dir}")
        observer.add_info(
            resolved={
                "device": str(system.device),
                "n_agents": info.n_agents,
                "n_actions": info.n_actions,
                "replay_ratio": system.regime.replay_ratio,
                "processes": system.processes.size,
            },
            sources=digests(config.to_dict()),
        )
        try:
            return work()
        except BaseException:
            _run._stop_heartbeat()  # one last beat: Sacred's own comes after it has closed the captured output
            raise

    def work() -> float | None:
        if config.evaluate:
            return evaluate_once(system, observer, stop)
        trainer = started(system, observer, resumed, stop)
        observer.add_info(cpu_seconds=trainer.cpu_seconds)  # a list that grows
        if system.league is not None:
            observer.add_info(league=system.league.games)  # likewise
        if resumed is not None:
            parent, t_env = resumed.folder, trainer.counters.t_env
            observer.add_info(resumed_from=int(parent.name), resumed_start=resumed.started, resumed_at=t_env)
            say(f"resumed from run {parent.name} at step {t_env:,}")
            for module in changed(read_json(parent / "info.json"), config.to_dict()):
                say(f"note: {module} is not what run {parent.name} was made with: its file has changed.")
            if parent.resolve().parent != observer.results_dir.resolve():
                say(f"note: that run is in {parent.parent}; where both runs are in one folder, their curves are one.")
        return trainer.train()

    return ex


def headlines(system: build.System) -> list[str]:
    """Say what is trained: a line, and one more for each team of enemies that learn."""
    config, n_processes = system.config, system.processes.size
    together = "at once" if n_processes == 1 else f"at once in each of {n_processes} processes"
    run = f"{config.batch_size_run} environments {together}, seed {config.seed}, "
    lines = [f"{config.name} on {system.mac.info.name}: {_population(system.side, run)}, on {system.device}"]
    for prefix, side in system.enemies.items():
        team = team_of(prefix)
        lines.append(f"against {team}{team and ', '}{side.config.name}, which learns too: {_population(side)}")
    return lines


def _population(side: Side, run: str = "") -> str:
    info = side.mac.info
    count = sum(parameter.numel() for parameter in side.learner.parameters)
    played = f"{amount(info.n_agents, 'agent')}, {info.n_actions} actions, observations {tuple(info.obs_shape)}"
    return f"{played}, {run}{count:,} parameters"


def announced(request: Request, system: build.System) -> list[str]:
    """List what a person should know before the run."""
    notes = [*request.notes, *system.notes]
    if request.config.save_replay == "running" and not request.config.evaluate:
        notes.append("once complete it cannot be trained further; save_replay=always keeps what --resume needs")
    return notes


def preview(request: Request) -> None:
    """Say what would be run, and write nothing. Raises InputError for what cannot be."""
    config, source = request.config, request.resume_from
    results = Path(config.local_results_path) / "sacred"
    recorders(request)
    system = build.build(config, source is not None)
    try:
        resumed = None if source is None else Resumed.read(source, None, config.t_max)
        for line in (*announced(request, system), *headlines(system)):
            say(line)
    finally:
        system.close()
    say(f"nothing was started or written; it would be {_planned(config, resumed, results)}, recorded in {results}")


def _planned(config: Config, resumed: Resumed | None, results: Path) -> str:
    """Say what a run of ``config`` would play, and how long runs like it took that are recorded in ``results``."""
    if config.evaluate:
        return f"{config.test_nepisode:,} episodes, without training"
    left = max(0, config.t_max - (resumed.t_env if resumed else 0))  # 0: an evaluation is left
    seconds = RunIndex(FileStore(results)).seconds_per_step().get(task_key(config.to_dict()))
    cost = "no recorded run tells how long that takes" if seconds is None else f"about {clock(seconds * left)}"
    whence = f" from step {resumed.t_env:,} of run {resumed.folder.name} on" if resumed else ""
    return f"{left:,} steps{whence} ({cost})"


def started(system: build.System, record: Record, resumed: Resumed | None, stop: StopRequest) -> Trainer:
    """Make the training loop, where ``resumed`` stopped if given, whose state is used up. Raises CheckpointError."""
    trainer = Trainer(system, record, stop)
    if resumed is not None:
        trainer.resume(resumed.folder / "checkpoints", resumed.state)
        resumed.state.clear()  # it is as large as the replay
    return trainer


def accompany(system: build.System, resumed: Resumed | None) -> int:
    """Play and learn beside the first process, and leave all words to it."""
    code = 0
    try:
        with StopRequest() as stop:
            started(system, Unrecorded(), resumed, stop).train()
    except (Stopped, KeyboardInterrupt):
        code = INTERRUPTED
    except InputError as error:
        refuse(error)
        code = FAILED
    finally:
        system.close()
    return code


def launcher(n_processes: int) -> str:
    """Name what starts so many processes on one machine."""
    return "python" if n_processes == 1 else f"torchrun --nproc-per-node {n_processes}"


@dataclass(frozen=True)
class Job:
    """A run that is built and has somewhere to be recorded; nothing of it is written yet."""

    request: Request
    system: build.System
    resumed: Resumed | None
    observer: FileObserver
    copies: Sequence[MongoCopy | Tracking]

    def run(self) -> None:
        """Play the whole run. Raises Stopped or KeyboardInterrupt when asked to stop, and what goes wrong meanwhile."""
        with StopRequest() as stop:  # from before there is a record until after its last word
            notes = announced(self.request, self.system)
            ex = experiment(self.system, notes, self.observer, [self.observer, *self.copies], self.resumed, stop)
            ex.run(options={"--beat-interval": BEAT_SECONDS})
        if self.request.config.save_replay != "always" and not self.observer.failed:  # only now it says COMPLETED
            checkpoint.remove_resume(self.observer.run_dir / "checkpoints")

    def close(self) -> None:
        """Release the environments, and say where the run is recorded."""
        self.system.close()
        say(self.observer.summary())
        close_output()

    @property
    def continuable(self) -> bool:
        """Whether a state to continue from is on disk."""
        observer = self.observer
        return observer.run_id is not None and (observer.run_dir / "checkpoints" / checkpoint.RESUME).exists()


def prepared(read: Callable[[], Request], processes: Processes) -> Job | tuple[build.System, Resumed | None]:
    """Build, in each process, the run that the first is asked for; all but the first get its parts, and no record.

    Raises InputError for what cannot be run, before anything is written, and ProcessLost.
    """
    request = processes.from_first(read)
    source = request.resume_from
    system = processes.together(lambda: build.build(request.config, source is not None, processes))
    resumed = processes.from_first(
        lambda: None if source is None else Resumed.read(source, processes.size, request.config.t_max)
    )
    found = processes.together(lambda: recorders(request) if processes.first else None)
    return (system, resumed) if found is None else Job(request, system, resumed, *found)


def launch(read: Callable[[], Request]) -> int:
    """Play a whole run of what ``read`` returns, which the first process calls.

    Returns 0, or 2 for bad input (one line, nothing written), 3 if recording failed, 130 if interrupted; 1 if it failed
    on the way: in one line what a person can mend, with a traceback a mistake in the code; 5 if all is well but a
    copy, in the database or a tracker, which lacks a part of the run.
    """
    try:
        processes = Processes.join()
    except InputError as error:
        return refuse(error)
    try:
        job = prepared(read, processes)
    except InputError as error:
        if processes.first:
            refuse(error)
        processes.leave()
        return BAD_INPUT
    except (ProcessLost, KeyboardInterrupt) as error:
        reason = f" ({error})" if str(error) else ""
        say(f"interrupted{reason}; nothing was recorded.")
        return INTERRUPTED
    if not isinstance(job, Job):
        return accompany(*job)
    code = 0
    try:
        job.run()
    except (Stopped, KeyboardInterrupt) as error:
        code = INTERRUPTED
        reason = f" ({error})" if str(error) else ""
        say(f"interrupted{reason}; {_how_to_continue(job, processes.size)}")
    except InputError as error:
        refuse(error)
        code = FAILED
    finally:
        job.close()
    if job.observer.failed:
        return RECORDING_FAILED
    return code or (0 if all(copy.complete for copy in job.copies) else COPY_INCOMPLETE)


def _how_to_continue(job: Job, n_processes: int) -> str:
    if not job.continuable:
        return "nothing was saved to continue from."
    trust = job.request.config.trust
    words = shlex.join(["src/main.py", f"--resume={job.observer.run_dir}", *trust.words()])
    return f"continue with: {launcher(n_processes)} {words}"
