"""A child has every lock free, whatever other threads were doing when it was made."""

from __future__ import annotations

import os
import sys
import threading
from types import ModuleType

import pytest
from numba.core.compiler_lock import global_compiler_lock

from tp import seldom
from tp.kernel import aside, bare, blas, module, planewise
from tp.kernel.disk import lock as disk

LOCKS = {
    "numba's compiler": global_compiler_lock._lock,
    "functions compiled aside": aside._compiling,
    "modules": module._loading,
    "machine code": bare._linking,
    "garbage": seldom._lock,
    "BLAS": blas._lock,
    "files": disk._guard,
    "tables": planewise._asking,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_fork_waits_until_another_thread_is_done(lock):
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    threading.Timer(0.1, done.set).start()
    child = os.fork()
    if not child:
        os._exit(0 if lock.acquire(blocking=False) else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    assert lock.acquire(blocking=False)  # here, too
    lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_another_thread_loads_numba(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "numba.core.compiler_lock", ModuleType("numba.core.compiler_lock"))  # begun, no more
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not module._compiler.taken and "AttributeError" not in capfd.readouterr().err
