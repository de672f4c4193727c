"""A worker process dies in the middle of a run, or always, or is left alone. Usage: workers.py FOLDER own | dask | hopeless."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np


def kill_one(markers: Path, victims, killed: list[int]) -> None:
    """Kill a worker as soon as the first tile is done."""
    while not any(markers.glob("*")):
        time.sleep(0.0005)
    pid = victims()[0]
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


def main() -> None:
    import multiprocessing

    import tp

    out = Path(sys.argv[1]) / ("K.zarr" if sys.argv[2] == "dask" else "K.npy")
    markers = out.with_name(out.name + ".partial") / "done"
    X = np.random.default_rng(0).standard_normal((1000, 10))
    kernel = tp.zoo("mlp").kernel("nngp", "ntk")
    expected = kernel(X)[1]
    kernel.threads = 1
    killed: list[int] = []

    def watched(victims, executor) -> None:
        thread = threading.Thread(target=kill_one, args=(markers, victims, killed))
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
    assert killed
    assert not markers.exists()


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
