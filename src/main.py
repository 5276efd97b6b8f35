"""``python src/main.py --config=hmf --env-config=battle with key=value``: command line to a recorded run.

The only file that imports Sacred's Experiment.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from sacred import SETTINGS, Experiment
from sacred.run import Run

import build
from config.loader import layers, parse_command_line, parse_overrides
from config.schema import Config
from run import Trainer, evaluate_once
from utils import checkpoint
from utils.recording.files import read_json
from utils.recording.observer import FileObserver
from utils.signals import Stopped

SETTINGS.CAPTURE_MODE = "sys"  # "fd" loses the end of the output
SETTINGS.CONFIG.READ_ONLY_CONFIG = True
SETTINGS.HOST_INFO.CAPTURED_ENV = []
SETTINGS.DISCOVER_SOURCES = "none"
SETTINGS.DISCOVER_DEPENDENCIES = "none"

RECORDING_FAILED, INTERRUPTED = 3, 130


def prepare(argv: list[str]) -> tuple[Config, list[str], Path | None]:
    """Checked configuration, notes for the person, and the folder of the run to resume, if any."""
    arguments = parse_command_line(argv)
    if arguments.mongo_url:
        os.environ["MONGO_URL"] = arguments.mongo_url
    if arguments.resume is None:
        config, notes = build.make_config(layers(arguments.config, arguments.env_config, arguments.overrides))
        return config, notes, None
    overrides = parse_overrides(arguments.overrides).values
    run_dir = Path(arguments.resume)
    if not run_dir.is_dir():
        run_dir = Path(overrides.get("local_results_path", "results")) / "sacred" / arguments.resume
    if not (run_dir / "checkpoints" / checkpoint.RESUME).exists():
        raise checkpoint.CheckpointError(
            f"--resume: expected {run_dir / 'checkpoints' / checkpoint.RESUME}, it does not exist. A run that "
            "completed, or ran with save_replay=never, cannot be resumed exactly; start a new run with checkpoint_path="
            f"{run_dir / 'checkpoints'}."
        )
    config = build.config_from_dict(read_json(run_dir / "config.json"))
    return build.with_run_keys(config, overrides), [], run_dir


def experiment(system: build.System, observer: FileObserver, resume_from: Path | None) -> Experiment:
    """The Sacred experiment of one run."""
    config = system.config
    ex = Experiment("hmf", save_git_info=False)
    ex.logger = logging.getLogger("hmf")  # type: ignore[assignment]
    ex.add_config(config.to_dict())
    ex.observers.append(observer)

    @ex.main
    def main(_run: Run) -> float | None:
        for note in system.notes:
            print(note)
        info = system.mac.info
        print(
            f"{config.name} on {info.name}: {info.n_agents} agents, {info.n_actions} actions, observations "
            f"{tuple(info.obs_shape)}, {config.batch_size_run} environments at once, seed {config.seed}, "
            f"{sum(parameter.numel() for parameter in system.learner.parameters):,} parameters, on {system.device}"
        )
        print(f"run {_run._id}: {observer.run_dir}", flush=True)
        _run.info["resolved"] = {"device": str(system.device), "n_agents": info.n_agents, "n_actions": info.n_actions}

        def log_scalar(name: str, value: float, t_env: int) -> None:
            _run.log_scalar(name, value, t_env)

        if config.evaluate:
            return evaluate_once(system, log_scalar)
        trainer = Trainer(system, observer.run_dir, log_scalar)
        if resume_from is not None:
            # Read to the CPU, where random streams and engines live; networks and memories move to their device.
            state = checkpoint.load(resume_from / "checkpoints" / checkpoint.RESUME, torch.device("cpu"))
            trainer.load_state_dict(state)
            _run.info |= {"resumed_from": int(resume_from.name), "resumed_at": trainer.counters.t_env}
            print(f"resumed from run {resume_from.name} at step {trainer.counters.t_env:,}", flush=True)
        return trainer.train()

    return ex


def run_recorded(argv: list[str]) -> int:
    """Exit code of a whole run. Raises ValueError, with one clear message, before anything is written."""
    config, notes, resume_from = prepare(argv)
    system = build.build(config)
    for note in notes:
        print(note)
    observer = FileObserver(Path(config.local_results_path) / "sacred")
    code = 0
    try:
        experiment(system, observer, resume_from).run()
    except (Stopped, KeyboardInterrupt):
        code = INTERRUPTED
        print(f"interrupted; continue with: python src/main.py --resume={observer.run_id}")
    finally:
        system.close()
    print(observer.summary())
    return RECORDING_FAILED if observer.failed else code


def main(argv: list[str]) -> Any:
    """Run, turning bad input into one line and exit code 2."""
    try:
        return run_recorded(argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
