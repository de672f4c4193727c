"""Tasks on threads, and tables in one block of memory."""

from __future__ import annotations

import os
import threading
import time
import weakref

import numpy as np
import pytest

from tp.kernel.cores import SHORT, core
from tp.kernel.room import LINE, room
from tp.kernel.threads import _teams, run


@pytest.mark.parametrize("threads", [1, 3])
def test_results_stand_in_the_order_of_tasks(threads):
    assert run(lambda k: k * k, range(20), threads, None) == [k * k for k in range(20)]


def test_no_more_threads_than_asked_for_and_this_one_among_them():
    meeting = threading.Barrier(3, timeout=30)

    def work(task: int) -> threading.Thread:
        meeting.wait()
        return threading.current_thread()

    assert len(found := set(run(work, range(6), 3, None))) == 3
    assert threading.current_thread() in found


def test_what_was_done_keeps_nothing_alive():
    meeting, block = threading.Barrier(2, timeout=30), np.zeros(3)
    seen = weakref.ref(block)

    def work(task: int, block: np.ndarray = block) -> None:
        meeting.wait()
        block[task] = 1.0

    run(work, range(2), 2, None)
    del work, block
    assert seen() is None


def rested(threads: int) -> None:
    """Until helpers of earlier calls wait for more: they are asleep a moment after the call has ended, and only then are sent."""
    while (team := _teams.get(threads)) and (team.awake or not team.queue.empty()):
        time.sleep(1e-3)


@pytest.mark.skipif(core() < 0 or len(os.sched_getaffinity(0)) < 2, reason="takes Linux and two cores")
def test_threads_work_on_cores_of_their_own_for_a_short_time():
    allowed = os.sched_getaffinity(0)
    meeting = threading.Barrier(2, timeout=30)

    def work(seconds: float) -> set[int]:
        meeting.wait()
        time.sleep(seconds)
        return os.sched_getaffinity(0)

    run(work, [0.0, 0.0], 2, None)  # the helper is there
    for later in (0.0, 2 * SHORT):
        rested(2)
        mine, his = sorted(run(work, [later, later], 2, None), key=len, reverse=True)
        assert his and his < mine == allowed == os.sched_getaffinity(0)
    rested(2)
    late = run(work, [2 * SHORT, 2 * SHORT, 0.0, 0.0], 2, None)
    assert late[2] == late[3] == allowed


@pytest.mark.skipif(core() < 0 or len(os.sched_getaffinity(0)) < 2, reason="takes Linux and two cores")
def test_helpers_go_no_farther_than_the_thread_that_calls():
    allowed, mine = os.sched_getaffinity(0), {core()}
    os.sched_setaffinity(0, mine)
    try:
        meeting = threading.Barrier(2, timeout=30)
        rested(2)
        assert run(lambda k: (meeting.wait(), os.sched_getaffinity(0))[1], range(2), 2, None) == [mine, mine]
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.skipif(core() < 0 or len(os.sched_getaffinity(0)) < 2, reason="takes Linux and two cores")
def test_a_call_leaves_the_helpers_of_another_where_they_are():
    allowed, meeting = os.sched_getaffinity(0), threading.Barrier(3, timeout=30)

    def work(seconds: float) -> set[int]:
        time.sleep(seconds)
        if not seconds:
            meeting.wait()  # both are at work, and free by now
            meeting.wait()
        return os.sched_getaffinity(0)

    def other() -> None:
        os.sched_setaffinity(0, {core()})
        meeting.wait()
        run(lambda task: task, range(2), 2, None)
        meeting.wait()

    thread = threading.Thread(target=other)
    thread.start()
    rested(2)
    late = run(work, [2 * SHORT, 2 * SHORT, 0.0, 0.0], 2, None)
    thread.join()
    assert late[2] == late[3] == allowed


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_ends_the_run(threads):
    begun = []

    def work(task: int) -> None:
        begun.append(task)
        if task == 2:
            raise ValueError(task)

    with pytest.raises(ValueError, match="2"):
        run(work, range(1000), threads, None)
    assert threads > 1 or begun == [0, 1, 2]


def test_tables_of_one_block_begin_at_lines_of_the_cache():
    tables = room({"a": (3, 5), "b": (7,), "c": (0, 2), "d": (2, 2)}, {"b": np.dtype(np.float32)})
    assert {n: (a.shape, a.dtype) for n, a in tables.items()} == {
        "a": ((3, 5), np.float64), "b": ((7,), np.float32), "c": ((0, 2), np.float64), "d": ((2, 2), np.float64)
    }  # fmt: skip
    assert all(a.ctypes.data % LINE == 0 for n, a in tables.items() if n != "c")
    for k, a in enumerate(tables.values()):
        a.fill(k)
    assert all((a == k).all() for k, a in enumerate(tables.values()))
