"""``build``: a limit's kernels as one callable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tp.errors import NOWHERE, DataError, DeviceError, Message, SpecError
from tp.kernel.kernel import Kernel, default_memory, default_threads
from tp.kernel.plan import Compiled

if TYPE_CHECKING:
    from tp.limit.equations import Limit

NAMES = {"nngp": "K", "ntk": "Theta", "K": "K", "Theta": "Theta"}


def build(
    limit: Limit,
    kinds: Sequence[str] | None = None,
    device: str = "cpu",
    dtype: Any = "float64",
    constants: Mapping[str, Any] | None = None,
    output: str | None = None,
    threads: int | None = None,
    memory: int | None = None,
    progress: bool = True,
) -> Kernel:
    """The kernels ``kinds`` of a limit (default: all it has), compiled from its equations.

    ``constants`` give numbers to symbolic constants. ``output`` names one of several outputs (default: the first).
    ``device`` is "cpu", "cuda", or "auto": CUDA where there is such a device.
    ``dtype`` float32 is single precision in every pair, about twice as fast: errors are some 3e-7 of √(K(x, x) K(x′, x′)); pairs
    with |ρ| so near 1 that this would not hold (angles below 0.03 for relu) are computed in double precision. What one sample
    decides always is, and so is the diagonal unless positions make up the lanes, as for images. Where expectations are over two
    Gaussians of each sample, all is, and results are rounded.
    ``threads`` defaults to the machine's cores, ``memory``, in bytes, to three quarters of its memory.
    """
    settled(device, dtype)  # before anything is derived
    made = planned(limit, kinds or limit.kinds, constants or {}, output)
    return ready(made, device, dtype, threads, memory, progress)


def ready(
    made: Compiled,
    device: str = "cpu",
    dtype: Any = "float64",
    threads: int | None = None,
    memory: int | None = None,
    progress: bool = True,
) -> Kernel:
    """What was planned as a callable; see :func:`build`. What a device does not do is refused, or done on the CPU for "auto"."""
    kind, precision = settled(device, dtype)
    how = precision, threads or default_threads(), memory or default_memory(), progress
    kernel = kind(made, *how)
    try:
        kernel.check_device()
    except DeviceError:
        if device == "auto":
            return Kernel(made, *how)
        raise
    return kernel


def settled(device: str, dtype: Any) -> tuple[type[Kernel], np.dtype[Any]]:
    """The class of kernels for a device, and their precision. Raises ``DeviceError`` where the device is not there."""
    kind = _kernel_for(device)
    if not isinstance(dtype, str):
        dtype = getattr(dtype, "__name__", str(dtype))  # numpy's own types
    if dtype not in ("float64", "float32"):
        raise DataError(Message(NOWHERE, f"kernels come in float64 and float32, not {dtype!r}", "", "wrong dtype"))
    return kind, np.dtype(dtype)


def _kernel_for(device: str) -> type[Kernel]:
    if device not in ("cpu", "cuda", "auto"):
        raise DeviceError(Message(NOWHERE, f"there is no device {device!r}", 'choose "cpu", "cuda" or "auto"', "no such device"))
    if device == "cpu":
        return Kernel
    from tp.kernel.cuda.device import cuda_module, has_device
    from tp.kernel.cuda.kernel import CudaKernel

    if device == "auto":
        return CudaKernel if has_device() else Kernel
    cuda_module()
    return CudaKernel


def planned(limit: Limit, kinds: Sequence[str], constants: Mapping[str, Any], output: str | None = None) -> Compiled:
    """What a kernel needs to be called: loops where an order of loops computes the equations, written out where none does."""
    from tp.kernel.compile import compiled
    from tp.limit.unroll import unroll

    names = tuple(NAMES.get(k, k) for k in kinds)
    outputs = [f.name for f in limit.outputs]
    if output is not None and output not in outputs:
        raise DataError(
            Message(NOWHERE, f"the network has no output `{output}`", f"it has {', '.join(outputs)}", "unknown output")
        )
    try:
        return compiled(limit, names, constants, output)
    except SpecError:
        return compiled(unroll(limit, constants), names, constants, output)
