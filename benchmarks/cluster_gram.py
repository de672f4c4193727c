"""A kernel matrix on a dask cluster whose workers are killed on the way: wall time, memory, and the numbers checked.

    python benchmarks/cluster_gram.py --samples 20000 --dim 784 --workers 2 --kills 1 --out /tmp/K.zarr

Needs the extra ``scale``. Prints one JSON line. Killed itself and started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

DEEP = """
network deep
  width n
  dim   d = 784
  let   L = 3
  input  x : [d]
  weight W[1] : [n, d] ~ N(0, 2/d)
  weight W[l] : [n, n] ~ N(0, 2/n)  for l in 2..L
  weight v    : [n]    ~ N(0, 1/n)
  h[1] = W[1] @ x
  h[l] = W[l] @ relu(h[l-1])  for l in 2..L
  output f = v @ relu(h[L])
"""


class Watch(threading.Thread):
    """Kills a worker each time another share of the tiles is done, and notes the largest memory of any worker."""

    def __init__(self, cluster, markers: Path, tiles: int, kills: int) -> None:
        super().__init__(daemon=True)
        self.cluster, self.markers = cluster, markers
        self.at = [tiles * (k + 1) // (kills + 1) for k in range(kills)]
        self.killed, self.peak, self.over = 0, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            pids = [w.pid for w in self.cluster.workers.values() if getattr(w, "pid", None)]
            self.peak = max([self.peak, *(_peak(pid) for pid in pids)])
            done = len(os.listdir(self.markers)) if self.markers.exists() else 0
            if pids and self.killed < len(self.at) and done >= self.at[self.killed]:
                os.kill(pids[0], signal.SIGKILL)
                self.killed += 1


def _peak(pid: int) -> int:
    """The largest resident size of a process so far, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("samples", 20_000), ("dim", 784), ("depth", 3), ("workers", 2), ("kills", 1), ("rows", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--memory", default="500MB", help="of the tasks of one worker")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--out", type=Path, default=Path("K.zarr"))
    given = parser.parse_args()

    from distributed import Client, LocalCluster

    import tp
    from tp.kernel.disk.tiles import Tiling

    X = np.random.default_rng(0).standard_normal((given.samples, given.dim))
    kernel = tp.parse(DEEP, d=given.dim, L=given.depth).kernel("ntk", dtype=given.dtype)
    kernel.diag(X[:2])  # compiled, and kept on disk for the workers
    share = -(-given.samples // 12)
    tiles = len(Tiling(given.samples, given.samples, share, True).tiles)
    markers = given.out.with_name(given.out.name + ".partial") / "done"
    with (
        LocalCluster(n_workers=given.workers, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
        Client(cluster) as client,
    ):
        watch = Watch(cluster, markers, tiles, given.kills)
        watch.start()
        start = time.perf_counter()
        gram = kernel.gram(X, out=given.out, memory=given.memory, executor=client.get_executor(retries=2))
        wall = time.perf_counter() - start
        watch.over.set()
    some = np.sort(np.random.default_rng(1).choice(given.samples, given.rows, replace=False))
    want = kernel(X[some], X)
    error = max(float(np.max(np.abs(gram["ntk"][i] - want[k]) / np.abs(want[k]).max())) for k, i in enumerate(some))
    result = {
        "samples": given.samples,
        "dim": given.dim,
        "depth": given.depth,
        "tile": gram.metadata["tile"],
        "wall_s": round(wall, 1),
    }
    result |= {"killed": watch.killed, "worker_peak_MB": watch.peak // 10**6, "rows_checked": given.rows, "largest_error": error}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
