"""Kernels compiled for a CUDA device that is not there. Usage: ptx.py [--show] NAME[:DTYPE]….

A kernel is called with a device that does nothing but remember what would be launched, on which types; that is compiled.
Prints for each name the kernels, and by kernel how many instructions of its assembly work in single and in double precision.
"""

import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numba
import numpy as np
from numba import cuda

import tp
import tp.kernel.compile as compiler
from tests.kernel import test_rows
from tests.kernel.plain import data
from tp.kernel import diagonal
from tp.kernel.cuda import kernel as cuda_kernel
from tp.kernel.cuda import products, settle
from tp.kernel.cuda.kernel import CudaKernel
from tp.kernel.module import load


class There(np.ndarray):
    """An array on the device."""

    def copy_to_device(self, array: np.ndarray, stream: Any) -> None:
        assert self.shape == array.shape and self.flags.c_contiguous

    def copy_to_host(self, array: np.ndarray, stream: Any) -> None:
        assert self.shape == array.shape and self.flags.c_contiguous
        array[...] = 0.0


DEVICE = SimpleNamespace(
    stream=lambda: SimpleNamespace(synchronize=lambda: None),
    event=lambda: SimpleNamespace(record=lambda stream: None, wait=lambda stream: None),
    device_array=lambda size, dtype: np.empty(size, dtype).view(There),
    pinned_array=np.empty,
    current_context=lambda: SimpleNamespace(get_memory_info=lambda: (1 << 28, 1 << 28)),
)


class Module:
    """A module for the device: launches are remembered, everything else goes on as it is."""

    def __init__(self, text: str, launched: dict[tuple[str, str], tuple[Any, Any]]) -> None:
        self.module, self.launched = load(text), launched

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        return Launch(name, found, self.launched) if hasattr(found, "py_func") else found


class Launch:
    def __init__(self, name: str, function: Any, launched: dict[tuple[str, str], tuple[Any, Any]]) -> None:
        self.name, self.function, self.launched = name, function, launched

    def __getitem__(self, grid: tuple[int, int, Any]) -> Any:
        assert min(*np.ravel(grid[0]), *np.ravel(grid[1])) > 0
        return self.remember

    def remember(self, *given: Any) -> None:
        plain = [np.asarray(a) if isinstance(a, There) else a for a in given]
        signature = numba.types.void(*(numba.typeof(a) for a in plain))
        self.launched[self.name, str(signature)] = self.function, signature


def launches(kernel: CudaKernel, samples: Any) -> dict[tuple[str, str], tuple[Any, Any]]:
    """What a call launches, by name and types: what is compiled."""
    found: dict[tuple[str, str], tuple[Any, Any]] = {}
    patched = (
        mock.patch.object(cuda_kernel, "cuda_module", lambda: DEVICE),
        mock.patch.object(cuda_kernel, "load", lambda text: Module(text, found)),
        mock.patch.object(products, "load", lambda text: Module(text, found)),
        mock.patch.object(settle, "load", lambda text: Module(text, found)),
        mock.patch.object(diagonal, "values", lambda *given: ((), (), {})),
    )
    with patched[0], patched[1], patched[2], patched[3], patched[4]:
        kernel(samples)
    return found


def assembly(function: Any, signature: Any, capability: tuple[int, int]) -> str:
    """PTX. Helpers ask the current device what it can do: it is answered for the device."""
    device = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", lambda: device):
        text: str = cuda.compile_ptx(function.py_func, signature, cc=capability)[0]
    return text


def count(text: str, kind: str) -> int:
    """Instructions on numbers of a type, but for moves, loads and stores."""
    lines = [line.split()[0] for line in text.splitlines() if line.startswith("\t") and line.split()]
    return sum(x.endswith(f".{kind}") and not x.startswith(("mov.", "ld.", "st.", "selp.")) for x in lines)


show = "--show" in sys.argv
for name in [x for x in sys.argv[1:] if x != "--show"]:
    phi, _, dtype = name.partition(":")
    if phi in test_rows.SMALL:
        limit, least = tp.parse(test_rows.SMALL[phi]).ntk(), 0  # positions are lanes
    else:
        limit, least = (
            (tp.zoo(phi) if phi in tp.zoo() else tp.parse(str(tp.zoo("mlp")).replace("relu", phi))).ntk(),
            compiler.ROWS,
        )
    with mock.patch.object(compiler, "ROWS", least):
        made = compiler.compiled(limit, ("K", "Theta"), {})
    kernel = CudaKernel(made, np.dtype(dtype or "float64"), 1, 1 << 30, False)
    for (part, _), (function, signature) in launches(kernel, data(limit, 3)).items():
        text = assembly(function, signature, (8, 0))
        assert ".visible .entry" in text and ".target sm_80" in text and "st.global" in text
        assert function.stats.cache_path.startswith(str(tp.kernel.module.cache_folder()))
        print(name, part, count(text, "f32"), count(text, "f64"), flush=True)
        if show:
            print(text)
