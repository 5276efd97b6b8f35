"""An overview of recorded runs: their state, the keys in which they differ and that were set, values of metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from records.files import RecordError
from records.presets import set_keys
from records.query import ALWAYS_SHOWN, Condition, nearest_value, titled
from records.store import RunRecord, RunStore
from utils.words import nearest

FACTS = ("id", "status", "result", "started", "duration", "resumes")  # of a run, beside configuration and metrics
HEADS = {"started": "started (UTC)"}


@dataclass(frozen=True)
class Listing:
    """Which runs to list, and how. Columns are names of FACTS, configuration keys and metrics."""

    where: Sequence[Condition] = ()
    status: str | None = None
    metrics: Sequence[str] = ()  # columns beside the usual ones
    columns: Sequence[str] = ()  # instead of the usual ones
    sort: str | None = None  # a column; a leading - puts the largest first
    last: int | None = None  # only so many of the newest runs

    @property
    def named(self) -> list[tuple[str, str]]:
        """Option and name of every column that was asked for."""
        sort = [] if self.sort is None else [self.sort.removeprefix("-")]
        options = {"--metric": self.metrics, "--columns": self.columns, "--sort": sort}
        return [(option, name) for option, names in options.items() for name in names]


def overview(store: RunStore, listing: Listing) -> list[list[Any]]:
    """Give a head and a row for every run of ``listing``, by id unless it is to be sorted.

    Usual columns: FACTS, the metrics asked for and those that a condition names, the keys in which runs differ and that
    were set. Raises RecordError for keys and columns that no run has.
    """
    records = store.list(listing.where, listing.status)[-(listing.last or 0) :]
    configs = [record.flat_config for record in records]
    plain = {*FACTS, *(key for config in configs for key in config)}
    metrics = [*listing.metrics, *(condition.key for condition in listing.where if condition.key not in plain)]
    logged = any(name not in plain for name in [*metrics, *(name for _, name in listing.named)])
    last = [store.last_values(record) if logged else {} for record in records]
    for option, name in listing.named:
        known = plain.union(*last)
        if records and name not in known:
            raise RecordError(
                f"{option} '{name}': none of these runs has a configuration key or a metric of this name."
                f"{nearest(name, known)}"
            )
    found: list[Mapping[str, Any]] = [
        {**logs, **titled(config), **facts(record)} for record, config, logs in zip(records, configs, last, strict=True)
    ]
    if listing.sort is not None:
        found = ordered(found, listing.sort)
    usual = [fact for fact in FACTS if fact not in ("result", "resumes") or any(row[fact] != "" for row in found)]
    usual += [key for key in ALWAYS_SHOWN if key in plain]
    named = ["id", *listing.columns, *metrics]
    shown = named if listing.columns else [*usual[:2], *metrics, *usual[2:], *set_keys(configs)]  # cut on the right
    shown = list(dict.fromkeys(shown))
    return [[HEADS.get(name, name) for name in shown], *([values.get(name, "") for name in shown] for values in found)]


def facts(record: RunRecord) -> dict[str, Any]:
    """Return the FACTS of a run: ``result``, of its last evaluation, and ``resumes``, the run that it continues."""
    result, parent = record.entry.get("result"), record.resumed
    return {
        "id": record.id,
        "status": record.status,
        "result": "" if result is None else result,
        "started": f"{record.started:%Y-%m-%d %H:%M}",
        "duration": record.duration,
        "resumes": "" if parent is None else parent.id,
    }


def ordered(rows: Sequence[Mapping[str, Any]], sort: str) -> list[Mapping[str, Any]]:
    """Sort rows by a column, from the largest on after a leading ``-``; texts after numbers, rows without it last."""
    name = sort.removeprefix("-")

    def is_missing(row: Mapping[str, Any]) -> bool:
        value = row.get(name, "")
        return value == "" or (isinstance(value, float) and math.isnan(value))

    def place(row: Mapping[str, Any]) -> tuple[bool, float, str]:
        value = row[name].total_seconds() if isinstance(row[name], timedelta) else row[name]
        return (False, value, "") if isinstance(value, int | float) else (True, 0, str(value))

    present = sorted((row for row in rows if not is_missing(row)), key=place, reverse=sort.startswith("-"))
    return [*present, *(row for row in rows if is_missing(row))]


def near_miss(store: RunStore, conditions: Sequence[Condition]) -> str:
    """Return `nearest_value` of conditions that no run met.

    Raises RecordError for one between numbers and a text, which no run can meet.
    """
    configs = [record.flat_config for record in store.list()]
    if configs:
        check_kinds(conditions, configs)
    return nearest_value(conditions, configs)


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
