"""What is refused because the memory that is free would not hold it."""

from __future__ import annotations

import psutil

from utils.errors import InputError

UNITS = {30: "GiB", 20: "MiB", 10: "KiB"}
SHARE = 0.8  # of the free memory that one thing may take


class MemoryLimit(InputError):
    """Something that does not fit into memory."""


def size(n_bytes: float) -> str:
    """Write ``1.5 GiB``, ``20.7 MiB`` or ``15.8 KiB``: the largest unit of which there is a tenth."""
    power, unit = next((power, unit) for power, unit in UNITS.items() if n_bytes >= 0.1 * 2**power or power == 10)
    return f"{n_bytes / 2**power:,.1f} {unit}"


def check_fits(what: str, n_bytes: float, cure: str, free: float | None = None) -> None:
    """Raise MemoryLimit when ``n_bytes`` exceed SHARE of the ``free`` ones, by default of this machine's memory."""
    free = psutil.virtual_memory().available if free is None else free
    if n_bytes > SHARE * free:
        raise MemoryLimit(f"{what} would take {size(n_bytes)}, but only {size(free)} are free. {cure}")
