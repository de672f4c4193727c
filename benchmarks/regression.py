"""What infinitely wide networks predict, with the kernel matrix and its factor in memory, on disk, and by conjugate gradients.

    python -m benchmarks.regression                        # handwritten digits, and 4000 made samples within 50 MB: half a minute
    python -m benchmarks.regression --samples 20000 --memory 500MB

Printed, and stored in results/regression.md. ``peak`` is the memory of the process beyond what it held before (Linux).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tp
from benchmarks.sections import section
from tp.data import digits


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def measured(name: str, kernel: Any, X: Any, y: Any, test: Any, **options: Any) -> Any:
    """The mean and variance at the test samples, with a line of what it took."""
    counter = Path("/proc/self/clear_refs")
    if counter.exists():
        counter.write_text("5")
    before, start = status("VmRSS"), time.perf_counter()
    fit = kernel.solve(X, y, kind="nngp", **options)
    mean, variance = fit.predict(test)
    seconds, peak = time.perf_counter() - start, (status("VmHWM") - before) / 1e6
    how = f"{fit.iterations} iterations" if fit.iterations else f"log likelihood {fit.log_marginal_likelihood:.6e}"
    print(f"{name:22} {seconds:7.1f} s {peak:7.0f} MB   {how}")
    return mean, variance


def compared(kernel: Any, X: Any, y: Any, test: Any, ridge: float, memory: str, whole: bool) -> Any:
    """All ways, and how far apart they are."""
    with tempfile.TemporaryDirectory() as folder:
        kernel.solve(X[:60], y[:60], ridge, out=Path(folder) / "few.npy").mean(test[:60])  # what is loaded and compiled once
        first = measured("in memory", kernel, X, y, test, ridge=ridge) if whole else None
        for method in ("cholesky", "cg"):
            out = Path(folder) / "K.npy"
            found = measured(f"on disk, {method}", kernel, X, y, test, ridge=ridge, out=out, memory=memory, method=method)
            if first is not None:
                apart = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, first, strict=True)]
                print("  beside the first: mean {:.1e}, variance {:.1e}, relative to the largest".format(*apart))
            first = first or found
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--memory", default="50MB")
    parser.add_argument("--ridge", type=float, default=1e-2)
    given = parser.parse_args()

    title = "Regression with infinitely wide networks"
    with section("regression", title, "digits"):
        images, labels = digits()
        X, y = images.reshape(len(images), -1), np.eye(10)[labels]
        kernel = tp.zoo("mlp", d=X.shape[1]).kernel("nngp", "ntk")
        half = len(X) // 2
        print(f"{half} images to learn, {len(X) - half} to tell; ridge {given.ridge:g}, memory 20 MB on disk")
        mean, _ = compared(kernel, X[:half], y[:half], X[half:], given.ridge, "20MB", True)
        print(f"{np.mean(mean.argmax(axis=1) == labels[half:]):.2%} are told right")
    with section("regression", title, f"{given.samples:,} samples of dimension {given.dim}"):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((given.samples + 100, given.dim))
        y = np.tanh(X @ rng.standard_normal(given.dim) / given.dim**0.5) + 0.1 * rng.standard_normal(len(X))
        kernel = tp.zoo("mlp", d=given.dim).kernel("nngp")
        count = given.samples
        size = 8 * count**2 / 1e6
        print(f"a matrix takes {size:.0f} MB, so does its factor; memory {given.memory}, ridge {given.ridge:g}, 100 to predict")
        mean, _ = compared(kernel, X[:count], y[:count], X[count:], given.ridge, given.memory, size < 500)
        print(f"mean squared error {np.mean((mean - y[count:]) ** 2):.4f}; targets {np.var(y[count:]):.4f}, noise 0.0100")


if __name__ == "__main__":
    main()
