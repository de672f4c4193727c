"""A kernel matrix on a dask cluster whose workers are killed on the way: wall time, memory, and the numbers checked.

    python -m benchmarks.cluster_gram                 # 5000, 10 000 and 20 000 samples: half a minute, 3.2 GB of disk
    python -m benchmarks.cluster_gram --quick         # 2000 samples
    python -m benchmarks.cluster_gram --samples 20000 --workers 2 --kills 1 --out /tmp/K.zarr

Needs the extra ``scale``. A depth-3 tangent kernel. Printed, and stored in results/cluster_gram.md. With ``--out`` the matrix is
kept; killed itself and started again, it goes on where it was. Rows are checked against the kernel in memory.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sections import section

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


def speed(folder: Path, size: int = 1 << 28) -> float:
    """MB a second that the disk takes."""
    with tempfile.TemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
    return size / 1e6 / (time.perf_counter() - start)


def run(samples: int, out: Path, client: Any, cluster: Any, given: argparse.Namespace) -> str:
    """One row of the table."""
    import tp
    from tp.kernel.disk.tiles import Tiling

    X = np.random.default_rng(0).standard_normal((samples, given.dim))
    kernel = tp.parse(DEEP, d=given.dim, L=given.depth).kernel("ntk", dtype=given.dtype)
    edge = -(-samples // 12)
    kernel.load()
    kernel(X[:edge], X[-edge:])  # compiled, and kept on disk for the workers
    tiles = len(Tiling(samples, samples, edge, True).tiles)
    watch = Watch(cluster, out.with_name(out.name + ".partial") / "done", tiles, given.kills)
    watch.start()
    start = time.perf_counter()
    gram = kernel.gram(X, out=out, memory=given.memory, executor=client)
    wall = time.perf_counter() - start
    watch.over.set()
    watch.join()
    some = np.sort(np.random.default_rng(1).choice(samples, given.rows, replace=False))
    want = kernel(X[some], X)
    error = max(float(np.max(np.abs(gram["ntk"][i] - want[k])) / np.abs(want[k]).max()) for k, i in enumerate(some))
    cells = (samples, len(cluster.workers), watch.killed, gram.metadata["tile"], wall, watch.peak / 1e6, error)
    return "{:7,} {:8} {:6} {:6} {:8.1f} {:13.0f} {:14.1e}".format(*cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[5_000, 10_000, 20_000])
    parser.add_argument("--quick", action="store_const", const=[2_000], dest="samples", help="2000 samples only")
    for name, value in (("dim", 784), ("depth", 3), ("workers", 2), ("kills", 1), ("rows", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--memory", default="500MB", help="of the tasks of one worker")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--out", type=Path, help="keep the matrix there (default: in a folder that goes)")
    given = parser.parse_args()

    from distributed import Client, LocalCluster

    part = f"{given.dtype}, dimension {given.dim}, up to {max(given.samples):,} samples"
    with section("cluster_gram", "A kernel matrix on a cluster whose workers are killed", part):
        print("samples  workers  kills  tile    seconds  MB per worker  largest error")
        for samples in given.samples:
            with (
                tempfile.TemporaryDirectory() as folder,
                LocalCluster(n_workers=given.workers, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
                Client(cluster) as client,
            ):
                print(run(samples, given.out or Path(folder) / "K.zarr", client, cluster, given))
        print(f"\nkilled by SIGKILL while tiles were written; error: of {given.rows} rows, relative to the largest entry of each")
        print(f"the disk takes {speed(given.out.parent if given.out else Path(tempfile.gettempdir())):.0f} MB/s")


if __name__ == "__main__":
    main()
