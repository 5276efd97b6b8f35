"""One run in several processes, as torchrun starts them: each plays its own environments, all learn the same networks.

The only file that knows torch.distributed. One process alone talks to nobody.
"""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from types import MappingProxyType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from utils.cli import silence
from utils.errors import InputError
from utils.signals import Stopped

T = TypeVar("T")
Ask = Callable[[], bool]
# How long an answer may take: the first process writes checkpoints while the others wait. A process that ends is
# noticed at once, as its connections close; a machine that vanishes, after this long.
PATIENCE = timedelta(minutes=5)


class ProcessLost(Stopped):
    """Another process of the run ended, or does not answer: only what was saved before can be continued."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run as one of them sees them. All have to call the methods that talk, in the same order."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> Processes:
        """Join the processes that torchrun's environment variables announce, if any.

        Standard output of all but the first is dropped. Raises InputError when they cannot meet.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return ALONE
        own_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", size)) <= torch.cuda.device_count()
        try:  # processes that share a GPU cannot talk through nccl
            dist.init_process_group("cpu:gloo,cuda:nccl" if own_gpus else "gloo", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"torchrun: expected {size} processes to meet (WORLD_SIZE), got {' '.join(str(error).split())}. Start "
                "them with torchrun, or unset WORLD_SIZE; see docs/distributed.md."
            ) from error
        if dist.get_rank() > 0:
            silence()
        return cls(dist.get_rank(), size)

    @property
    def first(self) -> bool:
        """Whether this is the process that records."""
        return self.rank == 0

    def use_gpu(self) -> None:
        """Make this process's share of the machine's GPUs the one that is meant by ``cuda``."""
        if self.size > 1:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count())

    def leave(self) -> None:
        """Wait for the others, so that torchrun does not stop those that still write, and part."""
        if self.size > 1:
            self.total(0)
            dist.destroy_process_group()

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their sums over processes, in one message; the same bits everywhere."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._reduce(flat, dist.ReduceOp.SUM)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def total(self, *numbers: int) -> list[int]:
        """Add each number up over processes."""
        return self._reduce(torch.tensor(numbers, dtype=torch.int64), dist.ReduceOp.SUM).tolist()

    def largest(self, number: int) -> int:
        """Return the largest of the processes' numbers."""
        return int(self._reduce(torch.tensor(number), dist.ReduceOp.MAX))

    def _reduce(self, tensor: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size > 1:
            with _answered():
                dist.all_reduce(tensor, how)
        return tensor

    def gather(self, record: T) -> list[T]:
        """Give the first process the ``record`` of each, its tensors on the CPU, in the order of ranks.

        Everywhere else the list is empty.
        """
        if self.size == 1:
            return [record]
        packed: list[Any] | None = [None] * self.size if self.first else None
        with _answered():
            dist.gather_object(_packed(record), packed)
        return [] if packed is None else [record, *map(_unpacked, packed[1:])]

    def together(self, make: Callable[[], T]) -> T:
        """Return ``make()`` once it has returned everywhere; raise the first InputError that it raised anywhere."""
        made, error = _attempt(make)
        if self.size > 1:
            errors: list[Any] = [None] * self.size
            with _answered():
                dist.all_gather_object(errors, error)
            error = next(filter(None, errors), None)
        if error is not None:
            raise error
        return made  # type: ignore[return-value]

    def from_first(self, make: Callable[[], T]) -> T:
        """Return everywhere what ``make()`` returns on the first process, tensors on the CPU; raise its InputError."""
        made, error = _attempt(make) if self.first else (None, None)
        if self.size > 1:
            packed = [_packed((made, error))]
            with _answered():
                dist.broadcast_object_list(packed)
            if not self.first:
                made, error = _unpacked(packed[0])
        if error is not None:
            raise error
        return made  # type: ignore[return-value]

    def by_first(self, work: Callable[[Ask], T], stop: Ask) -> T:
        """Return everywhere what ``work`` returns on the first process.

        It calls what it is given often, to hear whether any process's ``stop`` says so; that keeps the others waiting,
        however long it takes.
        """
        if self.size == 1:
            return work(stop)
        if self.first:
            made = work(lambda: self.total(stop(), 1)[0] > 0)
            self.total(0, 0)
            return self.from_first(lambda: made)
        while self.total(stop(), 0)[1]:
            pass
        return self.from_first(lambda: None)  # type: ignore[return-value]


ALONE = Processes()


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))  # those of configurations travel


def _attempt(make: Callable[[], T]) -> tuple[T | None, InputError | None]:
    try:
        return make(), None
    except InputError as error:
        return None, error


@contextmanager
def _answered() -> Iterator[None]:
    """Raise ProcessLost for what torch.distributed raises inside the context."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            f"another process of this run ended, or did not answer for {PATIENCE} (hours:minutes:seconds)"
        ) from error


def _packed(record: Any) -> bytes:
    buffer = BytesIO()
    torch.save(record, buffer)
    return buffer.getvalue()


def _unpacked(data: bytes) -> Any:
    """Read what a process of the same run packed."""
    return torch.load(BytesIO(data), map_location="cpu", weights_only=False)
