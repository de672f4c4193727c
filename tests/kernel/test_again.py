"""Arrays in the memory of earlier ones: never in that of one somebody can read."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest

import tp
from tp.kernel import again

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere these are numpy's own")
KIND = np.dtype(np.float64)


@pytest.fixture(autouse=True)
def nothing_on_offer():
    gc.collect()
    again._offered.clear()
    yield
    again._offered.clear()


def test_memory_is_used_again_once_the_last_view_is_gone():
    first = again.empty((400, 500), KIND)
    first.fill(7.0)
    place, view = first.ctypes.data, np.moveaxis(first, 0, 1)[3:4].T
    del first
    assert again.empty((400, 500), KIND).ctypes.data != place
    assert (view == 7.0).all()
    del view
    places = {again.empty((400, 500), KIND).ctypes.data, again.empty((400, 450), KIND).ctypes.data}
    assert place in places
    held = [again.empty((400, 500), KIND) for _ in range(4)]
    assert len({a.ctypes.data for a in held}) == 4


def test_pieces_that_are_much_longer_are_left():
    place = again.empty((4 << 20,), KIND).ctypes.data
    assert again.empty((again.LEAST,), np.dtype(np.uint8)).ctypes.data != place


def test_small_arrays_are_numpys_own_and_impossible_ones_refused_as_there():
    assert again.empty((3, 4), KIND).flags.owndata
    assert again.empty((0, 1 << 30), KIND).size == 0
    with pytest.raises(MemoryError):
        again.empty((1 << 29, 1 << 27), KIND)


def test_no_more_than_so_much_is_on_offer(monkeypatch):
    monkeypatch.setattr(again, "MOST", 3 * (again.LEAST + again.HUGE))
    held = [again.empty((again.LEAST,), np.dtype(np.uint8)) for _ in range(7)]
    held.clear()
    assert len(again._offered) == 3


def test_threads_never_share_memory():
    def work(mark: float) -> None:
        for _ in range(200):
            a = again.empty((1 << 17,), KIND)
            a[::512] = mark
            if not (a[::512] == mark).all():
                shared.append(mark)

    shared: list[float] = []
    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not shared


def test_results_stay_when_the_next_call_is_made():
    kernel = tp.zoo("mlp").kernel("nngp")
    x = np.random.default_rng(0).normal(size=(400, 10))
    first = kernel(x)
    copy = first.copy()
    second = kernel(x[::-1])
    assert np.array_equal(first, copy) and np.allclose(second[::-1, ::-1], first, rtol=1e-12)
    places = {first.ctypes.data, second.ctypes.data}
    del first, second
    assert kernel(x).ctypes.data in places
