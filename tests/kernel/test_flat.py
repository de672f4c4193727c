"""All positions as lanes: odd sizes, images that are not square, wide windows; against positions as lanes row by row."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernel.plain import data, kernel
from tests.kernel.test_rows import FLAT, MAP, POOLED, images
from tp.kernel import compile as compiler
from tp.kernel.flat import Grid
from tp.kernel.reference import reference

WIDE = """network wide
  width n
  dim c = 1
  index p in 0..2 boundary zero
  index q in 1..5 boundary zero
  input x[p, q] : [c]
  weight A[i, j] : [n, c] ~ N(0, 1/c)  for i in -2..0, j in 0..2
  weight B[i, j] : [n, n] ~ N(0, 1/n)  for i in 0..1, j in -2..0
  weight b : [n] ~ N(0, 0.2)
  weight v[p, q] : [n] ~ N(0, 1/n)
  f[p, q] = sum(A[i, j] @ x[p+i, q+j] for i in -2..0, j in 0..2) + b
  g[p, q] = f[p, q] + sum(B[i, j] @ relu(f[p+i, q+j]) for i in 0..1, j in -2..0)
  output o = sum(v[p, q] @ relu(g[p, q]) for p, q)
"""
SOLID = """network solid
  width n
  dim c = 2
  index p in 0..1 boundary zero
  index q in 0..2 boundary zero
  index r in 0..1 boundary zero
  input x[p, q, r] : [c]
  weight A[i, j, k] : [n, c] ~ N(0, 1/c)  for i in 0..1, j in -1..0, k in 0..1
  weight B[j, k] : [n, n] ~ N(0, 1/n)  for j in 0..1, k in -1..0
  weight v[p, q, r] : [n] ~ N(0, 1/n)
  f[p, q, r] = sum(A[i, j, k] @ x[p+i, q+j, r+k] for i in 0..1, j in -1..0, k in 0..1)
  g[p, q, r] = sum(B[j, k] @ relu(f[p, q+j, r+k]) for j in 0..1, k in -1..0)
  output o = sum(v[p, q, r] @ relu(g[p, q, r]) for p, q, r)
"""
FLATTENED = {
    "3 by 2": (images(rest=FLAT), ((3, 0), (2, 1))),
    "one column": (images(5, 1, rest=FLAT), ((5, 0), (1, 1))),
    "one row": (images(1, 4, rest=FLAT), ((1, 0), (4, 1))),
    "wide windows": (WIDE, ((3, 0), (5, 2))),
    "erf": (images(2, 3, rest=FLAT.replace("relu(f", "erf(f")), ((2, 0), (3, 1))),
    "three axes": (SOLID, ((2, 0), (3, 1), (2, 1))),
}


def on_grid(text: str, monkeypatch: pytest.MonkeyPatch, wanted: bool = True):
    monkeypatch.setattr(compiler, "ROWS", 0)
    if not wanted:
        monkeypatch.setattr(compiler, "_whole_images", lambda *given: None)
    return kernel(text)


@pytest.mark.parametrize("name", FLATTENED)
@pytest.mark.usefixtures("uncompiled")
def test_whole_images_agree_with_the_equations(name, monkeypatch):
    text, grid = FLATTENED[name]
    k, limit = on_grid(text, monkeypatch)
    other, _ = on_grid(text, monkeypatch, wanted=False)
    assert k.compiled.grid == grid and "rows" in other.compiled.functions and not other.compiled.grid
    X = data(limit, 3)
    X[2] = 1.001 * X[0]
    for ours, rows in zip(k(X), other(X), strict=True):
        np.testing.assert_allclose(ours, rows, rtol=1e-13, atol=1e-15)
    for ours, theirs in zip(k(X[:1], X[1:2]), reference(limit, X[:2]), strict=True):
        np.testing.assert_allclose(ours[0, 0], theirs[0, 1], rtol=1e-11)


@pytest.mark.usefixtures("uncompiled")
def test_blank_images_and_equal_ones(monkeypatch):
    k, limit = on_grid(images(4, 3, rest=FLAT), monkeypatch)
    other, _ = on_grid(images(4, 3, rest=FLAT), monkeypatch, wanted=False)
    X = data(limit, 4)
    X[1], X[2], X[3, 1:] = X[0], 0.0, 0.0
    for ours, rows, alone in zip(k(X), other(X), k.diag(X), strict=True):
        np.testing.assert_allclose(ours, rows, rtol=1e-13)
        np.testing.assert_array_equal(np.diag(ours), alone)
        assert ours[0, 1] == ours[0, 0]


def test_other_positions_or_functions_need_rows(monkeypatch):
    expanded = images(rest=FLAT.replace("relu(f", "tanh(f"))
    for text in (images(rest=POOLED), images(rest=MAP), expanded, images(mode="circular", rest=FLAT)):
        assert not on_grid(text, monkeypatch)[0].compiled.grid


def test_blank_runs_are_the_lanes_between_rows():
    grid = Grid((2, 3, 4), (0, 1, 2))
    assert grid.strides == (24, 6, 1) and grid.lanes == 48
    seen = np.zeros(48, bool)
    for first, step, run in grid.blank_runs():
        for at in range(first, 48, step):
            seen[at : at + run] = True
    box = np.ones((2, 4, 6), bool)
    box[:, :3, :4] = False
    np.testing.assert_array_equal(seen, box.ravel())
