"""Verdicts on claims, and the pages that show tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.unit import recorded
from tests.unit.test_report import config, tasks_of

from analysis.claims import Claim, load_claims, verdict, verdicts
from analysis.page import fill
from analysis.statistics import Estimate
from report import main
from utils.recording.files import RecordError
from utils.recording.store import FileStore


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """On Bar hmf ends 1 above iql with every seed and about the same as vdn; qmix has one seed."""
    store = FileStore(tmp_path / "sacred")
    for seed in (1, 2, 3):
        recorded.put(store, seed, config("iql", "bar", seed), values=[0, seed])
        recorded.put(store, 10 + seed, config("hmf", "bar", seed), values=[0, seed + 1])
        recorded.put(store, 20 + seed, config("vdn", "bar", seed), values=[0, 5 - seed])
    recorded.put(store, 31, config("frozen", "bar", 1), values=[0, 3])
    return store


@pytest.mark.parametrize(
    ("method", "above", "said"),
    [
        ("hmf", "iql", "reproduced"),
        ("iql", "hmf", "opposite"),
        ("hmf", "vdn", "not reproduced"),
        ("frozen", "iql", "not decided: no interval"),
        ("hmf", 1, "reproduced"),
        ("hmf", 4.5, "opposite"),
        ("hmf", 3, "not reproduced"),
        ("maddpg", "iql", "no runs yet"),
    ],
)
def test_the_interval_decides(store: FileStore, method: str, above: str | float, said: str) -> None:
    row = verdicts([Claim("...", "bar", method, above)], tasks_of(store)).rows[0]
    assert row[-1] == said
    assert row[2] == f"{method} > {above}"


def test_differences_are_paired_by_seed(store: FileStore) -> None:
    assert verdicts([Claim("...", "bar", "hmf", "iql")], tasks_of(store)).rows[0][3] == Estimate(1, 1, 1, 3)


def test_an_interval_that_touches_0_decides_nothing() -> None:
    assert verdict(Estimate(1, 0, 2, 4)) == verdict(Estimate(-1, -2, 0, 4)) == "not reproduced"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be read"),
        ("{}", "expected a list of mappings with the keys above, claim, method, task"),
        ("- hmf", "claim 1: expected the keys .*, got 'hmf'"),
        (
            "- {claim: a, task: bar, method: hmf, than: iql}",
            "claim 1: expected the keys .*, got claim, method, task, than",
        ),
    ],
)
def test_bad_claims(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "claims.yaml").write_text(content)
    with pytest.raises(RecordError, match=message):
        load_claims(tmp_path / "claims.yaml")


def test_a_claim_about_no_task(store: FileStore) -> None:
    with pytest.raises(RecordError, match=r"--claims: no task 'baar' among these runs\. Did you mean 'bar'"):
        verdicts([Claim("...", "baar", "hmf", "iql")], tasks_of(store))


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


def test_bad_pages(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    with pytest.raises(RecordError, match=r"--page .*page.md cannot be read"):
        fill(page)
    page.write_text("nothing")
    with pytest.raises(RecordError, match=r"expected at least one '<!-- file: PATH -->'"):
        fill(page)
    page.write_text("<!-- file: none.md -->\n<!-- end -->")
    with pytest.raises(RecordError, match=r"--page .*page.md: .*none.md cannot be read"):
        fill(page)
    assert page.read_text() == "<!-- file: none.md -->\n<!-- end -->"


def test_report_judges_claims_and_fills_the_page(tmp_path: Path, store: FileStore) -> None:
    claims = [{"claim": "HMF wins", "task": "bar", "method": "hmf", "above": "iql"}]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- file: out/verdicts.md -->\n<!-- end -->\n")
    words = [f"--claims={tmp_path / 'claims.yaml'}", f"--page={page}", f"--results={tmp_path}"]
    assert main([*words, f"--out={tmp_path / 'out'}"]) == 0
    assert "| HMF wins | bar | hmf > iql | 1 [1, 1] (n=3) | reproduced |" in page.read_text()
    assert (tmp_path / "out" / "verdicts.csv").exists()


def test_a_bad_page_is_one_line(tmp_path: Path, store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--page={tmp_path / 'none.md'}", f"--results={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    assert re.match("error: --page .* cannot be read", capsys.readouterr().err)


def test_the_paper_s_claims_can_be_read() -> None:
    claims = load_claims(Path(__file__).parents[2] / "results" / "paper" / "claims.yaml")
    assert {claim.task for claim in claims} >= {"battle", "spread", "pursuit"}
