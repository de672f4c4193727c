"""Kernels in numba's CUDA simulator against those of the CPU. Usage: simulated.py NAME[:DTYPE]… with NUMBA_ENABLE_CUDASIM=1."""

import sys

import numpy as np

import tp
from tests.kernel.plain import data
from tp.kernel.cuda import kernel as cuda
from tp.kernel.kernel import Kernel

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

cuda.EDGE, cuda.BLOCK, cuda.LANES = 3, 4, 8  # several tiles, several pairs a thread
for name in sys.argv[1:]:
    phi, _, dtype = name.partition(":")
    if phi == "conv":
        net = tp.parse(CONV)
    else:
        net = (
            tp.zoo(phi, **({"T": 2} if phi == "attention" else {}))
            if phi in tp.zoo()
            else tp.parse(str(tp.zoo("mlp")).replace("relu", phi))
        )
    host, device = (net.kernel("nngp", "ntk", device=d, dtype=dtype or "float64") for d in ("cpu", "cuda"))
    X, Y = data(net.ntk(), 5), data(net.ntk(), 2, seed=1)
    for given in ((X,), (X, Y)):
        for want, found in zip(host(*given), device(*given), strict=True):
            assert found.dtype == want.dtype and np.ptp(want) > 0
            np.testing.assert_allclose(found, want, rtol=1e-12 if want.dtype == np.float64 else 1e-6)
    np.testing.assert_array_equal(device(X)[1], device(X)[1].T)
assert type(tp.zoo("mlp").kernel(device="auto")) is Kernel  # the simulator is no device
