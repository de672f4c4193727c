"""Accuracy and time of infinite-width training and of the Z-calculus in numbers.

    python -m benchmarks.training_limit                       # the small tables; --help for the others
    python -m benchmarks.training_limit deep --tol 1e-3       # three hidden layers, batch 8, 20 steps, beside a larger run
    python -m benchmarks.training_limit phases floor pairs moments

Printed, and stored in results/training_limit.md, a section each. Phases: where the time of a first run goes. Floor: two hidden
tanh layers, error against a much finer grid and time per node set. Pairs: kernels of tied networks. Moments: errors against
integrals by adaptive quadrature. CPU seconds of this process; imports of SciPy are counted in the first run only.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tp
from benchmarks.sections import section

Array = NDArray[np.float64]
MLP = """network mup
  width n
  dim d = 2
  let L = 2
  input x : [d]
  weight U : [n, d] = 1 * N(0, 1), lr n
  weight W[l] : [n, n] = 1 * N(0, 1/n) for l in 2..L
  weight v : [n] = 1/n * N(0, 1), lr n
  h[1] = U @ x
  h[l] = W[l] @ tanh(h[l-1]) for l in 2..L
  output f = v @ tanh(h[L])
"""
TIED = """network tied
  width n
  dim d = 3
  index t in 1..3
  input x[t] : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight A : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  h[0] = 0
  h[t] = (A @ tanh(h[t-1]) + A.T @ tanh(h[t-1]))/sqrt(2) + U @ x[t]
  output f = v @ tanh(h[3])
"""
THERE_AND_BACK = """network back
  width n
  weight x : [n] ~ N(0, 1)
  weight W : [n, n] ~ N(0, 1/n)
  y = W.T @ ACT(STEEP*(W @ x))
  output f = avg(x*y)
"""


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and CPU seconds."""
    start = time.process_time()
    return call(), time.process_time() - start


def task(layers: int, batch: int, steps: int) -> Any:
    """A training run on unit vectors with labels ±1; one sample is x = y = 1."""
    rng = np.random.default_rng(0)
    d = 1 if batch == 1 else 2 if batch == 2 else 4
    X = np.ones((1, 1)) if batch == 1 else rng.normal(size=(batch, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.ones(1) if batch == 1 else np.sign(rng.normal(size=batch))
    return tp.parse(MLP, L=layers, d=d).train(X, y, steps=steps, lr=0.5)


def phases(arguments: argparse.Namespace) -> None:
    from tp.readings.evaluate import executed, prepared
    from tp.readings.sobol import Sobol

    print("CPU seconds of a first run:  program   plan   first scrambling   next (2^14 nodes)")
    for layers, batch, steps in ((2, 1, 5), (2, 2, 5), (3, 8, 20)):
        run = task(layers, batch, steps)
        _, program = timed(lambda run=run: run.leading)
        plan, planned = timed(lambda run=run: prepared(run.leading, run._numbers(), run._wanted()))
        nodes = Sobol(14, np.random.default_rng(0))
        first, second = (timed(lambda plan=plan, nodes=nodes: executed(plan, nodes))[1] for _ in range(2))
        print(f"  L={layers} B={batch} T={steps:<2}   {program:19.2f} {planned:6.2f} {first:18.2f} {second:11.2f}")


def floor(arguments: argparse.Namespace) -> None:
    from tp.readings.evaluate import executed, prepared
    from tp.readings.nodes import Grid
    from tp.readings.sobol import Sobol

    run = task(2, 1, 5)
    plan = prepared(run.leading, run._numbers(), run._wanted())
    last = ("f", 5, 0)
    exact = executed(plan, Grid(1e-9, 10**8, 0.5, 2**33))[last]
    print(f"two hidden tanh, one sample, f_5 = {exact:.10f}\n  grid: aim   nodes      error    seconds")
    for eps in (1e-4, 1e-5, 1e-6, 2e-7):
        grid = Grid(eps, 10**8, 0.6)
        found, seconds = timed(lambda grid=grid: executed(plan, grid)[last])
        print(f"  {eps:9.0e} {grid.largest:9,} {abs(found - exact):10.1e} {seconds:8.2f}")
    for tol in (1e-5, 1e-6, 2e-7):
        found, seconds = timed(lambda tol=tol: run.limit(tol=tol))
        true = abs(found.outputs[-1, 0, 0] - exact)
        print(f"  limit(tol={tol:.0e}): own error {found.errors.max():.1e}, true {true:.1e}, {seconds:.2f} s")
    print("Sobol, one scrambling: samples  nodes   rms spread of f_5   seconds")
    for batch, sizes in ((1, (14, 16)), (2, (14, 17))):
        run = task(2, batch, 5)
        plan = prepared(run.leading, run._numbers(), run._wanted())
        for m in sizes:
            nodes = Sobol(m, np.random.default_rng(1))
            runs, seconds = timed(lambda plan=plan, nodes=nodes: [executed(plan, nodes) for _ in range(8)])
            rows = [[r["f", 5, i] for i in range(batch)] for r in runs]
            spread = np.sqrt(np.mean(np.var(np.array(rows), axis=0, ddof=1)))
            print(f"  {batch:28} {2**m:8,} {spread:14.1e} {seconds / 8:13.3f}")


def deep(arguments: argparse.Namespace) -> None:
    run = task(arguments.layers, arguments.batch, arguments.steps)
    _, program = timed(lambda: run.leading)
    start = time.perf_counter()
    found, seconds = timed(lambda: run.limit("sobol", tol=arguments.tol))
    wall = time.perf_counter() - start
    print(f"L={arguments.layers} B={arguments.batch} T={arguments.steps}, tol {arguments.tol:g}: {found.details}")
    print(f"  program {program:.1f} s; limit {seconds:.1f} s of CPU, {wall:.1f} s; own errors (standard): "
          f"f {found.errors.max():.1e}, loss {found.loss_errors.max():.1e}, kernel {found.kernel_errors.max():.1e}")  # fmt: skip
    if arguments.reference:
        better = run.limit("sobol", tol=arguments.tol / 3, seed=1)
        for name in ("outputs", "losses", "kernels"):
            difference = np.abs(getattr(found, name) - getattr(better, name)).max()
            print(f"  {name}: largest difference from a run to {arguments.tol / 3:.1e} with other points {difference:.1e}")


def pairs(arguments: argparse.Namespace) -> None:
    net = tp.parse(TIED)
    kernel, seconds = timed(lambda: net.kernel("nngp", "ntk"))
    print(
        f"symmetric recurrence, three steps: derived in {seconds:.2f} s\n"
        "  samples  pairs  ms a pair   with errors   largest error"
    )
    for samples in (2, 8, 16):
        X = np.random.default_rng(0).normal(size=(samples, 3, 3))
        count = samples * (samples + 1) // 2
        _, plain = timed(lambda X=X: kernel(X))
        found, both = timed(lambda X=X: kernel.measured(X))
        error = max(m.errors.max() for m in found)
        print(f"  {samples:7} {count:6} {1000 * plain / count:10.1f} {1000 * both / count:13.1f} {error:15.1e}")


def moments(arguments: argparse.Namespace) -> None:
    from scipy.integrate import quad

    slopes = {
        "tanh": lambda z, a: a / math.cosh(min(abs(a * z), 300)) ** 2,
        "erf": lambda z, a: 2 * a / math.sqrt(math.pi) * math.exp(-min((a * z) ** 2, 700)),
        "sin": lambda z, a: a * math.cos(a * z),
        "relu": lambda z, a: a * (z > 0),
    }
    print("E[x Wᵀφ(a W x)]:   φ     a  method     error   reported  seconds")
    edges = [-12, -3, -1, -0.3, -0.1, -0.01, 0, 0.01, 0.1, 0.3, 1, 3, 12]
    for name, slope in slopes.items():
        for a in (1, 3, 10):
            density = lambda z, slope=slope, a=a: slope(z, a) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
            exact = sum(quad(density, lo, hi, epsabs=1e-14)[0] for lo, hi in pairwise(edges))
            net = tp.parse(THERE_AND_BACK.replace("ACT", name).replace("STEEP", str(a)))
            found, seconds = timed(net.moments)
            print(f"{name:>22} {a:5} {found.method:>7} {abs(float(found['f'].item()) - exact):9.1e}"
                  f" {float(found.errors['f'].item()):10.1e} {seconds:8.2f}")  # fmt: skip


TABLES = {"phases": phases, "floor": floor, "deep": deep, "pairs": pairs, "moments": moments}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="which (default: all but deep)")
    parser.add_argument("--layers", type=int, default=3, help="hidden layers of deep")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--reference", action="store_true", help="deep: compare with a run to a third of the tolerance")
    arguments = parser.parse_args()
    for name in arguments.tables or ["phases", "floor", "pairs", "moments"]:
        with section("training_limit", "Infinite-width training, and the Z-calculus in numbers", name):
            TABLES[name](arguments)


if __name__ == "__main__":
    main()
