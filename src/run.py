"""The training loop, its checkpoints and its exact resume."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_origin, get_type_hints

from assembly.saved import policy_state
from build import System
from controllers.basic_controller import BasicMAC
from records import checkpoint
from records.saver import Saver
from side import Side, check_numbers
from utils import seeding
from utils.cli import say
from utils.errors import InputError
from utils.outage import Outage
from utils.processes import Ask
from utils.progress import Progress
from utils.signals import Stopped, StopRequest
from utils.version import made_by


class Record(Protocol):
    """Where a run is recorded."""

    saving: Outage  # of checkpoints

    @property
    def run_dir(self) -> Path:
        """Its folder."""

    def log_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point."""

    def flush(self) -> None:
        """Bring every point to the disk. Raises OSError."""


class Unrecorded:
    """The record of the processes beside the first, and of measurements."""

    run_dir = Path(os.devnull)
    saving = Outage("{error}", OSError)

    def log_scalar(self, name: str, value: float, step: int) -> None:
        """Drop the point."""

    def flush(self) -> None:
        """Write nothing."""


@dataclass
class Counters:
    """Where a run stands, beside its networks and streams."""

    t_env: int = 0
    tested: int = -1  # t_env // test_interval at the last evaluation; likewise below
    logged: int = 0
    saved: int = 0
    logged_at: int = 0  # t_env when metrics were last written
    best: float = float("-inf")


class Trainer:
    """Drives a `System` to ``t_max`` and records it."""

    def __init__(self, system: System, record: Record, stop: StopRequest) -> None:
        self.system, self.config, self.processes = system, system.config, system.processes
        self.record, self.stop = record, stop
        self.saver = Saver(record.run_dir / "checkpoints", record.saving, self.config.keep_checkpoints)
        self.counters = Counters()
        self.progress = Progress(self.config.t_max, live=self.processes.first)
        # (t_env, CPU seconds of the first process so far, without those of evaluations) at every evaluation and save.
        self.cpu_seconds: list[tuple[int, float]] = []
        self._cpu_began = time.process_time()

    def train(self) -> float:
        """Train to ``t_max``; return the last evaluation's mean return. Raises Stopped when asked to, after saving."""
        config, counters, system = self.config, self.counters, self.system
        self.progress.start(counters.t_env)
        while counters.t_env < config.t_max:
            if self._due("tested", config.test_interval) and self.evaluate() is None:
                counters.tested -= 1  # due again when the run is resumed
            stops, overdue = self.processes.total(self.stop.requested, self.saver.overdue)
            if stops:
                self._halt()
            counters.t_env += self.collect()
            self.learn()
            self.progress.draw(counters.t_env, system.learner.n_updates)
            if self._due("logged", config.log_interval):
                self.write_metrics()
                if counters.t_env < config.t_max:  # the last line comes after the last evaluation
                    self.progress.report(counters.t_env, system.learner.n_updates)
            if (self._due("saved", config.save_model_interval) or overdue) and counters.t_env < config.t_max:
                self.save()
        result = self.evaluate()
        if result is None:
            self._halt()
        self.save(completed=True)
        # After the save: a longer run goes on from that state as if this one had never ended here.
        if counters.logged_at < counters.t_env:
            self.write_metrics()
        self.processes.leave()
        self.progress.close(counters.t_env, system.learner.n_updates)
        return result

    def _halt(self) -> NoReturn:
        self.save()
        self.processes.leave()
        self.progress.close(self.counters.t_env, self.system.learner.n_updates)
        raise Stopped

    def _due(self, event: str, interval: int) -> bool:
        """Return true once whenever ``t_env`` has passed a multiple of ``interval``."""
        passed = self.counters.t_env // interval
        due = passed > getattr(self.counters, event)
        setattr(self.counters, event, passed)
        return due

    def collect(self) -> int:
        """Make one training step of every environment of every process; return the number of transitions made.

        The first process begins, so that groups have the same numbers everywhere.
        """
        system, first, begins = self.system, self.processes.first, self.counters.t_env == 0
        made = system.runner.collect(self.counters.t_env, system.rows) if first or not begins else 0
        self._adopt()
        if begins and not first:
            made = system.runner.collect(self.counters.t_env, system.rows)
        return self.processes.total(made)[0]

    def _adopt(self) -> None:
        """Take over, in all processes, what the first one's controller learned by playing."""
        mac, runner = self.system.mac, self.system.runner
        if self.processes.size == 1:
            return
        own = mac.common(runner.memory)
        if own:
            common = self.processes.from_first(lambda: own)
            if not self.processes.first:
                runner.memory = mac.adopt(runner.memory, common)

    def learn(self) -> None:
        """Make every update that is due; now and then the policy becomes a past one that it plays against."""
        counters, system = self.counters, self.system
        for side in system.sides.values():
            side.learn(counters.t_env)
        if system.league is not None and system.league.due(counters.t_env):
            system.league.add(counters.t_env, system.learner.acting())

    def write_metrics(self) -> None:
        """Log the means since the last call: training metrics over updates, episode statistics over episodes.

        Episodes are those of all processes, ``loss`` and ``grad_norm`` too; the rest is the first process's.
        """
        counters, system = self.counters, self.system
        counters.logged_at = counters.t_env
        for other in self.processes.gather(dict(system.runner.log.values))[1:]:
            system.runner.log.extend(other)
        episodes = {prefix: player.log.flush() for prefix, player in system.players.items()}
        if not self.processes.first:
            system.side.log.flush()
            return
        for prefix, player in system.players.items():
            means: dict[str, Any] = {**episodes[prefix], **player.mac.metrics(player.memory)}
            for name, value in means.items():
                self.record.log_scalar(f"{prefix}{name}", float(value), counters.t_env)
        for prefix, side in system.sides.items():
            self._write_updates(side, prefix)
        self.progress.returns.pop("return", None)
        if "return_mean" in episodes[""]:
            self.progress.note("return", episodes[""]["return_mean"])

    def _write_updates(self, side: Side, prefix: str) -> None:
        """Log what updates computed. Raises LearningError when that is no number any more; what was logged stays."""
        means, t_env = side.log.flush(), self.counters.t_env
        if means:
            for name, tensor in {**means, **side.diagnose(t_env, self.config.seed)}.items():
                self.record.log_scalar(f"{prefix}{name}", float(tensor), t_env)
        check_numbers(means, t_env, prefix)

    def evaluate(self) -> float | None:
        """Play greedy episodes of the policy that is exported, and of the online one if that is another.

        Returns the mean return of the exported one; None when asked to stop meanwhile. The first process plays them.
        """
        return self.processes.by_first(self._evaluate, lambda: self.stop.requested)

    def _evaluate(self, stop: Ask) -> float | None:
        config, counters, system = self.config, self.counters, self.system
        self._note_cpu()
        began = time.process_time()
        acting, *_ = [side.learner.acting() for side in system.sides.values()]  # brings averaged enemies up to date
        means = self._play(acting, stop)
        both = config.test_online and system.learner.average is not None
        online = self._play(system.mac, stop) if both and means else means
        self._cpu_began += time.process_time() - began
        if not means or not online:
            return None
        for name, value in means.items():
            self.record.log_scalar(f"test_{name}", value, counters.t_env)
        if both:
            self.record.log_scalar("test_online_return_mean", online["return_mean"], counters.t_env)
        result = means["return_mean"]
        self.progress.note("test", result, counters.t_env)
        if result > counters.best and config.save_model:
            counters.best = result
            self.saver.save_best(counters.t_env, self._networks(), result)
        return result

    def _play(self, mac: BasicMAC, stop: Ask) -> dict[str, float]:
        """Play one evaluation of ``mac``, the same episodes for all; return means, empty if asked to stop meanwhile."""
        runner, seed = self.system.test_runner, seeding.derive_seed(self.config.seed, "evaluation", self.counters.t_env)
        runner.mac = mac
        return runner.evaluate(seed, self.config.test_nepisode, stop)

    def _note_cpu(self) -> None:
        self.cpu_seconds.append((self.counters.t_env, time.process_time() - self._cpu_began))

    def _networks(self) -> dict[str, dict[str, Any]]:
        """Return what a checkpoint holds, by the names of its files."""
        files = {}
        for prefix, side in self.system.sides.items():
            files[f"{prefix}{checkpoint.POLICY}"] = policy_state(side.config, side.learner.acting())
            files[f"{prefix}{checkpoint.LEARNER}"] = side.learner.state_dict()
        return files

    def save(self, completed: bool = False) -> None:
        """Save the networks as a checkpoint of this step, and everything that exact resume needs.

        What was logged goes first: a resumed run does not log it again.
        """
        keep = self.config.save_replay
        state = self.state_dict() if keep == "always" or (keep == "running" and not completed) else None
        if not self.processes.first:
            return
        self._note_cpu()
        networks = self._networks() if self.config.save_model else None
        self.saver.save(self.counters.t_env, networks, state, first=self.record.flush)

    def resume(self, checkpoints: Path, state: dict[str, Any]) -> None:
        """Continue exactly where the run stopped whose ``checkpoints`` these are, and whose ``state`` they hold.

        Raises CheckpointError if that is no state of a run with this configuration.
        """
        try:
            self.load_state_dict(state)
        except InputError:
            raise
        except Exception as error:  # a state is data: whatever loading it raises, it is none of this run's
            raise checkpoint.CheckpointError(
                f"--resume: {checkpoints / checkpoint.RESUME} does not fit the run's config.json "
                f"({checkpoint.one_line(error)}). One was changed, or the versions differ ({made_by(state)}); start a "
                f"new run with checkpoint_path={checkpoints}."
            ) from error
        if self.processes.first:
            checkpoint.copy_best(checkpoints, self.saver.folder, self.counters.t_env)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on, at the first process what the others play with too."""
        sides = self.system.sides.items()
        own = {f"{prefix}replay": side.rows.state_dict() for prefix, side in sides}
        own |= {"runner": self.system.runner.state_dict(), "random": seeding.global_state(self.system.device)}
        others = self.processes.gather(own)[1:]
        shared: dict[str, Any] = {"counters": vars(self.counters)}
        for prefix, side in sides:
            shared |= {f"{prefix}learner": side.learner.state_dict(), f"{prefix}updates": side.log.state_dict()}
        return {**shared, **own, **({"others": others} if others else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        counters = dict(state["counters"])
        # Version 0.1 counted unlogged updates here.
        unlogged = {"sums": counters.pop("sums", {}), "count": counters.pop("n_sums", 0)}
        self.counters = Counters(**counters)
        own = [state, *state.get("others", [])][self.processes.rank]
        for prefix, side in self.system.sides.items():
            side.learner.load_state_dict(state[f"{prefix}learner"])
            side.log.load_state_dict(state.get(f"{prefix}updates", unlogged))
            side.rows.load_state_dict(own[f"{prefix}replay"])
        self.system.runner.load_state_dict(own["runner"])
        if "random" in own:  # earlier states lack it
            seeding.set_global_state(own["random"], self.system.device)
        self._check_counters()

    def _check_counters(self) -> None:
        """Raise ValueError for what no run can have counted."""
        counters, t_env = self.counters, self.counters.t_env
        for name, kind in get_type_hints(Counters).items():
            if not isinstance(value := getattr(counters, name), get_origin(kind) or kind):
                raise ValueError(f"{name}: expected {kind}, got {value!r:.80}")
        possible = {
            "t_env": t_env >= 0,
            "tested": -1 <= counters.tested <= t_env,
            "logged": 0 <= counters.logged <= t_env,
            "saved": 0 <= counters.saved <= t_env,
            "logged_at": 0 <= counters.logged_at <= t_env,
        }
        for name, holds in possible.items():
            if not holds:
                raise ValueError(f"{name} = {getattr(counters, name)} cannot be at t_env = {t_env}")
        for side in self.system.sides.values():
            side.check_counts(t_env)


def evaluate_once(system: System, record: Record, stop: StopRequest) -> float:
    """Evaluate the loaded networks, log every statistic, return the mean return. Raises Stopped when asked to stop."""
    seed = seeding.derive_seed(system.config.seed, "evaluation")
    means = system.test_runner.evaluate(seed, system.config.test_nepisode, lambda: stop.requested)
    if not means:
        raise Stopped
    for name, value in means.items():
        record.log_scalar(f"test_{name}", value, 0)
        say(f"test_{name:24s} {value:10.4f}")
    return means["return_mean"]
