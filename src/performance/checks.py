"""Checks of a machine: can it train, what is missing.

They import what they examine themselves, so that a broken package is a finding rather than the end of the checks.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from records.ids import check_writable
from utils.errors import InputError
from utils.paths import ROOT, existing

if TYPE_CHECKING:
    from components.rows import RowSpec
    from config.schema import Config

RowArguments = tuple["RowSpec", str, int]  # the spec, what keeps rows, how many

INSTALL = "Run ./install_dependencies.sh and use .venv/bin/python."
GIB = 2**30
PYTHONS = ((3, 11), (3, 15))  # from, below

TINY_BATTLE = """
import torch
from assembly.parts import make_env
from assembly.registries import REGISTRIES
from config.loader import layers
from config.resolve import make_config
small = ["env_args.n_agents=8", "env_args.n_enemies=4", "env_args.map_size=20", "env_args.opponent=random"]
config, _ = make_config(layers("iql", "battle", small), REGISTRIES)
env = make_env(config, n_envs=1, test=True)
env.reset(seed=1)
env.step(torch.zeros(1, 8, dtype=torch.int64))
"""


@dataclass(frozen=True)
class Finding:
    """Outcome of one check; what is not ok says what to do."""

    level: str  # ok, warn, fail
    text: str


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warn(text: str) -> Finding:
    return Finding("warn", text)


def fail(text: str) -> Finding:
    return Finding("fail", text)


def check_python() -> Finding:
    """Check the interpreter's version."""
    version = sys.version_info[:2]
    if PYTHONS[0] <= version < PYTHONS[1]:
        return ok(f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}")
    return fail(
        f"{version[0]}.{version[1]}: needs 3.11 to 3.14. Install one of them and run ./install_dependencies.sh."
    )


def check_packages(requirements: Path = ROOT / "requirements.txt") -> Finding:
    """Check installed packages against the pins of requirements.txt."""
    from packaging.requirements import Requirement

    lines = (line.split("#")[0].strip() for line in requirements.read_text().splitlines())
    wrong = []
    pins = [Requirement(line) for line in lines if line]
    for pin in pins:
        try:
            installed = metadata.version(pin.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{pin.name} is missing")
            continue
        if not pin.specifier.contains(installed):
            wrong.append(f"{pin.name} is {installed}, expected {pin.specifier}")
    return fail(f"{'; '.join(wrong)}. {INSTALL}") if wrong else ok(f"{len(pins)} as pinned in {requirements.name}")


def check_engine(program: str = TINY_BATTLE) -> Finding:
    """Advance a tiny Battle in another process, which a crash of MAgent2's engine may end."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        return ok("MAgent2 stepped a tiny Battle")
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return fail(f"Battle does not run: {last.rstrip('.')}. {INSTALL} Other environments may work.")


def check_rendering() -> Finding:
    """Check that a curve, a GIF and an MP4 can be written, without a display."""
    import imageio.v2 as imageio
    import numpy as np
    from matplotlib.figure import Figure

    frames = [np.full((64, 64, 3), shade, np.uint8) for shade in (0, 255)]
    with tempfile.TemporaryDirectory() as folder:
        Figure().savefig(f"{folder}/curve.png")
        for name in ("video.gif", "video.mp4"):
            imageio.mimwrite(f"{folder}/{name}", frames)  # type: ignore[arg-type]
    return ok("PNG, GIF and MP4 written")


def check_extras() -> Finding:
    """Check what some commands need and training does not."""
    users = {
        "onnxruntime": "runs.py export --to onnx",
        "safetensors": "runs.py export --to safetensors",
        "tensorboard": "tensorboard=true",
    }
    lacks = [f"{package} ({user})" for package, user in users.items() if find_spec(package) is None]
    cures = ["run ./install_dependencies.sh --extras"] if lacks else []
    if shutil.which("npm") is None:
        lacks.append("Node.js with npm (tools/omniboard.sh)")
        cures.append("install Node.js 18 or newer")
    if not lacks:
        return ok(f"{', '.join(users)} and npm are there")
    return warn(f"not installed: {', '.join(lacks)}. If you want them: {'; '.join(cures)}.")


def check_disk(results: Path, kept: RowArguments | None) -> Finding:
    """Check the room for records and checkpoints, which hold the replay where exact resume is on.

    Raises RecordError where nothing can be written.
    """
    check_writable(results / "sacred")
    free = shutil.disk_usage(existing(results)).free
    text = f"{free / GIB:.1f} GiB free for {results}"
    if free < GIB:
        return fail(f"{text}: less than 1 GiB. Free space, or choose another folder: --results DIR")
    needed = 2 * kept[0].bytes_of(kept[2]) if kept else 0  # the old state stays until the new one is whole
    if free < needed + GIB:
        return warn(f"{text}: exact resume may need {needed / GIB:.1f} GiB. Free space, or use save_replay=never.")
    return ok(text)


def check_memory(kept: RowArguments | None) -> Finding:
    """Check the replay of the chosen configuration against free memory. Raises ReplayError when it does not fit."""
    import psutil

    available = psutil.virtual_memory().available
    text = f"{available / GIB:.1f} GiB free"
    if kept is None:
        return ok(f"{text}; give --config and --env-config to check a replay against it")
    spec, name, transitions = kept
    return ok(f"{text}; {spec.check_memory(name, transitions, available)}")


def check_gpu(use_cuda: bool) -> Finding:
    """Check what torch sees."""
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
        return ok(f"{name}, {memory / GIB:.0f} GiB; used with use_cuda=true")
    if use_cuda:
        return fail(
            "use_cuda=true, but torch sees no CUDA device. Use use_cuda=false, or run ./install_dependencies.sh --cuda."
        )
    if shutil.which("nvidia-smi"):
        return warn(
            f"a driver is there, but torch {torch.__version__} sees no GPU. Run ./install_dependencies.sh --cuda."
        )
    return ok("none; training on the CPU")


def check_database(url: str | None) -> Finding:
    """Check the optional copy of the records."""
    if not url:
        return ok("none ($MONGO_URL is not set); runs are recorded as files")
    from records.files import RecordError
    from records.mongo import MongoStore

    store = MongoStore.at(url)
    try:
        store.ids()
    except RecordError as error:
        return warn(f"{error} Runs are recorded as files; once it answers: python src/runs.py push")
    return ok(f"{store.name} answers")


def row_arguments(config: Config) -> RowArguments:
    """Return what the size of the kept rows follows from. Raises InputError for parts that do not fit together."""
    from assembly.parts import make_env, make_learner, make_mac, make_regime, row_spec

    on_cpu = replace(config, use_cuda=False)  # a missing GPU is another check's finding
    env = make_env(on_cpu, n_envs=1, test=False)
    try:
        mac = make_mac(on_cpu, env.info)
        spec = row_spec(on_cpu, env, mac, make_learner(on_cpu, mac))
    finally:
        env.close()
    regime = make_regime(on_cpu)
    return spec, regime.name, regime.kept(spec.n_envs)


def chosen(
    algorithm: str | None, environment: str | None, overrides: list[str]
) -> tuple[Config | None, RowArguments | None]:
    """Return the configuration to check, if one was given. Raises InputError for one that cannot run."""
    if algorithm is None and environment is None:
        return None, None
    from assembly.registries import REGISTRIES
    from config.loader import layers
    from config.resolve import make_config
    from config.schema import ConfigError
    from records.tracker import require_trackers

    if algorithm is None or environment is None:
        raise ConfigError("expected both --config=ALGORITHM and --env-config=ENVIRONMENT, got one of them.")
    config, _ = make_config(layers(algorithm, environment, overrides), REGISTRIES)
    require_trackers(config)
    return config, row_arguments(config)


def survived(check: Callable[..., Finding], *given: Any) -> Finding:
    """Return the finding of ``check``; an error is one too."""
    try:
        return check(*given)
    except InputError as error:
        return fail(str(error))
    except Exception as error:
        return fail(f"{type(error).__name__}: {error}. {INSTALL}")


def examine(
    algorithm: str | None, environment: str | None, overrides: list[str], mongo_url: str | None, results: Path
) -> Iterator[tuple[str, Finding]]:
    """Name and finding of one check after the other, for training ``algorithm`` on ``environment`` where given."""
    yield "python", check_python()
    yield "packages", survived(check_packages)
    yield "engine", survived(check_engine)
    yield "rendering", survived(check_rendering)
    config, kept = None, None
    try:
        config, kept = chosen(algorithm, environment, overrides)
    except (InputError, ImportError) as error:
        yield "configuration", fail(str(error))
    yield "memory", survived(check_memory, kept)
    given = config and any(word.startswith("local_results_path=") for word in overrides)
    yield "disk", survived(check_disk, Path(config.local_results_path) if config and given else results, kept)
    yield "extras", survived(check_extras)
    yield "gpu", survived(check_gpu, config is not None and config.use_cuda)
    yield "database", survived(check_database, mongo_url)
