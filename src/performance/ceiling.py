"""What a device can do at most, measured beside an update: the fastest that the update could ever be on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from components.batch import Batch
from learners.base import Learner
from performance.timing import alternate, clock

LARGE_ON_CPU = 1024, 2**26  # side of a product's matrices, and bytes of a copy
LARGE = 8192, 2**30  # on an accelerator


@dataclasses.dataclass(frozen=True)
class Work:
    """What an update cannot do without."""

    flop: int  # of its matrix products and convolutions, forward and backward
    nbytes: int  # read or written: the batch once; parameters and the optimiser's state once each way

    def least_seconds(self, flop_rate: float, byte_rate: float) -> float:
        """Compute the time of products and memory at these rates per second, both at once.

        This is the roofline model of Williams et al., 2009.
        """
        return max(self.flop / flop_rate, self.nbytes / byte_rate)


def work_of_update(learner: Learner, batch: Batch) -> Work:
    """Count the work of an update by making one."""
    with FlopCounterMode(display=False) as counter:
        learner.train(batch, 0)
    moments = [value for state in learner.optimiser.state.values() for value in state.values()]
    written = sum(tensor.nbytes for tensor in [*learner.parameters, *moments])
    return Work(counter.get_total_flops(), sum(tensor.nbytes for tensor in _tensors(batch)) + 2 * written)


def _tensors(record: Any) -> list[Tensor]:
    """List a record's tensors, and those of the records inside it."""
    values = [getattr(record, field.name) for field in dataclasses.fields(record)]
    inner = [tensor for value in values if dataclasses.is_dataclass(value) for tensor in _tensors(value)]
    return [value for value in values if isinstance(value, Tensor)] + inner


def ceiling_share(update: Callable[[], Any], work: Work, device: torch.device, seconds: float) -> float:
    """Divide the time in which the device could do ``work`` by the median time of ``update``, measured in turn.

    Its rates: of one large square product in float32, and of one large copy.
    """
    side, nbytes = LARGE_ON_CPU if device.type == "cpu" else LARGE
    left, right, product = (torch.ones(side, side, device=device) for _ in range(3))
    source, target = (torch.ones(nbytes // 4, device=device) for _ in range(2))
    tasks: dict[str, Callable[[], Any]] = {
        "update": update,
        "product": lambda: torch.mm(left, right, out=product),
        "copy": lambda: target.copy_(source),
    }
    medians = alternate(tasks, seconds, clock(device))
    flop_rate, byte_rate = 2 * side**3 / medians["product"], 2 * nbytes / medians["copy"]
    return work.least_seconds(flop_rate, byte_rate) / medians["update"]
