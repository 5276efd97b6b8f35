"""docs/own_study.md does what it says: its files and commands are run as they stand, with fewer and shorter runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

DOC = (ROOT / "docs" / "own_study.md").read_text()
TASK = (ROOT / "docs" / "new_environment.md").read_text()
SMALLER = [
    (r"--trials 12", "--trials 1"),
    (r"seeds: \[101, 102\]", "seeds: [101]"),
    (r"seeds: \[1, 2,.*\]", "seeds: [1]"),
    (
        r"t_max([:=] ?)\d+, epsilon_anneal_time: \d+, test_interval: \d+",
        r"t_max\g<1>200, epsilon_anneal_time: 100, test_interval: 100",
    ),
    (r"t_max=3000", "t_max=200"),
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def smaller(text: str) -> str:
    for pattern, by in SMALLER:
        text = re.sub(pattern, by, text)
    return text


def test_a_task_of_ones_own_becomes_a_table(tmp_path: Path) -> None:
    names = ("tune_guess.yaml", "claims.yaml")
    files = dict(zip(names, blocks(DOC, "yaml"), strict=True))
    files |= {"guess.py": blocks(TASK, "python")[0], "guess.yaml": blocks(TASK, "yaml")[0]}
    for name, text in files.items():
        (tmp_path / name).write_text(smaller(text))
    script = smaller("".join(blocks(DOC, "bash"))).replace("with regime", "with local_results_path=results regime")
    script = re.sub(r"src/(search|sweep|report|runs)\.py( pack)?", r"\g<0> --results results", script)
    script = script.replace("python src/", f"{sys.executable} {ROOT}/src/")
    script = script.replace("python -m pytest tests/", f"{sys.executable} -m pytest {ROOT}/tests/")
    done = subprocess.run(["bash", "-e"], input=script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    paper = tmp_path / "paper"
    named = re.findall(r"`(\w+\.\w+)`", DOC.partition("| file in `paper/` |")[2].partition("\n\n")[0])
    assert {"overview.tex", "curves_Guess.pdf", "runs.tex", "verdicts.tex"} <= {*named}
    assert [name for name in named if not (paper / name).exists()] == []
    (latex,) = blocks(DOC, "latex")
    shown = [f"{name}.tex" for name in re.findall(r"\\input{([^}]*)}", latex)]
    shown += re.findall(r"\\includegraphics.*{(.*)}", latex)
    assert len(shown) == 2
    assert [name for name in shown if not (tmp_path / name).exists()] == []
    assert (tmp_path / "trials.tex").exists()
    assert (tmp_path / "records.tar.xz").exists()
    assert re.search(r"hmf & \S+ .*n=1", (paper / "overview.tex").read_text())
    assert "HMF ends above IQL & Guess & " in (paper / "verdicts.tex").read_text()
