"""One contract over the stores of recorded runs: files, a mocked MongoDB, an embedded server, a real one."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from records.files import Curve, RecordError, read_json
from records.listing import Listing, overview
from records.query import Condition, differing_keys, env_name, flatten, parse_condition, telling_keys
from records.store import FileStore, RunRecord, RunStore, completed, join_curves, utc_now

if TYPE_CHECKING:
    from tests.support.mongo_server import Server

pytest_plugins = ["tests.support.mongo_server"]

START = utc_now().replace(microsecond=123000)


def record(run_id: int, status: str = "COMPLETED", info: dict[str, Any] | None = None, **config: Any) -> RunRecord:
    start = START + timedelta(seconds=run_id)
    entry = {
        "experiment": {"name": "hmf", "mainfile": "main.py"},
        "status": status,
        "start_time": start.isoformat(),
        "heartbeat": start.isoformat(),
        "stop_time": None if status == "RUNNING" else (start + timedelta(seconds=9, microseconds=5000)).isoformat(),
        "result": None,
        "git": {"commit": None, "dirty": True},
    }
    return RunRecord(run_id, entry, {"env": "battle", "lr": 0.1, **config}, info or {})


def curve(steps: list[int], first: float = 0.0) -> Curve:
    return Curve(steps, [first + step / 8 for step in steps], [f"2024-01-01T00:00:{step:02}.500000" for step in steps])


STORES = ["files", "mongomock_server", "embedded_server", pytest.param("real_server", marks=pytest.mark.mongo)]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    if request.param == "files":
        return FileStore(tmp_path / "runs")
    server: Server = request.getfixturevalue(request.param)
    return server.fresh_store()


def test_a_run_comes_back_as_it_was_put(store: RunStore) -> None:
    run = record(3, info={"device": "cpu"}, env_args={"size": 16, "names": ["a", "b"]})
    curves = {"loss": curve([1, 2, 5]), "return_mean": curve([5])}
    store.put(run, curves, "line one\nline two ü\n")
    assert store.get(3) == run
    assert store.get(3).is_same_run(run)
    assert store.metrics(3) == curves
    assert store.metrics(3, ["loss"]) == {"loss": curve([1, 2, 5])}
    assert store.output(3) == "line one\nline two ü\n"


def test_ids_are_ascending_and_empty_at_first(store: RunStore) -> None:
    assert list(store.ids()) == []
    assert list(store.list([parse_condition("lr>0")])) == []
    for run_id in (10, 2):
        store.put(record(run_id), {}, "")
    assert list(store.ids()) == [2, 10]


def test_a_removed_run_is_gone_with_its_metrics(store: RunStore) -> None:
    store.put(record(1), {"loss": curve([1])}, "")
    store.put(record(2), {"loss": curve([2])}, "")
    store.remove(1)
    assert list(store.ids()) == [2]
    assert store.metrics(2)["loss"].steps == [2]
    store.put(record(1), {}, "")
    assert store.metrics(1) == {}


@pytest.mark.parametrize("method", ["get", "metrics", "own_metrics", "output", "remove"])
def test_an_unknown_id_names_the_nearest(store: RunStore, method: str) -> None:
    with pytest.raises(RecordError, match=r"run 7: not in .*, there is none yet"):
        getattr(store, method)(7)
    for run_id in (1, 9):
        store.put(record(run_id), {}, "")
    with pytest.raises(RecordError, match=r"run 7: not in .*, the nearest is 9\. `python src/runs\.py ls` shows all"):
        getattr(store, method)(7)


def test_an_unknown_metric_names_the_nearest(store: RunStore) -> None:
    store.put(record(1), {"test_return_mean": curve([1])}, "")
    store.put(record(2), {}, "")
    with pytest.raises(RecordError, match=r"run 1: no metric 'test_retrn_mean'. Did you mean 'test_return_mean'\?"):
        store.metrics(1, ["test_retrn_mean"])
    with pytest.raises(RecordError, match=r"run 2: no metric 'loss'\. It logged none\."):
        store.metrics(2, ["loss"])


def listed(store: RunStore, *filters: str, status: str | None = None) -> list[int]:
    return [run.id for run in store.list([parse_condition(text) for text in filters], status)]


def test_list_filters_on_configuration_last_metric_values_and_status(store: RunStore) -> None:
    store.put(record(1, lr=0.1, env_args={"size": 16}), {"test_return_mean": curve([1, 16], first=1)}, "")  # last 3
    store.put(record(2, lr=0.2, env_args={"size": 16}), {"test_return_mean": curve([16, 1], first=1)}, "")  # last 1.125
    store.put(record(3, "FAILED", lr=0.2, env_args={"size": 40}), {}, "")
    assert listed(store) == [1, 2, 3]
    assert listed(store, "lr=0.2") == [2, 3]
    assert listed(store, "lr!=0.2") == [1]
    assert listed(store, "env_args.size<=16", "lr>0.15") == [2]
    assert listed(store, "test_return_mean>2") == [1]
    assert listed(store, "env=battle", "test_return_mean<2", status="COMPLETED") == [2]
    assert listed(store, "env=battle", "test_return_mean<2", status="FAILED") == []
    assert listed(store, status="FAILED") == [3]
    assert listed(store, "env>3") == []


def test_a_filter_that_no_run_knows_names_the_nearest(store: RunStore) -> None:
    store.put(record(1), {"test_return_mean": curve([1])}, "")
    with pytest.raises(RecordError, match=r"filter 'test_return': no run has .* Did you mean 'test_return_mean'\?"):
        listed(store, "test_return>3")
    with pytest.raises(RecordError, match=r"status 'COMPLETE': expected one of .* Did you mean 'COMPLETED'\?"):
        listed(store, status="COMPLETE")


def test_running_without_a_heartbeat_is_dead(store: RunStore) -> None:
    dead, now = record(2, "RUNNING"), utc_now().isoformat(timespec="milliseconds")
    alive = RunRecord(1, {**record(1, "RUNNING").entry, "heartbeat": now}, dead.config, {})
    old = (utc_now() - timedelta(minutes=3)).isoformat(timespec="milliseconds")
    store.put(alive, {}, "")
    store.put(RunRecord(2, {**dead.entry, "start_time": old, "heartbeat": old}, dead.config, {}), {}, "")
    assert [store.get(run_id).status for run_id in (1, 2)] == ["RUNNING", "DEAD"]
    assert listed(store, status="DEAD") == [2]


def test_a_chain_of_resumed_runs_reads_as_one_run(store: RunStore) -> None:
    """Run 1 was killed after its checkpoint at 20, run 2 after its own at 40."""
    store.put(record(1), {"loss": curve([10, 20, 30]), "test": curve([10])}, "")
    store.put(record(2, info={"resumed_from": 1, "resumed_at": 20}), {"loss": curve([30, 40, 50], 100)}, "")
    store.put(record(3, info={"resumed_from": 2, "resumed_at": 40}), {"loss": curve([50], 200)}, "")
    joined = store.metrics(3)
    assert joined["loss"].steps == [10, 20, 30, 40, 50]
    assert joined["loss"].values == [1.25, 2.5, 103.75, 105.0, 206.25]
    assert joined["test"].steps == [10]
    assert store.metrics(2, ["loss"])["loss"].steps == [10, 20, 30, 40, 50]
    assert store.own_metrics(3)["loss"].steps == [50]


def test_cpu_seconds_of_a_chain_add_up(store: RunStore) -> None:
    """Run 1 was killed after its checkpoint at 20, run 2 is the rest; run 3 continues one that recorded none."""
    first = record(1, info={"cpu_seconds": [[0, 0.0], [10, 1.0], [20, 2.0], [30, 9.0]]})
    second = record(2, info={"resumed_from": 1, "resumed_at": 20, "cpu_seconds": [[30, 1.5], [40, 2.5], [40, 2.75]]})
    old, third = record(4), record(5, info={"resumed_from": 4, "resumed_at": 20, "cpu_seconds": [[30, 1.5]]})
    for run in (first, second, old, third):
        store.put(run, {}, "")
    assert store.cpu_seconds(store.get(1)) == {0: 0.0, 10: 1.0, 20: 2.0, 30: 9.0}
    assert store.cpu_seconds(store.get(2)) == {0: 0.0, 10: 1.0, 20: 2.0, 30: 3.5, 40: 4.75}
    assert store.cpu_seconds(store.get(4)) == store.cpu_seconds(store.get(5)) == {}


def test_a_chain_whose_start_is_gone_shows_what_is_there(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(record(2, info={"resumed_from": 1, "resumed_at": 20}), {"loss": curve([30])}, "")
    assert store.metrics(2) == {"loss": curve([30])}
    assert "run 2 was resumed from a run 1, which is not in" in caplog.text


def test_a_chain_that_bites_its_tail_shows_its_own_points(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(record(2, info={"resumed_from": 2, "resumed_at": 20}), {"loss": curve([30])}, "")
    assert store.metrics(2) == {"loss": curve([30])}
    assert "run 2 was resumed from a run 2, which is another one in" in caplog.text


def test_a_chain_knows_its_start_by_more_than_a_number(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put(record(1), {"loss": curve([10, 20])}, "")
    info = {"resumed_from": 1, "resumed_at": 20, "resumed_start": record(1).entry["start_time"]}
    store.put(record(2, info=info), {"loss": curve([30])}, "")
    store.put(record(3, info={**info, "resumed_start": record(2).entry["start_time"]}), {"loss": curve([30])}, "")
    assert store.metrics(2)["loss"].steps == [10, 20, 30]
    assert caplog.text == ""
    assert store.metrics(3)["loss"].steps == [30]
    assert "run 3 was resumed from a run 1, which is another one in" in caplog.text


def test_the_step_of_the_checkpoint_is_kept_once_whoever_logged_it() -> None:
    both = join_curves({"loss": curve([10, 20])}, {"loss": curve([20, 30], 100)}, 20)["loss"]
    assert both.steps == [10, 20, 30]
    assert both.values[1] == 2.5
    assert join_curves({"loss": curve([10])}, {"loss": curve([20, 30])}, 20)["loss"].steps == [10, 20, 30]
    assert join_curves({"loss": curve([30])}, {}, 20) == {}


def test_files_put_over_an_existing_folder_is_refused(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put(record(1), {}, "")
    with pytest.raises(RecordError, match=r"run 1: .* exists already\. Remove it \(`python src/runs\.py rm 1`\)"):
        store.put(record(1), {}, "")


def test_a_broken_run_is_named_and_the_others_are_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FileStore(tmp_path)
    for run_id in (1, 2):
        store.put(record(run_id), {}, "")
    (tmp_path / "1" / "config.json").write_text("{")
    (tmp_path / "3").mkdir()  # killed as it started
    (tmp_path / "notes").mkdir()
    assert listed(store) == [2]
    assert "run 1 is left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "lacks"),
    [
        ("run.json", "{}", "status in run.json, start_time in run.json"),
        ("run.json", '{"status": "COMPLETED"}', "start_time in run.json"),
        ("config.json", None, "all of config.json"),
        ("config.json", "{}", "all of config.json"),
    ],
)
def test_a_run_whose_record_lacks_a_part_is_named_and_the_others_are_listed(
    name: str, content: str | None, lacks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path)
    for run_id in (1, 2):
        store.put(record(run_id), {}, "")
    (tmp_path / "1" / name).unlink()
    if content is not None:
        (tmp_path / "1" / name).write_text(content)
    assert [row[0] for row in overview(store, Listing())[1:]] == [2]
    expected = f"{tmp_path}/1: expected the record of a run, it lacks {lacks}. Repair it, or remove the folder."
    assert f"run 1 is left out: {expected}" in caplog.text
    with pytest.raises(RecordError, match=f"it lacks {lacks}"):
        store.get(1)


def test_a_run_that_does_not_say_what_it_is_costs_itself_and_not_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path)
    what: dict[str, Any] = {"name": "hmf", "env_args": {}, "seed": 1}
    described: list[dict[str, Any]] = [what, {}, {**what, "env": 3, "seed": math.inf}]
    for run_id, config in enumerate(described, start=1):
        store.put(record(run_id, **config), {}, "")
    assert [found.id for found in completed(store, [])] == [1]
    assert "run 2 is left out: its configuration lacks name, env_args, seed" in caplog.text
    assert "run 3 is left out: its configuration lacks env, seed" in caplog.text


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("env=battle", Condition("env", "=", "battle")),
        ("test_return_mean > 3", Condition("test_return_mean", ">", 3)),
        ("env_args.size!=16", Condition("env_args.size", "!=", 16)),
        ("use_cuda=false", Condition("use_cuda", "=", False)),
        ("lr<=0.5", Condition("lr", "<=", 0.5)),
    ],
)
def test_conditions_are_read(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition


@pytest.mark.parametrize("text", ["battle", "=3", "env=", "env=[1"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match="filter '"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"env": "battle"}, "battle"),
        ({"env": "guess:Guess"}, "Guess"),
        ({"env": "pettingzoo", "env_args.entry": "mpe2.simple_spread_v3"}, "simple_spread_v3"),
        ({"env": "pettingzoo", "env_args.entry": "mpe2.simple_spread_v3:parallel_env"}, "simple_spread_v3"),
        ({"env": "pettingzoo", "env_args.entry": "my.games:make_tag"}, "make_tag"),
    ],
)
def test_an_environment_has_a_short_name(config: dict[str, str], name: str) -> None:
    assert env_name(config) == name


def test_runs_on_imported_games_are_found_and_listed_by_the_name_of_the_game(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    games = {1: ("guess:Guess", {}), 2: ("pettingzoo", {"entry": "mpe2.simple_spread_v3"}), 3: ("bar", {})}
    for run_id, (env, env_args) in games.items():
        store.put(record(run_id, env=env, env_args=env_args), {}, "")
    for condition, found in (
        ("env=Guess", [1]),
        ("env=guess:Guess", [1]),
        ("env=simple_spread_v3", [2]),
        ("env=pettingzoo", [2]),
        ("env!=simple_spread_v3", [1, 3]),
    ):
        assert listed(store, condition) == found
    rows = overview(store, Listing())
    assert [row[rows[0].index("env")] for row in rows[1:]] == ["Guess", "simple_spread_v3", "bar"]


def test_flat_configurations_and_the_keys_that_differ() -> None:
    first = flatten({"lr": 0.1, "env_args": {"size": 16, "maps": {"a": 1}}})
    second = flatten({"lr": 0.1, "env_args": {"size": 40, "maps": {"a": 1}}, "extra": None})
    assert first == {"lr": 0.1, "env_args.size": 16, "env_args.maps.a": 1}
    assert differing_keys([first, second]) == ["env_args.size", "extra"]
    assert telling_keys([first, second]) == ["env_args.size"]
    assert differing_keys([first]) == []
    assert differing_keys([]) == []


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", '"text"'])
def test_what_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RecordError, match=r"config\.json: expected a JSON object, cannot read it \("):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\n",
        '{"name": "loss", "step": "a", "value": 1.0, "time": ""}\n',
        '{"name": "loss", "step": 1, "value": "x", "time": ""}\n',
    ],
)
def test_metrics_that_cannot_be_read_cost_one_run_and_not_the_listing(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path)
    for run_id in (1, 2):
        store.put(record(run_id), {"loss": curve([10])}, "")
    (tmp_path / "1" / "metrics.jsonl").write_text(text)
    assert listed(store, "loss>0") == [2]
    assert "run 1: its metrics are left out: " in caplog.text
    assert [row[2] for row in overview(store, Listing(metrics=["loss"]))[1:]] == ["", 1.25]
