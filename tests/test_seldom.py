"""Garbage is collected rarely while something is made, and as before afterwards."""

import gc
import threading

import pytest

from tp.seldom import RARE, seldom


@pytest.fixture(autouse=True)
def _thresholds():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_thresholds_come_back():
    gc.set_threshold(700, 10, 10)
    with pytest.raises(KeyError), seldom():
        assert gc.get_threshold() == RARE
        with seldom():
            pass
        assert gc.get_threshold() == RARE
        raise KeyError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (10**6, 5, 5)])
def test_own_thresholds_stay(own):
    gc.set_threshold(*own)
    with seldom():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_what_is_set_meanwhile_stays():
    with seldom():
        gc.set_threshold(1234, 5, 6)
    assert gc.get_threshold() == (1234, 5, 6)


def test_the_last_thread_restores():
    gc.set_threshold(700, 10, 10)
    entered, leave = threading.Event(), threading.Event()

    def other():
        with seldom():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with seldom():
        thread.start()
        assert entered.wait(10)
    assert gc.get_threshold() == RARE
    leave.set()
    thread.join()
    assert gc.get_threshold() == (700, 10, 10)
