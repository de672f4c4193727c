"""Peak memory above what was held before: of tiles, then of a solution. Usage: memory.py FOLDER TILES SOLUTION (bytes)."""

import sys
from pathlib import Path

import numpy as np

import tp


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024


def peak(task: str, budget: int) -> int:
    """Bytes that a task takes beyond those of a small one, which compiles."""
    for part, name in ((X[:600], f"{task}-warm.npy"), (X, f"{task}.npy")):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
        before = status("VmRSS")
        if task == "tiles":
            kernel.gram(part, out=folder / name, memory=budget)
        else:
            kernel.solve(part, part[:, 0], 0.1, out=folder / name, memory=budget)
    return status("VmHWM") - before


folder = Path(sys.argv[1])
X = np.random.default_rng(0).standard_normal((2500, 100))
kernel = tp.zoo("mlp", d=100).kernel("nngp", "ntk")
kernel.threads = 2
for task, budget in zip(("tiles", "solution"), sys.argv[2:], strict=True):
    print(peak(task, int(budget)))
