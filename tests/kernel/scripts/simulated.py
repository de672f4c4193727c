"""Kernels on CUDA against those of the CPU. Usage: simulated.py NAME[:DTYPE]…

On a device, or with NUMBA_ENABLE_CUDASIM=1 in numba's simulator of one, where blocks, tiles and panels are made small.
"""

import math
import sys
from collections import Counter
from fractions import Fraction
from types import SimpleNamespace
from unittest import mock

import numpy as np
from numba import config

import tp
import tp.kernel.compile as compiler
from tests.kernel import test_rows
from tests.kernel.plain import data
from tp.kernel import build
from tp.kernel.cuda import blocks, products, settle
from tp.kernel.cuda import device as devices
from tp.kernel.kernel import Kernel
from tp.kernel.plan import Compiled
from tp.limit.equations import Limit

CONV = """
network conv
  width n
  dim   c = 2
  index p in 0..2 boundary zero
  input  x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 2/(3*c))  for k in -1..1
  weight B[k] : [n, n] ~ N(0, 2/(3*n))  for k in -1..1
  weight v    : [n]    ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  g[p] = sum(B[k] @ relu(h[p+k]) for k in -1..1)
  output f = v @ mean(relu(g[p]) for p)
"""


def fma(self: object, a: float, b: float, c: float) -> float:
    """a b + c rounded once, as on a device; the simulator rounds twice."""
    if not math.isfinite(a * b + c):
        return a * b + c
    return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


def sqrt(x: float) -> float:
    """As on a device: not a number below 0, which is what a pair is left at that goes to the list."""
    return math.sqrt(x) if x >= 0.0 else math.nan


if config.ENABLE_CUDASIM:
    from numba.cuda.simulator.kernelapi import FakeCUDAModule

    FakeCUDAModule.fma = fma
    blocks.EDGE, blocks.PANEL, blocks.BLOCK, blocks.LANES = 4, 64, 4, 8  # several tiles and panels, several pairs a thread
    blocks.PANEL_SHARING, blocks.SHARING, blocks.WARP = 8, 3, 1  # several pairs a block of threads, several lanes a thread
    blocks.THREADS, blocks.TURNS = {"float32": 4, "float64": 4}, 17  # several rows of lanes a thread, and two parts of a pair
    settle.SIDE, settle.HIGH, settle.GRID = 2, 1, 2
    products.ACROSS, products.EACH, products.SLAB, products.GRID = 2, 2, 2, 2
ROWS = {**test_rows.SMALL, "odd": test_rows.images(3, 3)}  # three rows of three lanes, for threads two by two
SMALL = {"attention": {"T": 2}, "rnn": {"T": 2}}


def planned(name: str) -> tuple[Compiled, Limit]:
    """A network of ``test_rows``, with positions as lanes; of this file, of the zoo, or a perceptron with this activation."""
    if name in ROWS:
        with mock.patch.object(compiler, "ROWS", 0):
            limit = tp.parse(ROWS[name]).ntk()
            return build.planned(limit, ("K", "Theta"), {}), limit
    if name == "conv":
        net = tp.parse(CONV)
    else:
        net = tp.zoo(name, **SMALL.get(name, {})) if name in tp.zoo() else tp.parse(str(tp.zoo("mlp")).replace("relu", name))
    return build.planned(net.ntk(), ("K", "Theta"), {}), net.ntk()


def traffic(kernel: Kernel, samples: np.ndarray) -> Counter[str]:
    """How often a call asks for the memory that is free, and sends what is known of samples, by side."""
    found: Counter[str] = Counter()
    send, free = devices.Workspace.send, devices.free_memory

    def sent(self: devices.Workspace, name: object, *given: object, **more: object) -> object:
        if isinstance(name, tuple) and str(name[0])[-2:] in ("_1", "_2") and isinstance(name[1], str):
            found[str(name[0])[-2:]] += 1
        return send(self, name, *given, **more)

    def asked(cuda: object) -> int:
        found["asked"] += 1
        return free(cuda)

    with mock.patch.object(devices.Workspace, "send", sent), mock.patch.object(devices, "free_memory", asked):
        kernel(samples)
    return found


for name in sys.argv[1:]:
    phi, _, dtype = name.partition(":")
    plan, limit = planned(phi)
    host, device = (build.ready(plan, d, dtype or "float64") for d in ("cpu", "cuda"))
    plain = [device._device] if config.ENABLE_CUDASIM else []
    for module in [*plain, *([host._module, device._module] if config.DISABLE_JIT else [])]:
        module.math = SimpleNamespace(**{**vars(math), "sqrt": sqrt})
    X, Y = data(limit, 5), data(limit, 2, seed=1)
    X[3], X[4], Y[1] = 0.01 * X[1] - X[0], X[1] * (1 + 1e-3 * X[2]), X[2]  # nearly antipodal, nearly the same, the same
    X = X[3:] if phi == "odd" else X  # large: one pair
    for given in ((X,), (X, Y)) if phi != "odd" else ((X,),):
        for want, found in zip(host(*given), device(*given), strict=True):
            assert found.dtype == want.dtype and np.ptp(want) > 0
            error = np.abs(found - want).max() / np.abs(want).max()
            assert error <= (1e-12 if want.dtype == np.float64 else 1e-6), (name, error)
            usual = np.ones(want.shape[:2], bool)
            usual[[0, -2], [-2, 0]] = len(given) > 1  # nearly antipodal: small, from what cancels
            if want.dtype == np.float64:
                np.testing.assert_allclose(found[usual], want[usual], rtol=1e-12)
            if len(given) == 1:
                np.testing.assert_array_equal(found, found.T)
    if config.ENABLE_CUDASIM and phi in (
        "mlp",
        "line",
    ):  # three tiles, of which two are on the diagonal: there both sides are one
        again = traffic(device, X)
        assert again["asked"] == 0 and again["_1"] == 3 * again["_2"] > 0, again
        assert traffic(device, X[:3])["asked"] == 1
assert (type(tp.zoo("mlp").kernel(device="auto")) is Kernel) == bool(config.ENABLE_CUDASIM)  # the simulator is no device
