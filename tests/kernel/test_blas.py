"""BLAS on one thread while threads of ours call it."""

from threading import Barrier, Thread

import pytest

from tp.kernel.blas import _library, one_thread


def test_calls_that_overlap_restore_what_was_before_the_first():
    count, limit = _library()
    given = count()
    limit(2)
    if count() != 2:
        pytest.skip("this BLAS has no threads, or none that can be set")
    inside, done = Barrier(2, timeout=30), Barrier(2, timeout=30)

    def other() -> None:
        with one_thread():
            inside.wait()
            done.wait()

    thread = Thread(target=other)
    try:
        with one_thread():
            thread.start()
            inside.wait()
            assert count() == 1
        assert count() == 1  # the other call goes on
        done.wait()
        thread.join()
        assert count() == 2
    finally:
        limit(given)
