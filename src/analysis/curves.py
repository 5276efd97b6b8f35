"""Curves of single runs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from config.loader import CONFIG_DIR, available, merge, named_layer, read_yaml
from records.files import Curve
from records.query import ALWAYS_SHOWN, flatten, telling_keys
from records.store import RunRecord

LEGEND_WIDTH = 100  # characters


def picture(records: Sequence[RunRecord], curves: Sequence[dict[str, Curve]], names: Sequence[str]) -> Figure:
    """Draw one panel per metric with one line per run, and the legend below all of them."""
    keys = legend_keys([record.flat_config for record in records])
    labels = [textwrap.fill(label(record, keys), LEGEND_WIDTH, subsequent_indent="    ") for record in records]
    n_lines = sum(len(text.splitlines()) for text in labels)
    figure = Figure(figsize=(8, 4 * len(names) + 0.2 * n_lines), layout="constrained")
    for row, name in enumerate(names, start=1):
        axis = figure.add_subplot(len(names), 1, row)
        for text, found in zip(labels, curves, strict=True):
            curve = found[name]
            mark = "o" if len(curve.steps) == 1 else None  # a single point has no line
            axis.plot(curve.steps, curve.values, label=text, marker=mark)
        axis.set(xlabel="t_env (environment steps)", ylabel=name)
    figure.legend(handles=axis.lines, loc="outside lower left", fontsize="small")
    return figure


def legend_keys(configs: Sequence[dict[str, Any]]) -> list[str]:
    """List the telling keys, name and environment first, without those whose values the algorithm's name implies."""
    default = read_yaml(CONFIG_DIR / "default.yaml")
    known = {name: flatten(merge(default, named_layer("algs", name).values)) for name in available("algs")}
    presets = [known.get(config["name"], {}) for config in configs]
    keys = [
        key
        for key in telling_keys(configs)
        if key == "name"
        or any(key not in preset or preset[key] != config[key] for config, preset in zip(configs, presets, strict=True))
    ]
    return sorted(keys, key=lambda key: key not in ALWAYS_SHOWN)


def label(record: RunRecord, keys: Iterable[str]) -> str:
    """Name a run and its values of the differing keys."""
    values = ", ".join(f"{key}={record.flat_config.get(key, '(none)')}" for key in keys)
    return f"run {record.id}: {values}" if values else f"run {record.id}"
