"""A device that computes on the CPU but is as strict as CUDA: for tests of ``use_cuda=true`` without a GPU.

Its tensors hold a CPU tensor each, and report another device. Every operation that torch dispatches is made on the
CPU tensors, after a check of what CUDA would refuse: operands on different devices, random streams of the wrong device,
NumPy. Inside `nothing_waits` it also refuses what makes a host wait for a CUDA device. Numbers are the CPU's, so a
run must give the same results bit for bit.

What it cannot show: CUDA's own kernels, their speed, and memory that is used before an asynchronous copy has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "simulated"


class _Module(_DummyBackendModule):
    """In place of `torch.cuda`."""

    def get_device_name(self) -> str:
        return NAME

    def synchronize(self) -> None:
        pass


# torch then keeps the device, and must not have used its autograd before: import this first, in a process of its own.
_setup_privateuseone_for_python_backend(NAME, _Module())
CPU = torch.device("cpu")
aten = torch.ops.aten
# Their result's shape, or their result, is a value that the host has to know.
READS_VALUE = {
    *(aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.bincount, aten.is_nonzero),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive),
}
COPIES = {aten._to_copy, aten.copy_}
INDEXES = {aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_}
_waiting_is_refused = False


class DeviceError(RuntimeError):
    """What CUDA would refuse, or would wait for."""


class OnDevice(Tensor):
    """A tensor of the simulated device."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[OnDevice], held: Tensor) -> OnDevice:
        """``held``: the CPU tensor with its numbers."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)  # a checkpoint, which is read to the CPU and copied from there


class Generator(torch.Generator):
    """In place of `torch.Generator`: draws on the CPU, knows for which device."""

    device = CPU

    def __new__(cls, device: Any = CPU) -> Generator:
        """A stream for ``device``."""
        made = super().__new__(cls)
        made.device = torch.device(device)
        return made

    def __init__(self, device: Any = CPU) -> None:
        """See `__new__`."""


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func`` on the CPU, its result on the device where the operands are, or on the one asked for."""
    operands = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    ours = {id(value.held): value for value in operands if isinstance(value, OnDevice)}
    on_device = torch.device(kwargs["device"]).type == NAME if kwargs.get("device") else bool(ours)
    if func.overloadpacket in COPIES:
        _check_copy(func, args, kwargs, on_device)
    elif ours:
        _check(func, args, operands)
    if kwargs.get("device"):
        kwargs = {**kwargs, "device": CPU}
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    args, kwargs = tree_map(lambda value: value.held if isinstance(value, OnDevice) else value, (args, kwargs))
    result = func(*args, **kwargs)
    if not on_device:
        return result
    # What was written into is still the same tensor.
    return tree_map(lambda value: _placed(value, ours), result)


def _placed(value: Any, ours: dict[int, OnDevice]) -> Any:
    if not isinstance(value, Tensor):
        return value
    return ours[id(value)] if id(value) in ours else OnDevice(value)


def _check_copy(func: Any, args: Any, kwargs: dict[str, Any], on_device: bool) -> None:
    writes = func.overloadpacket is aten.copy_  # into its first argument
    source, to_device = (args[1], isinstance(args[0], OnDevice)) if writes else (args[0], on_device)
    if isinstance(source, OnDevice) == to_device:
        return
    if not kwargs.get("non_blocking", len(args) > 2 and args[2]):
        _waits(func)
    elif not to_device:
        raise DeviceError(f"{func}: a copy to the CPU that nobody waits for may be read before it has arrived.")


def _check(func: Any, args: Any, operands: list[Tensor]) -> None:
    if func.overloadpacket in READS_VALUE:
        _waits(func)
    if func.overloadpacket in INDEXES:
        if not isinstance(args[0], OnDevice):
            raise DeviceError(f"{func}: indices are on the device, what they index is on the CPU.")
        indices = [value for value in args[1] if value is not None]
        if any(value.dtype == torch.bool or not isinstance(value, OnDevice) for value in indices):
            _waits(func)
        operands = [value for value in tree_leaves((args[0], args[2:])) if isinstance(value, Tensor)]
    elsewhere = [value for value in operands if not isinstance(value, OnDevice) and value.dim() > 0]
    if elsewhere:
        shapes = ", ".join(str(tuple(value.shape)) for value in elsewhere)
        raise DeviceError(f"{func}: operands on the device and on the CPU (those of shape {shapes}).")


def _waits(func: Any) -> None:
    if _waiting_is_refused:
        raise DeviceError(f"{func}: the host waits for the device.")


@contextmanager
def nothing_waits() -> Iterator[None]:
    """As `torch.cuda.set_sync_debug_mode` with "error"."""
    global _waiting_is_refused
    _waiting_is_refused = True
    try:
        yield
    finally:
        _waiting_is_refused = False


class _Dispatch(TorchDispatchMode):
    """Sees what has no operand on the device: factories, and copies to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Checks of what `_Dispatch` no longer sees, and the device's index, without which torch asks a driver for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def indexed(value: Any) -> Any:
            named = isinstance(value, torch.device) and value.type == NAME
            return torch.device(NAME, 0) if named else value

        args, kwargs = tree_map(indexed, (tuple(args), kwargs or {}))
        stream, asked = kwargs.get("generator"), kwargs.get("device")
        if stream is not None:
            drawn_on = asked or (args[0].device if args and isinstance(args[0], Tensor) else CPU)
            if stream.device.type != drawn_on.type:
                raise DeviceError(f"{func}: the random stream is on {stream.device}, the result on {drawn_on}.")
        if func in (torch.tensor, torch.as_tensor) and asked is not None and asked.type == NAME:
            return func(*args, **{**kwargs, "device": CPU}).to(asked)
        return func(*args, **kwargs)


def with_device(use: Callable[[torch.device], Any]) -> Any:
    """``use(device)``, with everything that the device needs of torch."""
    torch.Generator = Generator  # type: ignore[misc]
    with _Dispatch(), _Calls():
        return use(torch.device(NAME, 0))
