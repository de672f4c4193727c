"""Pairs of images that begin while other samples are looked at."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kernel.plain import data, kernel
from tests.kernel.test_rows import images
from tp.kernel import abreast, ahead
from tp.kernel import compile as compiler
from tp.kernel import images as pairs
from tp.kernel.threads import run


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.usefixtures("uncompiled")
def test_pairs_that_begin_early_are_the_same(dtype, monkeypatch):
    monkeypatch.setattr(compiler, "ROWS", 0)
    monkeypatch.setattr(abreast, "LEAST", 100)  # as array code samples may round otherwise than one by one
    k, limit = kernel(images(), dtype=dtype)
    k.threads = 2
    X = data(limit, 4).astype(dtype)
    X[3] = X[1]
    assert not _long(k, X)
    known = np.array(k(X)), np.array(k(X[:2], X[1:]))
    monkeypatch.setattr(pairs, "LEAST", 0)
    assert _long(k, X)
    np.testing.assert_array_equal(known[0], k(X))
    np.testing.assert_array_equal(known[1], k(X[:2], X[1:]))


def _long(k, X) -> bool:
    side = k._samples(X, "X")
    return pairs.Pairing(k._call(), side, side).long


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nobody_waits_for_samples_that_fail(threads, error, monkeypatch):
    def fails() -> None:
        raise error("no variance")

    monkeypatch.setattr(ahead, "site_tasks", lambda call, side: [(slice(0, 2), lambda: None), (slice(2, 3), fails)])
    side, seen = SimpleNamespace(count=3), []
    work = ahead.Ahead(None, [side], lambda side, part: seen.append(part))
    waits = [lambda k=k: work.wait(side, np.array([k])) for k in (0, 2)]
    with pytest.raises(error, match="no variance"):
        run(lambda task: task(), [*work.tasks, *waits], threads, None)
    assert seen == [slice(0, 2)]
    with pytest.raises(error, match="no variance"):
        work.wait(side, np.arange(3))


def test_what_an_interrupt_cut_short_another_thread_does_again():
    begun, left, met = [], threading.Event(), threading.Event()

    def work() -> None:
        begun.append(threading.current_thread())
        if len(begun) == 1:
            met.set()
            left.wait(30)
            raise KeyboardInterrupt

    once = ahead.Once(work)
    other = threading.Thread(target=lambda: (met.wait(30), left.set(), once()))
    other.start()
    with pytest.raises(KeyboardInterrupt):
        once()
    other.join(30)
    once()
    assert begun == [threading.current_thread(), other]
