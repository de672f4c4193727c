"""What ran: processor, cores, versions, and the machine's measured peaks, which rooflines are drawn from."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def describe(device: str = "cpu") -> dict[str, Any]:
    import numba
    from threadpoolctl import threadpool_info

    return {
        "device": _gpu() if device == "cuda" else "",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "blas": ", ".join(f"{p['internal_api']} {p.get('architecture', '')} ×{p['num_threads']}" for p in threadpool_info()),
        "peaks": peaks(),
    }


def _gpu() -> str:
    from numba import cuda

    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def best(f: Callable[[], Any], repeats: int = 5) -> float:
    """The shortest of a few runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def peaks() -> dict[str, float]:
    """Gflop/s of matrix products on all cores; on one, GB/s of a copy that leaves the caches, and of touching new memory."""
    found = {}
    for dtype in (np.float64, np.float32):
        a = np.ones((2000, 2000), dtype)
        found[f"gflops_{np.dtype(dtype).name}"] = 2 * 2000**3 / best(lambda a=a: a @ a) / 1e9
    source = np.ones(1 << 26)
    target = np.empty_like(source)
    found["copy_gb_s"] = 2 * source.nbytes / best(lambda: np.copyto(target, source)) / 1e9
    found["touch_gb_s"] = source.nbytes / best(lambda: np.empty_like(source).fill(1.0)) / 1e9
    return found
