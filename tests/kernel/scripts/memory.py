"""Peak memory of a run above what the process held before it. Usage: memory.py FOLDER BUDGET gram | solve. Prints bytes."""

import sys
from pathlib import Path

import numpy as np

import tp


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024


folder, budget = Path(sys.argv[1]), int(sys.argv[2])
X = np.random.default_rng(0).standard_normal((3000, 100))
kernel = tp.zoo("mlp", d=100).kernel("nngp", "ntk")
kernel.threads = 2


def work(X: np.ndarray, name: str) -> None:
    if sys.argv[3] == "gram":
        kernel.gram(X, out=folder / name, memory=budget)
    else:
        kernel.solve(X, X[:, 0], 0.1, out=folder / name, memory=budget)


work(X[:600], "warm.npy")  # compiles
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
before = status("VmRSS")
work(X, "K.npy")
print(status("VmHWM") - before)
