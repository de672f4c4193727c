"""Which plans are their own mirror images, so that a sample with itself needs half of the offsets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.kernel.plain import data, kernel
from tests.kernel.test_rows import HALVES, HEADED, MAP, POOLED, POOLS, STRIDE, images
from tp.kernel import compile as compiler
from tp.kernel.cells import Cell, parts
from tp.kernel.exchange import symmetric

POOLING = {
    "one stack": images(3, 4),
    "stride of rows": images(4, 2, rest=STRIDE, more=HALVES),
    "average pools": images(4, 4, rest=POOLS, more=HALVES),
    "dense head": images(2, 3, rest=HEADED),
}


def plan_of(text: str, monkeypatch: pytest.MonkeyPatch):
    """The pairs' plan that a kernel is compiled from, and the kernel."""
    seen = []
    monkeypatch.setattr(compiler, "ROWS", 0)
    monkeypatch.setattr(compiler, "symmetric", lambda plan: seen.append(plan) or symmetric(plan))
    k, limit = kernel(text)
    return seen[0], k, limit


@pytest.mark.parametrize("name", POOLING)
@pytest.mark.usefixtures("uncompiled")
def test_half_of_the_offsets_say_everything(name, monkeypatch):
    plan, k, limit = plan_of(POOLING[name], monkeypatch)
    monkeypatch.setattr(compiler, "symmetric", lambda plan: False)
    whole, _ = kernel(POOLING[name])
    assert symmetric(plan) and "if same else" in k.source and "times" not in whole.source
    X = data(limit, 2)
    for half, full in zip(k.diag(X), whole.diag(X), strict=True):
        np.testing.assert_allclose(half, full, rtol=1e-13)


def test_what_keeps_its_positions_needs_all_offsets(monkeypatch):
    plan, k, _ = plan_of(images(rest=MAP), monkeypatch)
    assert symmetric(plan) and "times" not in k.source


def test_a_read_that_is_askew_is_seen(monkeypatch):
    """K[p; p′] from K[p + 1; p′] is no mirror image."""
    plan, _, _ = plan_of(images(rest=POOLED), monkeypatch)
    f = next(f for f in plan.formulas if any(c.table.startswith("gram") for c in parts(f.rhs, Cell)))
    cell = next(c for c in parts(f.rhs, Cell) if c.table.startswith("gram"))
    askew = replace(f, rhs=f.rhs.xreplace({cell: Cell(cell.table, cell.side, cell.index[0] + 1, *cell.index[1:])}))
    assert not symmetric(replace(plan, formulas=[askew if g is f else g for g in plan.formulas]))
