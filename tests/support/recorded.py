"""Recorded runs made up in a folder, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from analysis.collect import Task, collect
from assembly.registries import REGISTRIES
from config.loader import layers
from config.resolve import make_config
from config.schema import Config
from records.checkpoint import RESUME
from records.files import Curve
from records.store import FileStore, RunRecord, utc_now

METRIC = "test_return_mean"
STARTED = utc_now() - timedelta(days=1)


def curve(values: Sequence[float], interval: int = 10) -> Curve:
    """Points ``interval`` steps apart, from step 0 on."""
    steps = [interval * i for i in range(len(values))]
    return Curve(steps, list(values), [(STARTED + timedelta(seconds=step)).isoformat() for step in steps])


def put(
    store: FileStore,
    run_id: int,
    config: Config | Mapping[str, Any],
    status: str = "COMPLETED",
    values: Sequence[float] = (0.0,),
    seconds: float = 60.0,
    resumable: bool = False,
    info: Mapping[str, Any] | None = None,
    started: datetime = STARTED,
    **others: Sequence[float],
) -> None:
    """One run that logged ``values`` as METRIC, and ``others`` under their names."""
    stopped = started + timedelta(seconds=seconds)
    beat = utc_now() if status == "RUNNING" else stopped
    entry = {
        "status": status,
        "start_time": started.isoformat(),
        "heartbeat": beat.isoformat(),
        "stop_time": None if status == "RUNNING" else stopped.isoformat(),
    }
    curves = {name: curve(logged) for name, logged in {METRIC: values, **others}.items()}
    values_of = config.to_dict() if isinstance(config, Config) else config
    store.put(RunRecord(run_id, entry, values_of, info or {}), curves, "")
    if resumable:
        folder = store.folder(run_id) / "checkpoints"
        folder.mkdir()
        (folder / RESUME).touch()


def config(algorithm: str, environment: str, seed: int, *overrides: str) -> Config:
    """The configuration of a run to record."""
    words = [f"seed={seed}", *overrides]
    return make_config(layers(algorithm, environment, words), REGISTRIES)[0]


def tasks_of(store: FileStore) -> list[Task]:
    """The tasks of completed runs, compared by METRIC."""
    return collect(store, store.list(status="COMPLETED"), METRIC)[1]
