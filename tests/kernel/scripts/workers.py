"""A worker process dies in the middle of a run, or always, or is left alone. Usage: workers.py FOLDER own | dask | hopeless."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

import tp
from tp.kernel.kernel import Kernel


@dataclass(eq=False)
class Patient(Kernel):
    """A kernel that after the first tile waits until a worker was killed."""

    markers: Path = field(kw_only=True)
    killed: Path = field(kw_only=True)

    def __call__(self, *samples):
        while any(self.markers.glob("*")) and not self.killed.exists():
            time.sleep(0.001)
        return super().__call__(*samples)


def kill_one(kernel: Patient, victims) -> None:
    """Kill a worker once the first tile is done."""
    while not any(kernel.markers.glob("*")):
        time.sleep(0.001)
    os.kill(victims()[0], signal.SIGKILL)
    kernel.killed.touch()


def main() -> None:
    import multiprocessing

    out = Path(sys.argv[1]) / ("K.zarr" if sys.argv[2] == "dask" else "K.npy")
    markers = out.with_name(out.name + ".partial") / "done"
    X = np.random.default_rng(0).standard_normal((200, 10))
    plain = tp.zoo("mlp").kernel("nngp", "ntk")
    expected = plain(X)[1]
    given = {f.name: getattr(plain, f.name) for f in fields(plain) if f.init}
    kernel = Patient(**{**given, "threads": 1}, markers=markers, killed=out.with_name("killed"))

    def watched(victims, executor) -> None:
        thread = threading.Thread(target=kill_one, args=(kernel, victims))
        thread.start()
        gram = kernel.gram(X, out=out, executor=executor)
        thread.join()
        np.testing.assert_allclose(gram["ntk"][:], expected, rtol=1e-13)

    if sys.argv[2] == "own":
        watched(lambda: [p.pid for p in multiprocessing.active_children()], "processes")
    else:
        from distributed import Client, LocalCluster

        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
            watched(lambda: [w.pid for w in cluster.workers.values()], client.get_executor(retries=2))
    assert kernel.killed.exists() and not markers.exists()


def die(tile: object) -> None:
    os._exit(1)


def hopeless() -> None:
    """Workers that always die are given up on."""
    from tp.errors import DataError
    from tp.kernel.disk import run

    try:
        run._processes(die, lambda: [1, 2], 1, print)
    except DataError as error:
        assert "die" in str(error)
    else:
        raise AssertionError
    left_alone(run._follow_parent)


def left_alone(initializer) -> None:
    """Prints the id of a worker that no interrupt reaches, and is gone without a word to it."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer)
    assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    print(pool.submit(os.getpid).result(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    hopeless() if sys.argv[2] == "hopeless" else main()
