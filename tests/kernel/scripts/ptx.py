"""Kernels compiled for a CUDA device that is not there. Usage: ptx.py NAME…; prints the size of each one's assembly."""

import sys
from types import SimpleNamespace
from unittest import mock

import numba
import numpy as np
from numba import cuda

import tp
from tp.kernel.compile import compiled
from tp.kernel.cuda.kernel import CudaKernel
from tp.kernel.cuda.text import ENTRY, host_entry


def arrays(kernel: CudaKernel) -> list[np.ndarray]:
    """An empty array of the right type for every array that a kernel takes."""
    found, made = [], kernel.compiled
    for name in made.functions[host_entry(made.functions)]:
        if f"pair.{name}" in made.inputs:
            axes, dtype = len(made.inputs[f"pair.{name}"].axes) + 2, kernel.dtype
        elif name in made.out_tables:
            axes, dtype = len(made.out_tables[name]) + 2, kernel.dtype
        elif name in kernel._constants:
            axes, dtype = kernel._constants[name].ndim, np.dtype("float64")
        elif name[:-2] in made.sites:
            axes, dtype = len(made.sites[name[:-2]]) + 1, np.dtype("float64")
        else:
            axes, dtype = len(made.coefficients[name[:-2]]) + 2, np.dtype("float64")
        found.append(np.empty((0,) * axes, dtype))
    return [*found, *(np.empty((0,) * (len(s) + 1)) for s in kernel._device.scratch(kernel._parameters[0]))]


def assembly(kernel: CudaKernel, capability: tuple[int, int]) -> str:
    """PTX. Helpers ask the current device what it can do: it is answered for the device."""
    given = [*kernel._parameters, *(0,) * 4, False, *arrays(kernel)]
    signature = numba.types.void(*(numba.typeof(a) for a in given))
    device = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", lambda: device):
        return cuda.compile_ptx(getattr(kernel._device, ENTRY).py_func, signature, cc=capability)[0]


for name in sys.argv[1:]:
    phi, _, dtype = name.partition(":")
    net = tp.zoo(phi) if phi in tp.zoo() else tp.parse(str(tp.zoo("mlp")).replace("relu", phi))
    made = compiled(net.ntk(), ("K", "Theta"), {}, device="cuda")
    kernel = CudaKernel(made, np.dtype(dtype or "float64"), 1, 1 << 30)
    text = assembly(kernel, (8, 0))
    assert ".visible .entry" in text and ".target sm_80" in text and "st.global" in text
    print(name, len(text), flush=True)
