"""The ``runs`` command over recorded runs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import runs
from analysis.comparison import CURVE
from analysis.curves import label, picture
from assembly.registries import REGISTRIES
from config.loader import layers
from config.resolve import make_config
from records.files import Curve
from records.presets import set_keys
from records.query import env_title, flatten, parse_condition, telling_keys
from records.store import FileStore, RunRecord, utc_now
from utils import paths

if TYPE_CHECKING:
    from tests.support.mongo_server import Embedded

NOW = utc_now().isoformat()
pytest_plugins = ["tests.support.mongo_server"]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """Three runs in ./results/sacred: 1 and 2 differ in lr, 3 still runs on another environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)  # as in the project's folder
    monkeypatch.delenv("MONGO_URL", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)  # a terminal's width, which test processes may be given
    store = FileStore(Path("results/sacred"))
    for run_id, env, lr, status in (
        (1, "battle", 0.1, "COMPLETED"),
        (2, "battle", 0.2, "FAILED"),
        (3, "bar", 0.1, "RUNNING"),
    ):
        start = utc_now() - timedelta(minutes=1)
        entry = {
            "experiment": {"name": "hmf", "mainfile": "main.py"},
            "status": status,
            "start_time": start.isoformat(),
            "heartbeat": start.isoformat(),
            "stop_time": None if status == "RUNNING" else (start + timedelta(seconds=65)).isoformat(),
            "git": {"commit": "c" * 40, "dirty": True},
            "fail_trace": ["Traceback\n", "ValueError: boom\n"] if status == "FAILED" else None,
        }
        config = {"name": "hmf", "env": env, "lr": lr, "seed": 1, "gamma": 0.9}
        curve = Curve([0, 100], [0.0, float(run_id)], [start.isoformat()] * 2)
        store.put(RunRecord(run_id, entry, config, {"device": "cpu"}), {"test_return_mean": curve}, "")
    return store


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert runs.main(argv) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert runs.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_ls_shows_the_keys_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = printed(capsys, "ls").splitlines()
    assert head.split() == ["id", "status", "started", "(UTC)", "duration", "name", "env", "seed", "lr"]
    assert [row.split()[0:2] + row.split()[4:] for row in rows] == [
        ["1", "COMPLETED", "0:01:05", "hmf", "battle", "1", "0.1"],
        ["2", "FAILED", "0:01:05", "hmf", "battle", "1", "0.2"],
        ["3", "RUNNING", rows[2].split()[4], "hmf", "bar", "1", "0.1"],
    ]


def test_ls_says_when_no_run_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "ls", "env=guess", "lr<1") == "no run fits env=guess lr<1\n"


def test_ls_names_the_nearest_value_when_no_run_fits(capsys: pytest.CaptureFixture[str], files: FileStore) -> None:
    """An environment by each of its names; of several conditions the first that no run meets."""
    put(files, 4, env="relay:Ring", grouping="ipc", hidden_dims=[64, 64])
    for words, near in (
        (["env=ring"], "env=Ring"),
        (["env=relay:Rong"], "env=relay:Ring"),
        (["lr<1", "env=battle", "grouping=icp"], "grouping=ipc"),
    ):
        assert printed(capsys, "ls", *words) == f"no run fits {' '.join(words)}. Did you mean '{near}'?\n"
    for words in (["env=ring", "--status", "FAILED"], ["hidden_dims=[64, 32]"], ["lr=0.7"], ["env!=ring", "env=sea"]):
        assert ("Did you mean" in printed(capsys, "ls", *words)) == (words[0] == "env=ring")


def test_ls_filters_and_shows_the_metric_it_filters_on(capsys: pytest.CaptureFixture[str]) -> None:
    head, row = printed(capsys, "ls", "env=battle", "test_return_mean<2", "--status", "COMPLETED").splitlines()
    assert head.split()[:3] == ["id", "status", "test_return_mean"]  # first: a narrow terminal drops the rest
    assert row.split()[:3] == ["1", "COMPLETED", "1"]
    head, *_, row = printed(capsys, "ls", "--metric", "test_return_mean").splitlines()
    assert head.split()[:3] == ["id", "status", "test_return_mean"]
    assert row.split()[2] == "3"


def put(
    files: FileStore, run_id: int, info: dict[str, Any] | None = None, values: Sequence[float] = (0.0,), **config: Any
) -> None:
    """A run like run 1 but for its configuration, and what it logged."""
    like = files.get(1)
    curves = {"test_return_mean": Curve([100 * i for i in range(len(values))], [*values], [NOW] * len(values))}
    files.put(replace(like, id=run_id, config={**like.config, **config}, info=info or {}), curves, "")


def test_ls_is_as_wide_as_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: FileStore
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    short = printed(capsys, "ls")
    assert "left out" not in short
    put(files, 4, name="x" * 20)
    lines = printed(capsys, "ls").splitlines()
    assert lines[0].split()[-1] == "env"
    assert lines[-1] == "2 columns left out; --columns KEY,... chooses: seed, lr"
    assert len(lines) == 6
    assert max(map(len, lines)) <= 72
    monkeypatch.setenv("COLUMNS", "1")
    assert [line.split() for line in printed(capsys, "ls").splitlines()[:5]] == [["id"], ["1"], ["2"], ["3"], ["4"]]
    monkeypatch.delenv("COLUMNS")  # a pipe has room for all
    assert printed(capsys, "ls").splitlines()[0].split()[-1] == "lr"


def test_ls_shows_the_columns_asked_for_in_the_order_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "ls", "--columns", "lr,gamma", "--metric", "test_return_mean", "--sort=-test_return_mean")
    assert [line.split() for line in text.splitlines()] == [
        ["id", "lr", "gamma", "test_return_mean"],
        ["3", "0.1", "0.9", "3"],
        ["2", "0.2", "0.9", "2"],
        ["1", "0.1", "0.9", "1"],
    ]


def order(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Ids in the order of the list."""
    return [line.split()[0] for line in printed(capsys, "ls", *argv).splitlines()[1:]]


def test_ls_sorts_by_any_column_and_keeps_the_newest(capsys: pytest.CaptureFixture[str], files: FileStore) -> None:
    put(files, 10, lr=0.05, seed=10, extra="a")
    put(files, 11, lr=float("nan"), seed=2)
    assert order(capsys) == ["1", "2", "3", "10", "11"]
    assert order(capsys, "--sort", "lr") == ["10", "1", "3", "2", "11"]  # no number is no place
    assert order(capsys, "--sort=-lr") == ["2", "1", "3", "10", "11"]
    assert order(capsys, "--sort=-id") == ["11", "10", "3", "2", "1"]  # as numbers
    assert order(capsys, "--sort=-duration")[-1] == "3"
    assert order(capsys, "--sort=extra") == ["10", "1", "2", "3", "11"]
    assert order(capsys, "--last", "2") == ["10", "11"]
    assert order(capsys, "--last", "9", "--sort=env") == ["3", "1", "2", "10", "11"]
    assert order(capsys, "env=battle", "--last", "1") == ["11"]


def test_ls_shows_the_results_of_runs_that_have_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: FileStore
) -> None:
    """Without being asked, beside the state, where a narrow terminal keeps it; metrics asked for come before it."""
    assert "result" not in printed(capsys, "ls", "env=bar"), "a run that goes on has none"
    like = files.get(1)
    for run_id, result in ((4, 2.123456), (5, -1.0)):
        files.put(replace(like, id=run_id, entry={**like.entry, "result": result}), {}, "")
    monkeypatch.setenv("COLUMNS", "40")
    head, *rows = [line.split() for line in printed(capsys, "ls", "env=battle").splitlines()]
    assert head[:3] == ["id", "status", "result"]
    assert [row[2] for row in rows[2:4]] == ["2.123", "-1"]
    monkeypatch.delenv("COLUMNS")
    assert printed(capsys, "ls", "--metric", "test_return_mean").split()[2:4] == ["test_return_mean", "result"]
    assert order(capsys, "--sort=-result")[:2] == ["4", "5"]
    assert printed(capsys, "ls", "--columns", "result,lr", "--last", "1").split() == [
        "id",
        "result",
        "lr",
        "5",
        "-1",
        "0.1",
    ]


def test_ls_marks_resumed_runs(capsys: pytest.CaptureFixture[str], files: FileStore) -> None:
    assert "resumes" not in printed(capsys, "ls")
    put(files, 4, {"resumed_from": 2, "resumed_at": 50, "resumed_start": files.get(2).entry["start_time"]})
    rows = [line.split() for line in printed(capsys, "ls", "--columns", "resumes").splitlines()]
    assert rows == [["id", "resumes"], ["1"], ["2"], ["3"], ["4", "2"]]
    assert "resumes" in printed(capsys, "ls").splitlines()[0]


def test_show_names_configuration_metrics_commit_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "show", "2")
    for part in (
        "run 2 in results/sacred: FAILED",
        "cccc with uncommitted changes",
        "gamma",
        "device",
        "ValueError: boom",
    ):
        assert part in text
    assert ["test_return_mean", "2", "100", "2"] in [line.split() for line in text.splitlines()]


def test_show_is_brief_and_marks_what_was_set(capsys: pytest.CaptureFixture[str], files: FileStore) -> None:
    """Numbers are rounded, lists that grow show their last row; a place of recording is no choice."""
    words = ["lr=0.1", "env_args.n_agents=40", "local_results_path=/elsewhere"]
    config = make_config(layers("iql", "bar", words), REGISTRIES)[0].to_dict()
    entry = {**files.get(1).entry, "start_time": "2026-01-02T03:04:05.678901", "result": 1.4535130187869072}
    info = {
        "cpu_seconds": [[0, 0.0004125450000000974], [2000, 6.138128883]],
        "resolved": {"replay_ratio": 1 / 3, "obs_shape": [7, 7]},
    }
    files.put(RunRecord(4, entry, config, info), {}, "")
    text = printed(capsys, "show", "4")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line]
    assert {line[1].split()[0] for line in lines if line[0] == "*"} == {"lr", "env_args.n_agents"}
    assert ["cpu_seconds", "2 points, last [2000, 6.1381]"] in lines
    assert ["resolved", "{'obs_shape': [7, 7], 'replay_ratio': 0.33333}"] in lines
    assert "started 2026-01-02 03:04:05 UTC" in text
    assert "\nresult 1.4535, version" in text
    assert "\n*: not what the files of src/config give" in text


def test_diff_shows_differing_keys_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split() for line in printed(capsys, "diff", "1", "2").splitlines()] == [
        ["key", "run", "1", "run", "2"],
        ["lr", "0.1", "0.2"],
    ]
    assert printed(capsys, "diff", "1", "1") == "The configurations are equal.\n"


def test_show_takes_a_run_s_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_id = printed(capsys, "show", "2")
    elsewhere = shutil.copytree("results", tmp_path / "elsewhere")
    assert printed(capsys, "show", f"{elsewhere}/sacred/2") == by_id.replace("results/sacred", f"{elsewhere}/sacred")
    assert "expected a run's id under results/sacred or its folder, got 'none/2'" in refused(capsys, "show", "none/2")
    renamed = (elsewhere / "sacred/2").rename(elsewhere / "mine")
    assert f"a folder that is named by its run's id, got {renamed}" in refused(capsys, "show", f"{renamed}")


def test_legends_shorten_numbers() -> None:
    config = {"lr": 0.004732809029914363, "n_groups": 4, "grouping": "ipc"}
    assert label([RunRecord(7, {}, config, {})], config) == "run 7: lr=0.004733, n_groups=4, grouping=ipc"


def test_plot_writes_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "plot", "1", "2", "--output", "a.png") == "a.png\n"
    assert imread("a.png").shape[:2] == (690, 1200)  # a line of the legend for each run, and one for both
    assert printed(capsys, "plot", "1") == "results/tmp/runs.png\n"
    assert imread("results/tmp/runs.png").shape[1] == 1200


def test_the_picture_has_a_line_per_run_and_a_legend_of_differing_keys(files: FileStore) -> None:
    name = "test_return_mean"
    figure = picture([files.get(1), files.get(2)], [files.metrics(1), files.metrics(2)], [name])
    (axis,) = figure.axes
    assert [list(line.get_ydata()) for line in axis.lines] == [[0, 1], [0, 2]]  # type: ignore[arg-type]
    assert [line.get_label() for line in axis.lines] == ["run 1: lr=0.1", "run 2: lr=0.2"]
    assert axis.get_legend() is None
    assert [text.get_text() for text in figure.legends[0].texts] == ["run 1: lr=0.1", "run 2: lr=0.2"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("t_env (environment steps)", name)


def lines(figure: Figure) -> dict[str, list[float]]:
    """Label -> values of the lines of the only panel."""
    return {str(line.get_label()): list(np.asarray(line.get_ydata())) for line in figure.axes[0].lines}


def test_runs_that_differ_only_in_the_seed_are_one_line_with_an_interval(files: FileStore) -> None:
    name = "test_return_mean"
    put(files, 4, seed=2, values=[4.0, 9.0])
    put(files, 5, seed=3, values=[1.0, 2.0])
    records = [files.get(run_id) for run_id in (1, 2, 4, 5)]
    curves = [files.metrics(record.id) for record in records]
    together = picture(records, curves, [name])
    assert lines(together) == {"runs 1, 4, 5: lr=0.1": pytest.approx([5 / 3, 4]), "run 2: seed=1, lr=0.2": [0, 2]}
    (band,) = together.axes[0].collections
    heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (heights.min(), heights.max()) == (0, 9)  # of three seeds: from the worst to the best
    said = " ".join(together.legends[0].get_title().get_text().split())
    assert said == f"hmf on battle. {CURVE}", "as reports say it"
    assert "n < 4: the plain mean" in said
    assert "two to four seeds the interval is the range from the worst to the best" in said
    apart = picture(records, curves, [name], each=True)
    assert list(lines(apart)) == [
        f"run {i}: seed={s}, lr={lr}" for i, s, lr in ((1, 1, 0.1), (2, 1, 0.2), (4, 2, 0.1), (5, 3, 0.1))
    ]
    assert not apart.axes[0].collections
    assert apart.legends[0].get_title().get_text() == "hmf on battle"
    put(files, 6, seed=3)
    records.append(files.get(6))
    again = picture(records, [*curves, files.metrics(6)], [name])
    assert len(lines(again)) == 5  # the same seed twice: what differs is not recorded in the configuration


def test_smoothing_averages_the_last_points_of_every_run(capsys: pytest.CaptureFixture[str], files: FileStore) -> None:
    put(files, 4, seed=2, values=[0.0, 3.0, 6.0, 0.0])
    figure = picture([files.get(4)], [files.metrics(4)], ["test_return_mean"], smooth=3)
    assert lines(figure) == {"run 4": [0, 1.5, 3, 3]}
    assert figure.axes[0].get_ylabel() == "test_return_mean\n(mean of 3 points)"
    printed(capsys, "plot", "1", "4", "--output", "raw.png")
    printed(capsys, "plot", "1", "4", "--smooth", "3", "--output", "smooth.png")
    printed(capsys, "plot", "1", "4", "--each", "--output", "each.png")
    pictures = [Path(f"{name}.png").read_bytes() for name in ("raw", "smooth", "each")]
    assert len(set(pictures)) == 3


def test_keys_that_follow_from_the_names_of_algorithm_and_environment_are_left_out() -> None:
    """But not what a run sets itself, nor keys of an algorithm that has no file."""
    iql, hmf, tuned, battle, replay = (
        flatten(make_config(layers(algorithm, environment, words), REGISTRIES)[0].to_dict())
        for algorithm, environment, words in (
            ("iql", "bar", ["seed=1"]),
            ("hmf", "bar", ["seed=2"]),
            ("hmf", "bar", ["seed=2", "lr=0.5"]),
            ("hmf", "battle", ["seed=2"]),
            ("hmf", "bar", ["seed=2", "regime=replay"]),
        )
    )
    assert {"mac", "learner", "mixer"} <= set(telling_keys([iql, hmf]))
    assert set(set_keys([iql, hmf])) == {"name", "seed"}
    assert set_keys([iql, hmf, tuned]) == ["name", "seed", "lr"]
    assert {"mac", "learner", "mixer"} <= set(set_keys([iql, {**hmf, "name": "mine"}]))
    equal, other = (
        flatten(make_config(layers("iql", "battle", ["env_args.opponent=learner", *words]), REGISTRIES)[0].to_dict())
        for words in ([], ["opponent_config=vdn", "opponent_args.lr=0.1"])
    )
    assert set_keys([equal, other]) == ["opponent_config", "opponent_args.lr"]
    teams = {key: value for key, value in other.items() if not key.startswith("opponent_")}
    one, two = ({**teams, "opponent_config.a": name, "opponent_config.b": "iql"} for name in ("vdn", "mfq"))
    assert {"opponent_config", "opponent_config.a", "opponent_config.b"} <= set(set_keys([one, two, other]))
    assert set_keys([one, two]) == ["opponent_config.a"]
    assert {"t_max", "gamma"} <= set(telling_keys([hmf, battle]))
    assert set_keys([hmf, battle]) == ["env"]
    assert set_keys([hmf, replay]) == ["regime"]


def test_a_variant_of_an_environment_is_called_by_its_file(files: FileStore) -> None:
    """In lists, legends and filters; what its file gives was not set, what a run sets beside it was."""

    def made(environment: str, *words: str) -> dict[str, Any]:
        return make_config(layers("iql", environment, list(words)), REGISTRIES)[0].to_dict()

    plain, variant, near = (flatten(made(*of)) for of in (("bar",), ("bar_80",), ("bar_80", "env_args.n_agents=70")))
    assert [env_title(config) for config in (plain, variant, near)] == ["bar", "bar_80", "bar_80"]
    arena = made("battle_symmetric", "env_args.opponent=self_play", "test_env_args.opponent=checkpoint")
    assert env_title(flatten(arena)) == "battle_symmetric", "not battle_opponent, which is as near and says more"
    old = {key: value for key, value in flatten(made("battle_100v50")).items() if key != "env_args.swap_sides"}
    assert env_title(old) == "battle_100v50", "a record from before a key"
    assert set_keys([plain, variant]) == ["env"]
    assert set_keys([plain, variant, near]) == ["env", "env_args.n_agents"]
    assert {config["env"] for config in (plain, variant, near)} == {"bar"}
    records = [replace(files.get(1), id=number, config=made(env)) for number, env in ((1, "bar"), (2, "bar_80"))]
    curve = Curve([0, 10], [1.0, 2.0], ["", ""])
    figure = picture(records, [{"loss": curve}, {"loss": curve}], ["loss"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["run 1: env=bar", "run 2: env=bar_80"]
    for words, met in (("env=bar", 2), ("env=bar_80", 1), ("env!=bar_80", 1), ("env!=bar", 0)):
        condition = parse_condition(words)
        assert sum(condition.met(config) for config in (plain, variant)) == met, words


@pytest.mark.filterwarnings("error")
def test_a_long_legend_is_wrapped_and_stays_inside_the_picture(files: FileStore) -> None:
    """Two tasks whose runs differ in many keys; none of it lies over the curves."""
    long = {f"key_{i}": "x" * 20 for i in range(12)}
    records = [
        replace(
            files.get(run_id),
            config={**files.get(run_id).config, **{key: f"{value}{run_id}" for key, value in long.items()}},
        )
        for run_id in (1, 3)
    ]
    figure = picture(records, [files.metrics(1), files.metrics(3)], ["test_return_mean"])
    figure.savefig("long.png")
    legend, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
    assert 0 <= legend.y0 < legend.y1 < axes.y0
    assert axes.height > 300 * figure.dpi / 150


def test_rm_asks_unless_told_not_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: FileStore
) -> None:
    for answer, left in (("", [1, 2, 3]), ("n\n", [1, 2, 3]), ("y\n", [2, 3])):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert "delete run 1 (COMPLETED) from results/sacred? [y/N]" in printed(capsys, "rm", "1")
        assert files.ids() == left
    assert printed(capsys, "rm", "2", "2", "--yes") == "run 2: deleted from results/sacred\n", "named twice"
    assert files.ids() == [3]
    assert "run 3: it is RUNNING. Stop it first" in refused(capsys, "rm", "3", "--yes")


def test_push_and_pull_carry_runs_through_mongodb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, embedded: Embedded, files: FileStore
) -> None:
    url = embedded.url("cli")
    monkeypatch.setenv("MONGO_URL", url)
    assert printed(capsys, "push").count("results/sacred -> 127.0.0.1") == 3
    assert printed(capsys, "ls", "--mongo-url", url) == printed(capsys, "ls")
    assert printed(capsys, "pull", "1") == "run 1: already in results/sacred\n"
    assert printed(capsys, "pull", "--results", "other").count("-> other/sacred") == 3
    copied = FileStore(Path("other/sacred"))
    for run_id in files.ids():
        assert copied.get(run_id).is_same_run(files.get(run_id))
        assert copied.get(run_id).config == files.get(run_id).config
        assert copied.metrics(run_id)["test_return_mean"].values == files.metrics(run_id)["test_return_mean"].values


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "8"], "run 8: not in results/sacred, the nearest is 3."),
        (["diff", "2"], "diff: expected two or more ids, got 2 alone. Add the run to compare with."),
        (["diff", "1", "9"], "run 9: not in results/sacred, the nearest is 3."),
        (["plot", "1", "--metric", "test_return"], "run 1: no metric 'test_return'. Did you mean 'test_return_mean'?"),
        (
            ["plot", "1", "--output", "results/sacred/1/run.json/a.png"],
            "--output: cannot write results/sacred/1/run.json/a.png",
        ),
        (["plot", "1", "--output", "noext"], "--output: expected a file's name that ends in one of ."),
        (["plot", "1", "--output", ""], " .svg, .svgz, .tif, .tiff, .webp, got '.'."),
        (["plot", "1", "--output", "results"], " .svg, .svgz, .tif, .tiff, .webp, got 'results'."),
        (["plot", "1", "--output", "a.xyz"], " .svg, .svgz, .tif, .tiff, .webp, got 'a.xyz'."),
        (["plot", "1", "--output", "no/such/a.png"], "--output: cannot write no/such/a.png ([Errno 2] No such file"),
        (
            ["ls", "evn=battle"],
            "filter 'evn': no run has a configuration key or a metric of this name. Did you mean 'env'?",
        ),
        (
            ["ls", "test_return_mean>abc"],
            "filter 'test_return_mean>abc': test_return_mean is a number in every run, expected one, "
            "got the text 'abc'. Write it like 3, 0.001 or 1e-3.",
        ),
        (["ls", "env=bar", "lr<ten"], "filter 'lr<ten': lr is a number in every run, expected one, got the text"),
        (["ls", "env>3"], "filter 'env>3': env is a text in every run, expected one, got the number 3."),
        (
            ["ls", "--results", "none"],
            "--results: expected a folder of results, whose runs are in its folder sacred; there is no 'none/sacred'. "
            "Correct it, or record a first run with src/main.py.",
        ),
        (["push", "--results", "none", "--mongo-url", "mongodb://x"], "there is no 'none/sacred'"),
        (["ls", "--metric", "test_retrn_mean"], "a metric of this name. Did you mean 'test_return_mean'?"),
        (["ls", "--columns", "lr,sed"], "--columns 'sed': none of these runs has a configuration key or a metric of"),
        (
            ["ls", "--sort=-sed"],
            "--sort 'sed': none of these runs has a configuration key or a metric of this name. Did",
        ),
        (["ls", "battle"], "filter 'battle': expected key=value"),
        (["ls", "--status", "RUNING"], "Did you mean 'RUNNING'?"),
        (["push"], "MongoDB: expected --mongo-url or $MONGO_URL"),
        (["ls", "--mongo-url", "http://x"], "MongoDB URL: expected mongodb://host:27017/database"),
        (["ls", "--mongo-url", "mongodb://127.0.0.1:1"], "MongoDB does not answer: 127.0.0.1:1"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert message in refused(capsys, *argv)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--last", "0"], "expected a whole number from 1 to 2147483647, got '0'"),
        (["--columns", "lr,,seed"], "expected names such as seed,lr, got 'lr,,seed'"),
    ],
)
def test_bad_options_of_ls_are_refused(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        runs.main(["ls", *words])
    assert message in capsys.readouterr().err


def test_there_are_no_runs_yet(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty/sacred").mkdir(parents=True)
    assert printed(capsys, "ls", "--results", "empty") == "no run fits these options\n"


def test_no_run_may_meet_a_filter(capsys: pytest.CaptureFixture[str]) -> None:
    """That is an answer, not an error."""
    for words in (["lr<1e-2"], ["lr>5"], ["env=spread"], ["test_return_mean>9"], ["env>a", "lr=0.7"]):
        assert len(printed(capsys, "ls", *words).splitlines()) == 1
