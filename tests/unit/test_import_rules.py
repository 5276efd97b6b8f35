"""The rooms of the house: imports run one way, and a run imports only what it uses."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import ROOT, SRC

BELOW_ALL = {"utils", "components.batch", "components.sparse"}
# Room -> what its files may import beside files of the same room and BELOW_ALL.
UNDER: dict[str, set[str]] = {
    "utils": set(),
    "components.batch": {"components.kernels", "components.sparse"},
    "components.sparse": set(),
    "config": set(),
    "components": set(),
    "modules": {"components"},
    "envs": set(),
    "pictures": {"envs.base", "envs.scenes"},  # and no package that one task needs
    "controllers": {"components", "modules"},
    "learners": {"controllers", "components", "modules"},
    "runners": {"controllers", "components", "envs.base"},
    "records": {"config.since", "config.loader", "config.schema"},
    "analysis": {"records", "config"},
    "side": {"learners", "controllers", "components", "config"},
    "assembly": {"learners", "controllers", "modules", "components", "envs", "records", "config"},
    "build": {
        *("assembly", "side", "runners", "learners", "controllers", "components"),
        *("envs", "records", "config"),
    },
    "request": {"assembly", "records", "config"},
    "run": {"build", "assembly", "side", "controllers.basic_controller", "records"},
    "launch": {"request", "run", "build", "assembly", "side", "records", "config"},
    "export": {"assembly", "controllers.policy", "pictures", "envs", "config"},
    "experiments": {
        *("assembly", "build", "runners", "learners", "controllers", "components", "envs"),
        *("pictures", "policies", "analysis", "records", "config"),
    },
    "policies": {"assembly", "controllers", "components", "envs.base", "analysis", "records", "config"},
    "hmf": {"launch", "request", "experiments", "analysis", "records", "envs.base", "config"},
    "performance": {
        *("run", "build", "assembly", "learners", "controllers", "modules", "components", "envs"),
        *("analysis", "records", "config"),
    },
}
COMMANDS = {path.stem for path in SRC.glob("*.py")} - UNDER.keys()


def module_name(path: Path) -> str:
    """``envs/base.py`` -> ``envs.base``, ``envs/__init__.py`` -> ``envs``."""
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted(SRC.rglob("*.py"))}


def names_in_imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, anywhere in its text, and of what it takes from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(name: str) -> set[str]:
    """Modules of this project that the module ``name`` imports."""
    found = names_in_imports(FILES[name])
    return {inner if inner in FILES else inner.rpartition(".")[0] for inner in found} & FILES.keys()


def within(name: str, rooms: set[str]) -> bool:
    """Whether a module is one of ``rooms``, or stands in one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_every_room_has_its_rule() -> None:
    assert UNDER.keys() | COMMANDS == {*BELOW_ALL, *(name.partition(".")[0] for name in FILES)}
    for command in COMMANDS:
        assert 'if __name__ == "__main__":' in FILES[command].read_text(), command


@pytest.mark.parametrize("name", [name for name in FILES if name not in COMMANDS])
def test_a_file_imports_only_its_own_room_and_those_below(name: str) -> None:
    room = name if name in UNDER else name.partition(".")[0]
    below = {"utils"} if room in BELOW_ALL else BELOW_ALL
    wrong = {found for found in imported(name) if not within(found, {room} | below | UNDER[room])}
    assert not wrong, f"{name} may not import {sorted(wrong)}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_command_imports_another(name: str) -> None:
    assert not imported(name) & COMMANDS


def test_no_circle() -> None:
    list(graphlib.TopologicalSorter({name: imported(name) for name in FILES}).static_order())  # CycleError names it


def test_only_launch_imports_the_experiment_and_only_assembly_reads_registries() -> None:
    for name, path in FILES.items():
        text = path.read_text()
        if name != "launch":
            assert not re.search("import .*(Experiment|SETTINGS)\\b", text) or name == "utils.sacred", name
        assert "sacred" not in {found.partition(".")[0] for found in names_in_imports(path)} or name == "utils.sacred"
        # export.py builds environments for people who want none of the training code that assembly brings along.
        if name != "export" and path.parent == SRC:
            assert "REGISTRY" not in text, name


def packages_after(program: str) -> set[str]:
    """Top-level packages that a process has imported when ``program`` has run."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint('\\n' + ' '.join(sys.modules))"],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_ends_with_examples_and_waits_for_no_heavy_package(name: str) -> None:
    program = f"import contextlib, io, {name}\nwith contextlib.suppress(SystemExit), "
    program += f"contextlib.redirect_stdout(io.StringIO()) as said:\n    {name}.main(['--help'])\n"
    program += f"assert 'examples:\\n  python src/{name}.py' in said.getvalue()"
    assert not {"torch", "numpy", "scipy", "numba", "matplotlib", "sacred", "pymongo"} & packages_after(program)


def test_lists_of_runs_wait_for_no_heavy_package(tmp_path: Path) -> None:
    (tmp_path / "sacred").mkdir()
    program = f"import runs\nassert runs.main(['ls', '--results', {str(tmp_path)!r}]) == 0"
    assert not {"torch", "numpy", "matplotlib", "sacred", "pymongo"} & packages_after(program)


@pytest.mark.parametrize(
    "call",
    [
        "main; code = main.main(['print_config', '--config=hmf', '--env-config=battle'])",
        "sweep; code = sweep.main(['smoke', '--dry-run'])",
    ],
)
def test_what_is_only_shown_waits_for_no_heavy_package(call: str) -> None:
    """From the second time on, as with compiled code."""
    packages = [packages_after(f"import {call}\nassert code == 0") for _ in range(2)]
    assert not {"torch", "scipy", "numba", "matplotlib", "sacred", "pymongo"} & packages[1]


@pytest.mark.parametrize(
    "call",
    [
        "benchmark, --config=nosuch",
        "crossplay, 99",
        "crossplay, --sides=99",
        "crossplay, --league=99",
        "evaluate, --run=99",
        "main, --config=iql, --env-config=bar, with, lrr=1",
        "main, --config=iql, --env-config=bar, with, lr=abc",
        "main, --config=iql, --env-config=bar, with, t_max=0",
        "main, --config=iql, --env-config=bar, with, tracker=wandb",
        "main, --config=iql, --env-config=bar, --dry-run, with, lr=abc",
        "main, --resume=99",
        "runs, export, 99, --to=onnx",
        "runs, plot, 99",
        "exploit, 99",
        "noise, name=hmf",
        "report, --experiment=nosuch",
        "search, nosuch, --trials=1",
        "transfer, name=hmf, --at=battle",
        "zoo, play, nosuch",
        "zoo, film, nosuch",
        "zoo, rm, nosuch",
    ],
)
def test_what_is_not_there_is_told_before_anything_heavy_is_imported(call: str, tmp_path: Path) -> None:
    name, *words = call.split(", ")
    (tmp_path / "sacred").mkdir()
    program = f"import {name}\nassert {name}.main({[*words, *place(name, tmp_path)]!r}) == 2"
    heavy = {"torch", "scipy", "numba", "optuna", "matplotlib", "sacred", "pymongo"}
    assert not heavy & packages_after(program)


@pytest.mark.parametrize("call", ["main, --config=iql, --env-config=bar", "zoo, play, bar/hmf_s1"])
def test_a_python_without_torch_is_told_what_to_do(call: str) -> None:
    name, *words = call.split(", ")
    program = f"import sys\nsys.modules['torch'] = None\nimport {name}\ncode = {name}.main({words!r})\nsys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected the package torch, ")
    assert done.stderr.endswith("Install: ./install_dependencies.sh; then start with .venv/bin/python\n")


def place(name: str, folder: Path) -> list[str]:
    """Where the command ``name`` finds nothing."""
    of_other_name = {"zoo": [f"--zoo={folder}"], "main": [], "benchmark": []}
    return of_other_name.get(name, [f"--results={folder}"])


def test_a_battle_run_imports_no_package_of_other_tasks(tmp_path: Path) -> None:
    small = "n_agents=4 n_enemies=4 map_size=16 episode_limit=4 opponent=random"
    words = ["t_max=1", "batch_size_run=2", "test_nepisode=2", "buffer_size=100", f"local_results_path={tmp_path}"]
    words += [f"env_args.{word}" for word in small.split()]
    argv = ["--config=iql", "--env-config=battle", "with", *words]
    packages = packages_after(f"import main\nassert main.main({argv}) == 0")
    assert {"magent2", "sacred", "torch"} <= packages
    assert not {"pettingzoo", "gymnasium", "mpe2", "matplotlib", "optuna"} & packages


def test_sacred_needs_no_setuptools_and_leaves_no_stand_in() -> None:
    """Whether there is a pkg_resources or not, and whatever it warns about."""
    for before in ("", "sys.modules['pkg_resources'] = real = sys\n"):
        program = (
            f"import sys\n{before}import utils.sacred, records.mongo\nfrom sacred.observers import MongoObserver\n"
        )
        left = "sys.modules['pkg_resources'] is real" if before else "'pkg_resources' not in sys.modules"
        assert {"sacred"} <= packages_after(f"{program}assert {left}")


def test_sacred_needs_no_finder_that_python_has_removed() -> None:
    program = "import pkgutil\nvars(pkgutil).pop('find_loader', None)\nimport utils.sacred\n"
    assert {"sacred"} <= packages_after(f"{program}assert not hasattr(pkgutil, 'find_loader')")


def test_utils_need_neither_the_database_nor_the_recorder() -> None:
    assert not {"pymongo", "sacred", "torch"} & packages_after("from utils.progress import Progress")


def test_pictures_need_no_package_of_one_task() -> None:
    assert not {"magent2", "pettingzoo", "gymnasium", "matplotlib"} & packages_after("import pictures.render")


def test_no_test_imports_another() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        wrong = [name for name in names_in_imports(path) if re.match(r"tests\..*\b(test_|conftest)", name)]
        assert not wrong, path
