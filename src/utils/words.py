"""Words of messages and command lines."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import yaml

GAP = "  "  # between the columns of a table
MANY = 12  # names in a message


# ``key=value`` as `word` writes it: lists, mappings and quoted texts may hold spaces.
_WORD = re.compile(r"""\s([^\s=]+)=(\[.*?\](?!\S)|\{.*?\}(?!\S)|'.*?'(?!\S)|".*?"(?!\S)|\S+)""")


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number and refuses a key that a mapping has twice, as YAML 1.2 does.

    PyYAML, which is YAML 1.1, reads a text, and keeps the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"expected every key once, got '{key.value}' twice; remove one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts a text that `_Loader` would read as a number in quotes."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
    )


def from_yaml(text: str) -> Any:
    """Return the plain value that YAML ``text`` holds; 1e-3 is a number. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:  # without the cause, whose thousand frames say nothing more
        raise yaml.YAMLError("values within values, too deep to read") from None
    except ValueError as error:  # of a day that no month has, or a number of thousands of digits
        raise yaml.YAMLError(str(error)) from error


def to_yaml(value: Any) -> str:
    """Write ``value`` as YAML on one line, for `from_yaml`."""
    return yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=float("inf")).strip()[1:-1]


def nearest(name: str, known: Iterable[str], within: str = "") -> str:
    """Return a did-you-mean clause for messages, empty when no known name is near; ``within`` begins its name."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{within}{match[0]}'?" if match else ""


def some(names: Iterable[str]) -> str:
    """List names in order for messages, MANY at most."""
    ordered = sorted(names)
    more = f" and {len(ordered) - MANY} more" if len(ordered) > MANY else ""
    return ", ".join(ordered[:MANY]) + more


def word(key: str, value: Any) -> str:
    """Write ``key=value`` as main.py reads it."""
    return f"{key}={to_yaml(value)}"


def parted(text: str) -> tuple[str, dict[str, str]]:
    """Return what stands before and between a label's ``key=value``, and these; see `word`."""
    return _WORD.sub("", text).strip(), dict(_WORD.findall(text))


def by_numbers(text: str) -> list[tuple[float, str]]:
    """Return a key to sort texts by in which numbers count by their value: n=4 before n=16, lr=1e-4 before lr=0.01."""
    parts = re.split(r"((?:(?<==)-)?\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)  # a text, a number, a text ...
    return [(float(part), "") if place % 2 else (0.0, part) for place, part in enumerate(parts)]


def amount(number: int, noun: str) -> str:
    """Write ``1 run``, ``2 runs``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Align rows of cells in columns, as text; the first row is the head."""
    texts, widths = _texts(rows)
    lines = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts)
    return "\n".join(line.rstrip() for line in lines)


def columns_within(rows: Sequence[Sequence[Any]], width: int) -> int:
    """Count the columns of `table` that fit into ``width`` characters, from the left; at least one."""
    _, widths = _texts(rows)
    ends = itertools.accumulate(widths, lambda end, column: end + len(GAP) + column)
    return max(1, sum(end <= width for end in ends))


def _texts(rows: Sequence[Sequence[Any]]) -> tuple[list[list[str]], list[int]]:
    """Return the cells of rows as text, and the width of each column."""
    texts = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return texts, [max(map(len, column)) for column in zip(*texts, strict=True)]
