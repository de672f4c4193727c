"""Ours and neural-tangents, alternately, on the same data, in one run: ``python -m benchmarks.kernels``.

For every workload and precision: compile (apart), check that both agree, then ours, peer, ours, peer … The whole warm call
counts, NNGP and NTK together, from the data in memory to both matrices in memory. Writes ``results/kernels.{json,md,png}``, or
``results/cuda.…`` with ``--device cuda``, where the peer's environment has to be one that knows the GPU; a run of some
workloads (``--only``) replaces their rows alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import blas

import tp
from benchmarks import digits50, machine, report
from benchmarks.peer.client import Peer, interpreter
from benchmarks.workloads import Workload, named

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the workloads")
    parser.add_argument("--dtype", nargs="+", choices=("float64", "float32"), default=["float64", "float32"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, help="alternating calls; default by workload")
    parser.add_argument(
        "--peer-python", metavar="PATH", help="an environment that has peer/requirements.txt; default: one is made"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    options = parser.parse_args()
    python = interpreter(options.peer_python)
    about = machine.describe(options.device)
    for dtype in options.dtype:
        for workload in named(options.only, options.device):
            if dtype in workload.aims or (dtype == "float64" and not workload.aims):
                row = measure(workload, dtype, options.device, python, options.repeats or workload.repeats)
                print(report.line(row), flush=True)
                report.write(options.out / f"{'kernels' if options.device == 'cpu' else options.device}.json", [row], about)


def measure(w: Workload, dtype: str, device: str, python: str, repeats: int) -> dict[str, Any]:
    """One row of the results."""
    x = w.data(dtype)
    kernel = tp.parse(w.text(), **w.lets).kernel("nngp", "ntk", device=device, dtype=dtype, progress=False)
    start = time.perf_counter()
    values = kernel(x)
    row: dict[str, Any] = {
        "name": w.name,
        "title": w.title,
        "dtype": dtype,
        "aim": w.aims.get(dtype) if device == "cpu" else None,
        "bound": float(kernel.bound),
    }
    row["first"] = time.perf_counter() - start
    kernel.load()  # no call is timed that does without a compiler
    kernel(x)
    if w.layers is None:
        row["ours"] = [seconds(kernel, x) for _ in range(repeats)]
    else:
        row |= against(w, kernel, x, values, python, repeats)
    if w.small is not None:
        row["error"] = errors(w, dtype, device)
    if x.ndim == 2 and device == "cpu":
        row["syrk"] = machine.best(lambda: symmetric_product(x))
    return row


def seconds(kernel: Any, x: np.ndarray) -> float:
    start = time.perf_counter()
    kernel(x)
    return time.perf_counter() - start


def against(w: Workload, kernel: Any, x: np.ndarray, values: Any, python: str, repeats: int) -> dict[str, Any]:
    """The alternating calls, after an agreement check on the first samples."""
    with Peer(python, str(x.dtype)) as peer:
        first = peer.load(w.layers, x, w.tile)
        count = min(len(x), 200)
        apart = difference(peer.kernels(count), [v[:count, :count] for v in values])
        allowed = w.agreement if x.dtype == np.float64 else max(w.agreement, 1e-3)
        if not apart <= allowed:
            raise SystemExit(f"{w.name}, {x.dtype}: the peer and we differ by {apart:.1e} off the diagonal, over {allowed:.0e}")
        peer.call(len(x) if not w.tile else w.tile)
        kernel(x)
        ours, theirs, computed = [], [], []
        for _ in range(repeats):
            ours.append(seconds(kernel, x))
            whole, part = peer.call(len(x))
            theirs.append(whole)
            computed.append(part)
        version = peer.version
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "ours": ours, "peer": theirs, "peer_device": computed, "ratio": statistics.median(ratios),
        "ratios": [min(ratios), max(ratios)], "peer_first": first,
        "apart": apart, "version": version,
    }  # fmt: skip


def difference(a: Any, b: Any) -> float:
    """The largest difference off the diagonal, relative to the largest entry there: covariances may cancel."""
    worst = 0.0
    for one, two in zip(a, b, strict=True):
        off = ~np.eye(len(one), dtype=bool)
        one, two = np.asarray(one, float)[off], np.asarray(two, float)[off]
        worst = max(worst, float(np.max(np.abs(one - two)) / np.max(np.abs(two))))
    return worst


def errors(w: Workload, dtype: str, device: str) -> float:
    """Our error against fifty digits off the diagonal, on a few samples two of which are nearly parallel."""
    assert w.small is not None
    lets, shape = w.small
    x = w.data("float64", shape)
    x[1] = 1.1 * x[0] + 1e-3 * x[1]
    x = x.astype(dtype)
    kernel = tp.parse(w.text(), **lets).kernel("nngp", "ntk", device=device, dtype=dtype, progress=False)
    kernel.load()
    truth = digits50.kernels(w.layers, x)
    return difference(kernel(x), [t.astype(float) for t in truth])


def symmetric_product(x: np.ndarray) -> np.ndarray:
    """X Xᵀ, one triangle, by BLAS: what no kernel of inner products can do without."""
    rank_k = blas.dsyrk if x.dtype == np.float64 else blas.ssyrk
    return rank_k(1.0, x.T, trans=1)


if __name__ == "__main__":
    main()
