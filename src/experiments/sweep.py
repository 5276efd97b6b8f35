"""A sweep: many runs of main.py, on workers, until every one has finished or failed for good."""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import sys
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.plan import PlannedRun
from experiments.workers import Workers
from records.index import RunIndex, task_key
from records.sources import changed
from records.store import RunRecord
from utils.cli import BAD_INPUT, COPY_INCOMPLETE, FAILED, REFUSAL
from utils.lock import Lock
from utils.progress import clock

MAIN = Path(__file__).parents[1] / "main.py"
ATTEMPTS = 2
POLL_SECONDS = 0.2
REFRESH_SECONDS = 5.0  # between looks at what the runs have recorded, on a terminal
LOG_SECONDS = 60.0  # and elsewhere, where every look leaves a line


@dataclass
class Job:
    """A planned run on its way."""

    run: PlannedRun
    log: Path  # what it wrote to stderr
    attempts: int = 0
    claim: Lock | None = None  # the right to run it
    exit_code: int | None = None  # of the last attempt

    def command(self, index: RunIndex) -> list[str]:
        """Continue from the newest checkpoint, or start; what the experiment names may be imported either way."""
        folder = index.resumable(self.run.identity, self.run.config.use_cuda)
        arguments = self.run.arguments
        if folder is not None:
            config = self.run.config
            arguments = (f"--resume={folder}", *config.trust.words(), f"--results={config.local_results_path}")
        return [sys.executable, str(MAIN), *arguments]

    def release(self) -> None:
        """Leave it to others."""
        if self.claim is not None:
            self.claim.release()
            self.claim = None

    @property
    def refused(self) -> bool:
        """Whether the last attempt ended by its input, at its start or on the way: another one would too."""
        return self.exit_code == BAD_INPUT or (self.exit_code == FAILED and self._last_line().startswith(REFUSAL))

    def failure(self) -> str:
        """Say in one line how the last attempt ended."""
        return f"{self.run.label}: exit code {self.exit_code}: {self._last_line()} (all of it: {self.log})"

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["(no message)"]
        return lines[-1]


class Sweep:
    """Keeps the workers busy until every job has finished or failed for good: twice, or once by its input."""

    def __init__(self, runs: Sequence[PlannedRun], index: RunIndex, workers: Workers, log_dir: Path) -> None:
        self.runs, self.index, self.workers = runs, index, workers
        log_dir.mkdir(parents=True, exist_ok=True)
        waiting = [run for run in runs if index.finished(run.identity) is None]
        # Two sweeps may share a results folder.
        logs = (log_dir / f"{os.getpid()}-{number}.log" for number in itertools.count())
        self.waiting = deque(Job(run, log) for run, log in zip(waiting, logs, strict=False))
        self.active: dict[Hashable, Job] = {}
        self.failed: list[Job] = []
        self.left: list[Job] = []  # to other sweeps
        self.uncopied: list[Job] = []  # finished, but a database or tracker lacks a part: `runs push`, `runs track`
        self.began = time.monotonic()
        self.refreshed = self.began
        self.weights = weights(runs, index)
        self.done_before = self.done()

    def execute(self) -> None:
        """Run everything that other sweeps do not run, which stays in ``left``.

        On Ctrl-C or SIGTERM all children save and end; then KeyboardInterrupt is raised.
        """
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._run_waiting()
            self.waiting, self.left = deque(self.left), []  # another sweep may have ended without them
            self._run_waiting()
        finally:
            self._stop()
            signal.signal(signal.SIGTERM, previous)
            self.index.refresh()

    def _run_waiting(self) -> None:
        while self.waiting or self.active:
            while self.waiting and len(self.active) < self.workers.n_slots:
                self._start(self.waiting.popleft())
            self._collect()
            self._draw()
            time.sleep(POLL_SECONDS)

    def _start(self, job: Job) -> None:
        job.claim = job.claim or self.index.claim(job.run.identity)
        if job.claim is None:
            if self.index.finished(job.run.identity) is None:
                self.left.append(job)
            return
        job.attempts += 1
        handle = self.workers.start(job.command(self.index), job.log, job.run.config, job.claim)
        self.active[handle] = job

    def _collect(self) -> None:
        """Note how children ended that have."""
        codes = {handle: self.workers.exit_code(handle) for handle in self.active}
        for handle, code in codes.items():
            if code is None:
                continue
            job = self.active.pop(handle)
            job.exit_code = code
            self.index.refresh()
            if code and not job.refused and job.attempts < ATTEMPTS and self.index.finished(job.run.identity) is None:
                say(f"trying again: {job.failure()}")
                self.waiting.append(job)
            else:
                self._end(job)
            if not sys.stderr.isatty():
                print(self.line(), flush=True)

    def _end(self, job: Job) -> None:
        job.release()
        finished = self.index.finished(job.run.identity) is not None
        if job.exit_code == COPY_INCOMPLETE and finished:
            self.uncopied.append(job)
        elif job.exit_code or not finished:
            self.failed.append(job)
        else:
            job.log.unlink(missing_ok=True)

    def _stop(self) -> None:
        for handle in self.active:
            self.workers.stop(handle)
        if self.active:
            say(f"stopping: {len(self.active)} runs save their state ...")
        while any(self.workers.exit_code(handle) is None for handle in self.active):
            time.sleep(POLL_SECONDS)
        for job in (*self.active.values(), *self.waiting):
            job.release()

    def done(self) -> float:
        """Compute the share of the whole sweep that is done, by estimated cost."""
        shares = [self.index.progress(run.identity) / run.config.t_max for run in self.runs]
        return sum(w * min(share, 1.0) for w, share in zip(self.weights, shares, strict=True)) / sum(self.weights)

    def line(self) -> str:
        """Return the progress line."""
        done = self.done()
        elapsed = time.monotonic() - self.began
        new = done - self.done_before
        left = clock(elapsed * (1 - done) / new) if new > 0 else "?"
        finished = sum(self.index.finished(run.identity) is not None for run in self.runs)
        return (
            f"{finished}/{len(self.runs)} runs finished, {len(self.active)} running, {len(self.waiting)} waiting, "
            f"{len(self.failed)} failed  {done:.0%}  elapsed {clock(elapsed)}  left {left}"
        )

    def _draw(self) -> None:
        live = sys.stderr.isatty()
        if time.monotonic() - self.refreshed <= (REFRESH_SECONDS if live else LOG_SECONDS):
            return
        self.refreshed = time.monotonic()
        self.index.refresh()
        if live:
            sys.stderr.write(f"\r\x1b[K{self.line()}")
            sys.stderr.flush()
        else:
            print(self.line(), flush=True)


def say(text: str) -> None:
    """Print a line that stays, on a terminal above the live one."""
    print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def weights(runs: Sequence[PlannedRun], index: RunIndex) -> list[float]:
    """Estimate what each run costs relative to the others: seconds where the records tell, else the median per step.

    A mean would follow runs of a step or two, such as those of random play, which are all evaluation.
    """
    seconds = index.seconds_per_step()
    median = statistics.median(seconds.values()) if seconds else 1.0
    return [seconds.get(task_key(run.config.to_dict()), median) * run.config.t_max for run in runs]


def made_with_others(finished: RunRecord) -> str:
    """Say, in brackets, of which code outside this tree a finished run had another version; nothing where of none."""
    others = changed(finished.info, finished.config)
    return f"  (made with another {', '.join(others)}, whose file has changed)" if others else ""


def stale(runs: Sequence[PlannedRun], index: RunIndex) -> Iterator[str]:
    """Note where finished runs were made with other code than there is now; they are kept all the same."""
    finished = [record for run in runs if (record := index.finished(run.identity)) is not None]
    ids = [str(record.id) for record in finished if made_with_others(record)]
    if ids:
        yield (
            f"note: {len(ids)} finished runs ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''}) were made with "
            "other code than there is now (--dry-run says which), and are kept. To make them anew, delete them with "
            "python src/runs.py rm, or give another --results folder."
        )


def forecast(runs: Sequence[PlannedRun], index: RunIndex, n_slots: int) -> Iterator[str]:
    """Say, in a line for every run, what would happen to it and what it would cost; then in one for all."""
    seconds = index.seconds_per_step()
    total, unknown = 0.0, 0
    for run in runs:
        finished = index.finished(run.identity)
        folder = index.resumable(run.identity, run.config.use_cuda)
        if finished is not None:
            yield f"finished as run {finished.id:<8} {run.label}{made_with_others(finished)}"
            continue
        if index.running(run.identity):
            yield f"running now             {run.label}"
            continue
        action = "start                 " if folder is None else f"resume run {folder.name:<12}"
        left = 1 - index.progress(run.identity) / run.config.t_max if folder is not None else 1.0
        rate = seconds.get(task_key(run.config.to_dict()))
        unknown += rate is None
        total += (rate or 0.0) * run.config.t_max * left
        cost = "unknown" if rate is None else clock(rate * run.config.t_max * left)
        yield f"{action}  {run.label}  ({run.config.t_max:,} steps, cost {cost})"
    known = f"{clock(total)} of one core, {clock(total / n_slots)} on {n_slots}"
    yield f"{len(runs)} runs; left to do: {known}" + (f", and {unknown} runs of unknown cost" if unknown else "")
