"""An overview of recorded runs: their state, the keys in which they differ, last values of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from records.files import RecordError
from records.query import ALWAYS_SHOWN, Condition, telling_keys
from records.store import RunStore
from utils.words import nearest


def overview(
    store: RunStore, where: Sequence[Condition], status: str | None, metrics: Sequence[str]
) -> list[list[Any]]:
    """Give a head and a row for every run that meets ``where`` and has the ``status``.

    Shown besides the keys in which the runs differ: last values of ``metrics`` and of those that ``where`` names.
    Raises RecordError for conditions and metrics that fit no run.
    """
    records = store.list(where, status)
    if not records and (everything := store.list()):
        check_kinds(where, [record.flat_config for record in everything])
    configs = [record.flat_config for record in records]
    config_keys = {key for config in configs for key in config}
    metrics = [*metrics, *(condition.key for condition in where if condition.key not in config_keys)]
    keys = [key for key in ALWAYS_SHOWN if key in config_keys]
    keys += [key for key in telling_keys(configs) if key not in keys]
    last = [store.last_values(record) if metrics else {} for record in records]
    for name in metrics:
        if records and not any(name in found for found in last):
            raise RecordError(f"--metric '{name}': none of these runs logged it.{nearest(name, set().union(*last))}")
    rows: list[list[Any]] = [["id", "status", "started (UTC)", "duration", *keys, *metrics]]
    for record, config, found in zip(records, configs, last, strict=True):
        values = [config.get(key, "") for key in keys]
        values += [found.get(name, "") for name in metrics]
        rows.append([record.id, record.status, f"{record.started:%Y-%m-%d %H:%M}", record.duration, *values])
    return rows


def check_kinds(conditions: Sequence[Condition], configs: Sequence[dict[str, Any]]) -> None:
    """Raise RecordError for a condition between numbers and a text, which no run can meet."""
    for key, sign, value in ((condition.key, condition.operator, condition.value) for condition in conditions):
        recorded = [config[key] for config in configs if key in config] or [0.0]  # a metric is a number
        if isinstance(value, str) and all(isinstance(known, int | float) for known in recorded):
            raise RecordError(
                f"filter '{key}{sign}{value}': {key} is a number in every run, expected one, got the text '{value}'. "
                "Write it like 3, 0.001 or 1e-3."
            )
        if isinstance(value, int | float) and all(isinstance(known, str) for known in recorded):
            raise RecordError(
                f"filter '{key}{sign}{value}': {key} is a text in every run, expected one, got the number {value}."
            )
