"""Verdicts on claims, and the pages that show tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.support import recorded
from tests.support.paths import ROOT
from tests.support.recorded import config, tasks_of

from analysis.claims import Claim, load_claims, unknown, verdict, verdicts
from analysis.collect import Method, Task
from analysis.page import fill
from analysis.statistics import Estimate
from analysis.tables import bounds
from config.loader import available
from config.schema import ConfigError
from experiments.plan import load_experiment, plan
from records.files import Curve, RecordError
from records.store import FileStore
from report import main


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Four seeds: on Bar hmf ends 1 above iql with every one and about the same as vdn; frozen has three seeds only."""
    store = FileStore(tmp_path / "sacred")
    for seed in (1, 2, 3, 4):
        recorded.put(store, seed, config("iql", "bar", seed), values=[10, seed])
        recorded.put(store, 10 + seed, config("hmf", "bar", seed), values=[0, seed + 1])
        recorded.put(store, 20 + seed, config("vdn", "bar", seed), values=[0, 6 - seed])
        if seed < 4:
            recorded.put(store, 30 + seed, config("frozen", "bar", seed), values=[0, 9])
    return store


@pytest.mark.parametrize(
    ("better", "worse", "said"),
    [
        ("hmf", "iql", "reproduced"),
        ("iql", "hmf", "opposite"),
        ("hmf", "vdn", "not reproduced"),
        ("frozen", "iql", "not decided: fewer than 4 seeds"),
        ("maddpg", "iql", "not decided: no run on bar is called maddpg"),
        ("hmf", "frozn", "not decided: no run on bar is called frozn. Did you mean 'frozen'?"),
        ("hmf", 1.0, "reproduced"),
        ("hmf", 5.5, "opposite"),
        ("hmf", 3.0, "not reproduced"),
        (5.5, "hmf", "reproduced"),
    ],
)
def test_the_interval_decides(store: FileStore, better: str | float, worse: str | float, said: str) -> None:
    row = verdicts([Claim("...", "bar", better, worse)], tasks_of(store)).rows[0]
    assert row[-1] == said
    assert row[2] == f"{better} > {worse}"


def test_a_corrected_claim_asks_for_its_p_too(tmp_path: Path) -> None:
    """Eight seeds, all better: p = 2 / 2^8 = 0.0078 alone holds, among seven claims 0.055 does not."""
    store = FileStore(tmp_path / "sacred")
    for seed in range(1, 9):
        recorded.put(store, seed, config("iql", "bar", seed), values=[10, seed])
        recorded.put(store, 10 + seed, config("hmf", "bar", seed), values=[0, seed + 1])
    claims = [Claim("...", "bar", *pair, corrected=True) for pair in (("hmf", "iql"), ("iql", "hmf"))]
    said = lambda *more: [row[-1] for row in verdicts([*claims, *more], tasks_of(store)).rows]  # noqa: E731
    assert said() == ["holds", "opposite"]
    assert said(*[claims[0]] * 5) == ["not decided"] * 7
    assert said(*[replace(claims[0], better="maddpg")] * 5)[:2] == ["not decided"] * 2, "claims without runs count, too"
    others = [replace(claims[0], family="another")] * 5
    assert said(*others) == ["holds", "opposite", *["holds"] * 5], "corrected within a family"
    assert said(Claim("...", "bar", "hmf", 5.0, corrected=True))[2] == "not decided"


def test_intervals_of_claims_made_together_are_wider(tmp_path: Path) -> None:
    """The one of the gain does not depend on the others."""
    store = FileStore(tmp_path / "sacred")
    for seed in range(1, 9):
        recorded.put(store, seed, config("iql", "bar", seed), values=[10, 0])
        recorded.put(store, 10 + seed, config("hmf", "bar", seed), values=[0, seed**2])
    claim = Claim("...", "bar", "hmf", "iql", corrected=True)
    alone, many = (verdicts([claim] * n, tasks_of(store)) for n in (1, 5))
    assert alone.head == ["claim", "task", "who", "gain", "corrected", "p", "verdict"]
    assert alone.rows[0][3] == many.rows[0][3]
    gain = alone.rows[0][3]
    assert isinstance(gain, Estimate)
    assert alone.rows[0][4] == bounds(gain)
    low, high = map(float, str(many.rows[0][4]).strip("[]").split(", "))
    assert gain.low is not None
    assert gain.high is not None
    assert low < gain.low
    assert gain.high < high
    without = verdicts([claim, replace(claim, worse="maddpg")], tasks_of(store))
    assert without.rows[1][4] is None


def test_differences_are_paired_by_seed(store: FileStore) -> None:
    assert verdicts([Claim("...", "bar", "hmf", "iql")], tasks_of(store)).rows[0][3] == Estimate(1, 1, 1, 4)


def test_the_mean_height_of_the_curve_decides_where_a_claim_says_so(store: FileStore) -> None:
    row = verdicts([Claim("...", "bar", "iql", "hmf", by="auc")], tasks_of(store)).rows[0]
    assert row[2:] == ["iql > hmf (auc)", Estimate(4.5, 4.5, 4.5, 4), "0.12", "reproduced"]


def test_a_gain_beyond_that_on_another_task_is_what_is_more(store: FileStore) -> None:
    """HMF ends 1 above IQL with room for 60, and 0, 1, 2 with room for 30: the fourth seed was not run there."""
    for seed in (1, 2, 3):
        recorded.put(store, 40 + seed, config("iql", "bar_30", seed), values=[seed])
        recorded.put(store, 50 + seed, config("hmf", "bar_30", seed), values=[2 * seed - 1])
    claim = Claim("...", "bar env_args.capacity=60", "hmf", "iql", beyond="bar env_args.capacity=30")
    table = verdicts([claim, replace(claim, beyond="spread")], tasks_of(store))
    where = "bar env_args.capacity=60 beyond bar env_args.capacity=30"
    gain = Estimate(0, -1, 1, 3)
    assert table.rows[0][1:4] == [where, "hmf > iql", gain]
    assert table.rows[1][-1] == "not decided: no run here is on spread"
    assert "beyond: the gain on the first task less that on the second" in table.caption


def test_an_interval_that_touches_0_decides_nothing() -> None:
    assert verdict(Estimate(1, 0, 2, 4)) == verdict(Estimate(-1, -2, 0, 4)) == "not reproduced"
    nan = Estimate(np.nan, np.nan, np.nan, 4)
    assert verdict(nan) == verdict(nan, np.nan) == "not decided: a score is no number"


def test_a_task_without_runs_is_not_decided(store: FileStore) -> None:
    row = verdicts([Claim("...", "spread", "hmf", "iql")], tasks_of(store)).rows[0]
    assert row[3:] == [None, "", "not decided: no run here is on spread"]


def test_methods_without_a_common_seed_are_not_decided(store: FileStore) -> None:
    recorded.put(store, 40, config("maddpg", "bar", 9), values=[0, 9])
    row = verdicts([Claim("...", "bar", "maddpg", "iql")], tasks_of(store)).rows[0]
    assert row[3:] == [None, "", "not decided: no seed has runs of both"]


def test_a_task_of_ones_own_is_claimed_by_the_name_in_tables() -> None:
    for task in (Task("Guess", "Guess", [], {"env": "guess:Guess"}), Task("battle", "battle", [], {"env": "battle"})):
        assert task.fits(task.env)
        assert task.fits(str(task.config["env"]))
        assert not task.fits("bar")


def test_a_task_is_found_by_its_arguments_whatever_else_is_in_the_report(store: FileStore) -> None:
    claims = [Claim("...", f"bar env_args.capacity={capacity}", "hmf", "iql") for capacity in (60, 30)]
    rows = verdicts(claims, tasks_of(store)).rows
    assert [row[-1] for row in rows] == ["reproduced", "not decided: no run here is on bar env_args.capacity=30"]
    recorded.put(store, 99, config("iql", "bar_30", 1))
    again = verdicts(claims, tasks_of(store)).rows
    assert again[0] == rows[0]
    assert again[1][-1] == "not decided: no run on bar env_args.capacity=30 is called hmf"
    with pytest.raises(RecordError, match=r"the task 'bar' may be bar env_args.capacity=30, bar env_args.capacity=60"):
        verdicts([Claim("...", "bar", "hmf", "iql")], tasks_of(store))


def test_a_task_is_found_by_the_label_that_tables_print(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for run_id, capacity in enumerate(("0.00001", "0.5"), start=1):
        values = config("iql", "bar", 1).to_dict()
        values["env_args"] = {
            **values["env_args"],
            "pad": run_id == 1,
            "x": float(capacity),
            "most": [None, 3][run_id - 1],
        }
        recorded.put(store, run_id, values)
    tasks = tasks_of(store)
    assert [task.label for task in tasks] == [
        "bar env_args.most=3 env_args.pad=false env_args.x=0.5",
        "bar env_args.most=null env_args.pad=true env_args.x=1.0e-05",
    ]
    for task in tasks:
        assert [other.label for other in tasks if other.fits(task.label)] == [task.label]
    assert tasks[1].fits("bar env_args.pad=True env_args.x=1e-05")
    assert not tasks[1].fits("bar env_args.no_such=null")


def test_a_task_is_found_by_its_label_where_a_key_of_it_came_later(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for run_id, size in enumerate((100.0, 200.0), start=1):
        values = config("iql", "pursuit", 1, f"env_args.world_size={size}").to_dict()
        if run_id == 1:
            del values["env_args"]["world_size"]
        recorded.put(store, run_id, values)
    tasks = tasks_of(store)
    for task in tasks:
        assert "world_size" in task.label
        assert [other.label for other in tasks if other.fits(task.label)] == [task.label]


def test_a_misspelt_task_is_said_with_the_nearest() -> None:
    """By its environment, or, where that is right, by its arguments."""
    ring = Task("Ring", "Ring", [], {"env": "relay:Ring", "env_args.n": 3})
    tasks = [replace(ring, methods=[Method("hmf", {1: Curve.of([1.0])})], label=f"Ring n={n}") for n in (3, 4)]
    for described, near in (("ring n=9", "Ring"), ("relay:ring", "relay:Ring"), ("Ring m=4", "Ring n=4"), ("sea", "")):
        (text,) = unknown(Claim("...", described, "hmf", "iql"), tasks)
        assert text == f"no run here is on {described}" + (f". Did you mean '{near}'?" if near else "")


def test_every_unknown_name_is_one_line_beside_the_report(
    tmp_path: Path, store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Which goes on: runs may not be finished."""
    lines = ["{claim: a, task: bar, better: hmff, worse: qli}", "{claim: b, task: bar, better: hmff, worse: 1}"]
    (tmp_path / "claims.yaml").write_text("".join(f"- {line}\n" for line in [*lines, lines[0].replace("bar", "baar")]))
    assert main([f"--claims={tmp_path / 'claims.yaml'}", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "--claims: no run on bar is called hmff. Did you mean 'hmf'?",
        "--claims: no run on bar is called qli. Did you mean 'iql'?",
        "--claims: no run here is on baar. Did you mean 'bar'?",
    ]
    assert (
        "| not decided: no run on bar is called hmff. Did you mean 'hmf'? |"
        in (tmp_path / "out" / "verdicts.md").read_text()
    )


def test_claims_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as error:
        load_claims(path)
    assert str(error.value) == (
        f"--claims {path}: expected a YAML file of claims, cannot read it (No such file or directory). "
        "Correct the path."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", r"claims.yaml: not valid YAML: .*line 1"),
        ("- {claim: a, task: bar 30, better: hmf, worse: iql}", "claim 1: expected a task such as .* got 'bar 30'"),
        ("- {claim: a, task: '', better: hmf, worse: iql}", "claim 1: expected a task such as .* got ''"),
        ("- {claim: a, task: bar, beyond: n=3, better: hmf, worse: 2}", "claim 1: expected a task .* got 'n=3'"),
        ("{}", "expected a list of mappings"),
        ("- hmf", "expected a list of mappings"),
        ("- {claim: a, task: bar, better: hmf, than: iql}", "claims.yaml, claim 1: unknown key 'than'"),
        ("- {claim: a, task: bar, better: hmf}", "claims.yaml, claim 1: the key 'worse' is missing"),
        ("- {claim: a, task: bar, better: hmf, worse: null}", "claims.yaml, claim 1: worse"),
        ("- {claim: a, task: bar, better: hmf, worse: iql, by: best}", "claims.yaml, claim 1: by = 'best'"),
    ],
)
def test_bad_claims(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "claims.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_claims(tmp_path / "claims.yaml")
    assert "\n" not in str(error.value)


def test_the_papers_claims_are_about_planned_runs() -> None:
    """A misspelt method or task would stay undecided for ever."""
    planned: set[tuple[str, str]] = set()
    for name in available("experiments"):
        if name.startswith("paper_"):
            for run in plan(*load_experiment(name), Path("results")):
                capacity = run.config.env_args.get("capacity")
                task = run.config.env if capacity is None else f"{run.config.env} env_args.capacity={capacity}"
                planned.add((task, run.config.name))
    claims = load_claims(ROOT / "results" / "first" / "claims.yaml")
    wanted = {(claim.task, side) for claim in claims for side in (claim.better, claim.worse) if isinstance(side, str)}
    assert wanted - planned == set()


def test_files_replace_what_stood_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.md").write_text("| hmf |\n")
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- file: data/t.md -->\nold\n<!-- end -->\nb\n<!-- file: data/t.md -->\n<!-- end -->\n")
    fill(page)
    once = page.read_text()
    assert once.count("| hmf |") == 2
    assert "old" not in once
    assert once.startswith("a\n")
    assert "\nb\n" in once
    fill(page)
    assert page.read_text() == once, "filling again changes nothing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nothing", "0 of its 0 places are whole"),
        ("<!-- file: a.md -->\n", "0 of its 1 places are whole"),
        ("<!-- file: a.md -->\nprose\n<!-- file: b.md -->\n<!-- end -->\n", "1 of its 2 places are whole"),
        ("<!-- file: a.md --> \n<!-- end -->\n", "0 of its 1 places are whole"),
        ("<!-- file: none.md -->\n<!-- end -->\n", "none.md cannot be read"),
    ],
)
def test_bad_pages_stay_as_they_are(tmp_path: Path, content: str, message: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(content)
    with pytest.raises(RecordError, match=rf"--page .*page.md.*{message}"):
        fill(page)
    assert page.read_text() == content


def test_report_judges_claims_and_fills_the_page(tmp_path: Path, store: FileStore) -> None:
    claims = [{"claim": "HMF wins", "task": "bar", "better": "hmf", "worse": "iql"}]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- file: out/verdicts.md -->\n<!-- end -->\n")
    words = [f"--claims={tmp_path / 'claims.yaml'}", f"--page={page}", f"--results={tmp_path}"]
    assert main([*words, f"--out={tmp_path / 'out'}"]) == 0
    assert "| HMF wins | bar | hmf > iql | 1 [1, 1] (n=4) | 0.12 | reproduced |" in page.read_text()
    assert (tmp_path / "out" / "verdicts.csv").exists()


def test_claims_are_judged_also_where_the_reference_has_no_run(tmp_path: Path, store: FileStore) -> None:
    for seed in (1, 2, 3, 4):
        recorded.put(store, 40 + seed, config("iql", "bar_30", seed), values=[seed])
        recorded.put(store, 50 + seed, config("vdn", "bar_30", seed), values=[seed + 1])
    claims = tmp_path / "claims.yaml"
    claims.write_text("- {claim: c, task: bar env_args.capacity=30, better: vdn, worse: iql}\n")
    words = ["--results", str(tmp_path), "--out", str(tmp_path / "out"), "--claims", str(claims), "--reference", "hmf"]
    assert main(words) == 0
    assert "| reproduced |" in (tmp_path / "out" / "verdicts.md").read_text()


def test_several_files_of_claims_make_one_list(tmp_path: Path, store: FileStore) -> None:
    """Each still corrects p within its own families."""
    words = []
    for name in ("first", "second"):
        claim = {"claim": name, "task": "bar", "better": "hmf", "worse": "iql", "family": name}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump([claim]))
        words.append(f"--claims={tmp_path / name}.yaml")
    assert main([*words, f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    assert (
        "| first | bar | hmf > iql | 1 [1, 1] (n=4) | 0.12 | reproduced |\n| second |"
        in (tmp_path / "out" / "verdicts.md").read_text()
    )


def test_a_bad_page_stops_the_report_before_it_writes(
    tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--page={tmp_path / 'none.md'}", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    assert re.match("error: --page .* cannot be read", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_more_claims_make_each_harder(store: FileStore) -> None:
    """Four seeds of one sign: p = 2 / 2^4, times the number of claims that are no more certain."""
    claim, other = Claim("...", "bar", "hmf", "iql"), Claim("...", "bar", "hmf", "vdn")
    assert [row[4] for row in verdicts([claim], tasks_of(store)).rows] == ["0.12"]
    assert [row[4] for row in verdicts([claim, other], tasks_of(store)).rows] == ["0.25", "1"]
