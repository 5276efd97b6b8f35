"""Every script says what it does when asked, and does nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.paths import ROOT

import runs
import zoo
from config.loader import available

SCRIPTS = sorted([*ROOT.glob("*.sh"), *(ROOT / "tools").glob("*.sh")])


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_says_what_a_script_does_and_does_nothing(script: Path, option: str, tmp_path: Path) -> None:
    done = subprocess.run([script, option], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    head = script.read_text().splitlines()[1]
    assert done.stdout.splitlines()[0] == head.removeprefix("# ")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["final", "scale", "credit"])
def test_an_unknown_task_shows_the_usage(name: str) -> None:
    done = subprocess.run([ROOT / f"tools/{name}.sh", "atlantis"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"error: no task 'atlantis'. Usage:\n tools/{name}.sh " in done.stderr.replace("\n  ", "\n ")


@pytest.mark.parametrize("words", [["battle", "--dry-run"], ["--results", "elsewhere"], ["--results=elsewhere"]])
@pytest.mark.parametrize("name", ["scale", "anchors"])
def test_what_a_report_would_not_know_of_is_refused(name: str, words: list[str]) -> None:
    done = subprocess.run([ROOT / f"tools/{name}.sh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.match(r"error: --(dry-run|results\S*) belongs to src/sweep.py alone. Usage:\n", done.stderr)


def test_commits_to_compare_are_one_or_two() -> None:
    script = ROOT / "tools/benchmark_compare.sh"
    done = subprocess.run([f"./{script.name}"], cwd=script.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected one or two commits. Usage:\n tools/benchmark_compare.sh OLD [NEW]")


@pytest.mark.parametrize(("said", "lost"), [("start   iql", 1), ("finished as run 7   iql\nstart   vdn", 0)])
def test_runs_without_policies_are_told_from_none(said: str, lost: int, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "tools/common.bash", tmp_path / "tools")
    python, script = tmp_path / ".venv/bin/python", tmp_path / "tools/some.sh"
    python.write_text(f'#!/usr/bin/env bash\nprintf "{said}\n"\n')
    script.write_text('#!/usr/bin/env bash\nsource "$(dirname "$0")/common.bash"\n"$1" bar\n')
    for path in (python, script):
        path.chmod(0o755)

    def status(question: str) -> int:
        return subprocess.run([script, question], check=False).returncode

    assert (status("lost_policies"), status("has_policies")) == (lost, 1)
    (tmp_path / "results/sacred/7/checkpoints").mkdir(parents=True)
    assert (status("lost_policies"), status("has_policies")) == (1, lost)


def test_a_report_is_made_aside_and_the_files_that_were_named_are_kept(tmp_path: Path) -> None:
    for folder in ("tools", ".venv/bin", "src"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tools/common.bash", tmp_path / "tools")
    python, script = tmp_path / ".venv/bin/python", tmp_path / "tools/some.sh"
    python.write_text(
        '#!/usr/bin/env bash\n[ "${@: -2:1}" = --out ] && mkdir -p "${@: -1}" && echo "$@" >"${@: -1}/runs.md"'
    )
    script.write_text(
        '#!/usr/bin/env bash\nsource "$(dirname "$0")/common.bash"\n'
        "report one runs.md=kept.md -- --experiment bar lr=0.1\nreport two -- name=hmf\n"
        "report three no.md=kept.md -- name=iql\nreport never -- name=iql\n"
    )
    for path in (python, script):
        path.chmod(0o755)
    done = subprocess.run([script], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode != 0, "there is no no.md"
    said = "src/report.py --experiment bar lr=0.1 --out results/tmp/one\n"
    assert (tmp_path / "kept.md").read_text() == (tmp_path / "results/tmp/one/runs.md").read_text() == said
    assert sorted(path.name for path in (tmp_path / "results/tmp").iterdir()) == ["one", "three", "two"]


@pytest.mark.parametrize("script", sorted((ROOT / "tools").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_ask_functions_that_exist(script: Path) -> None:
    """Bash takes a misspelt condition for one that is false, and goes on."""
    text = script.read_text()
    defined = set(re.findall(r"^(\w+)\(\)", text + (ROOT / "tools/common.bash").read_text(), re.MULTILINE))
    called = set(re.findall(r"(?:&& |\|\| |! |if )([a-z]+_[a-z_]+) ", text))
    assert called <= defined


def test_the_paper_is_trained_from_every_experiment_of_its_figures() -> None:
    """What the script would call, said instead of done."""
    script = ROOT / "tools" / "paper_train.sh"
    said = subprocess.run(
        ["bash", "-c", script.read_text().replace('"$python"', "echo"), script],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    trained = set(re.findall(r"src/sweep\.py (\w+)", said))
    assert trained <= set(available("experiments"))
    parts = (
        "final|scale|groups|appendix|ipc_features|credit|sizes|sharing|grouping|crossed|regrouped|longer|arena|anchors"
    )
    assert {name for name in available("experiments") if re.match(rf"({parts})_|games$", name)} == trained


@pytest.mark.parametrize("parse", [runs.parse, zoo.parse], ids=["runs", "zoo"])
def test_every_subcommand_has_examples(
    parse: Callable[[list[str]], object], capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        with pytest.raises(SystemExit):
            parse([*words, "--help"])
        return capsys.readouterr().out

    names = re.findall(r"\w+(?=[|\s]|$)", " ".join(said().split()).partition(" ...")[0].partition("] ")[2])
    assert len(names) >= 5
    for name in names:
        assert re.search(rf"examples:\n  python src/\w+\.py {name}\b", said(name)), name
