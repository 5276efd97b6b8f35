"""Ratings of a league's policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import crossplay
from analysis.league import league_table
from analysis.statistics import Estimate
from records.files import RecordError
from utils.cli import BAD_INPUT

WRITTEN = ("csv", "md", "pdf", "png", "svg", "tex")
GAMES = [[0, 0, 1, 0, 1], [10, 0, 3, 0, 1], [10, 10, 5, 0, 5], [20, 0, 9, 1, 0], [20, 10, 6, 2, 2]]


def test_later_policies_that_win_are_rated_higher() -> None:
    table, line = league_table(GAMES)
    assert [(row[0], *row[2:]) for row in table.rows] == [
        ("0", "0", "0", "0"),
        ("10", "3", "0", "1"),
        ("20", "15", "3", "2"),
    ]
    ratings = [row[1] for row in table.rows]
    assert line == dict(zip((0, 10, 20), ratings, strict=True))
    assert all(isinstance(rating, Estimate) for rating in ratings)
    values = [rating.value for rating in ratings if isinstance(rating, Estimate)]
    assert values == sorted(values)
    assert sum(values) == pytest.approx(3000)


def test_games_against_itself_rate_nobody() -> None:
    with pytest.raises(RecordError, match="expected games against past policies, got none"):
        league_table([[0, 0, 4, 1, 4]])


def test_the_command_reads_what_a_run_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sacred" / "1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "info.json").write_text(json.dumps({"league": GAMES}))
    words = ["--league", "1", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    assert crossplay.main(words) == 0
    assert "| 20 |" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"league.{kind}" for kind in WRITTEN}
    (folder / "info.json").write_text("{}")
    assert crossplay.main(words) == BAD_INPUT
    assert "error: league: expected games" in capsys.readouterr().err
