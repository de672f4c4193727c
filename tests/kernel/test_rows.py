"""Positions as lanes, one offset at a time, against the oracle, which knows neither."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernel.plain import data, kernel
from tests.kernel.specs import RNN
from tp.kernel import compile as compiler
from tp.kernel import slots
from tp.kernel.build import build
from tp.kernel.reference import reference

HEAD = """network images
  width n
  dim c = 2
  index p in 0..{h} boundary {mode}
  index q in 0..{w} boundary {mode}
  input x[p, q] : [c]
  weight A[i, j] : [n, c] ~ N(0, 2/(3*c))  for i in -1..1, j in 0..1
  weight B[i, j] : [n, n] ~ N(0, 1/n)      for i in -1..1, j in 0..1
  weight b : [n] ~ N(0, 0.2)
  weight v : [n] ~ N(0, 1/n)
  f[p, q] = sum(A[i, j] @ x[p+i, q+j] for i in -1..1, j in 0..1)
"""
POOLED = """  g[p, q] = sum(B[i, j] @ {phi}(f[p+i, q+j]) for i in -1..1, j in 0..1) + b
  output o = v @ mean(relu(g[p, q]) for p, q)
"""


def images(h: int = 3, w: int = 2, mode: str = "zero", phi: str = "relu", rest: str = POOLED, more: str = "") -> str:
    """Windows 3 high and 2 wide, images that are not square."""
    return HEAD.format(h=h - 1, w=w - 1, mode=mode).replace("  input", f"{more}  input", 1) + rest.format(phi=phi)


STRIDE = """  g[r, q] = sum(B[i, j] @ relu(f[2*r+i, q+j]) for i in -1..1, j in 0..1) + b
  output o = v @ mean(relu(g[r, q]) for r, q)
"""
ACROSS = """  g[p, s] = sum(B[i, j] @ relu(f[p+i, 2*s+j]) for i in -1..1, j in 0..1) + b
  output o = v @ mean(relu(g[p, s]) for p, s)
"""
POOLS = """  u[r, s] = mean(relu(f[2*r+i, 2*s+j]) for i in 0..1, j in 0..1)
  g[r, s] = sum(B[i, j] @ u[r+i, s+j] for i in -1..1, j in 0..1) + b
  output o = v @ mean(relu(g[r, s]) for r, s)
"""
RESIDUAL = """  g[p, q] = f[p, q] + sum(B[i, j] @ relu(f[p+i, q+j]) for i in -1..1, j in 0..1)
  output o = v @ mean(relu(g[p, q]) for p, q)
"""
DEEP = """  weight D[l, i] : [n, n] ~ N(0, 1/n) for l in 1..2, i in -1..1
  e[0, p, q] = f[p, q]
  e[l, p, q] = sum(D[l, i] @ relu(e[l-1, p+i, q]) for i in -1..1) + b for l in 1..2
  output o = v @ mean(relu(e[2, p, q]) for p, q)
"""
HEADED = """  weight M : [n, n] ~ N(0, 2/n)
  output o = v @ relu(M @ mean(relu(f[p, q]) for p, q) + b)
"""
FLAT = """  weight z[p, q] : [n] ~ N(0, 1/n)
  g[p, q] = sum(B[i, j] @ relu(f[p+i, q+j]) for i in -1..1, j in 0..1) + b
  output o = sum(z[p, q] @ relu(g[p, q]) for p, q)
"""
MAP = """  output o[p, q] = v @ relu(f[p, q])
"""
HALVES = "  index r in 0..1 boundary zero\n  index s in 0..1 boundary zero\n"
LINE = """network line
  width n
  dim c = 2
  index p in 0..4 boundary zero
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 2/(3*c))  for k in -1..1
  weight B[k] : [n, n] ~ N(0, 2/(3*n))  for k in -1..1
  weight v : [n] ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  g[p] = sum(B[k] @ relu(h[p+k]) for k in -1..1)
  output f = v @ mean(relu(g[p]) for p)
"""
BELLS = """network bells
  width n
  dim c = 2
  index p in 0..11 boundary zero
  index r in 0..5 boundary zero
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 2/(3*c))  for k in -1..1
  weight B[k] : [n, n] ~ N(0, 2/(3*n))  for k in 0..1
  weight v : [n] ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  u[r] = mean(exp(-h[2*r+i]^2) for i in 0..1)
  g[r] = sum(B[k] @ u[r+k] for k in 0..1)
  output f = v @ mean(relu(g[r]) for r)
"""
CHAIN = """network chain
  width n
  dim c = 2
  index p in 2..13 boundary zero
  index r in 1..6  boundary zero
  index s in 1..3  boundary zero
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 2/(3*c))  for k in -1..1
  weight B[k] : [n, n] ~ N(0, 2/(3*n))  for k in -1..1
  weight C[k] : [n, n] ~ N(0, 1/n)      for k in 0..2
  weight b : [n] ~ N(0, 0.1)
  weight v : [n] ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  u[r] = mean(relu(h[2*r+i]) for i in -1..1)
  g[r] = sum(B[k] @ u[r+k] for k in -1..1) + b
  y[s] = sum(C[k] @ relu(g[2*s+k]) for k in 0..2)
  output f = v @ mean(relu(y[s]) for s)
"""
WIDER = (
    LINE.replace("input", "index r in 0..11 boundary zero\n  input", 1)
    .replace("g[p] = sum(B[k] @ relu(h[p+k])", "g[r] = sum(B[k] @ relu(h[r+k-3])")
    .replace("relu(g[p]) for p", "relu(g[r]) for r")
)
MEANS = """network means
  width n
  dim c = 2
  index p in 0..5 boundary zero
  index r in 0..1 boundary zero
  input x[p] : [c]
  weight A[k] : [n, c] ~ N(0, 2/(3*c))  for k in -1..1
  weight v : [n] ~ N(0, 1/n)
  h[p] = sum(A[k] @ x[p+k] for k in -1..1)
  u[r] = mean(relu(h[3*r+i]) for i in 0..2)
  output f = v @ mean(u[r] for r)
"""
VALID = """network valid
  width n
  dim c = 2
  index p, q in 0..4
  index r, s in 0..2
  input x[p, q] : [c]
  weight A[i, j] : [n, c] ~ N(0, 2/(9*c))  for i in 0..2, j in 0..2
  weight B[i, j] : [n, n] ~ N(0, 2/(9*n))  for i in 0..1, j in 0..1
  weight v : [n] ~ N(0, 1/n)
  f[r, s] = sum(A[i, j] @ x[r+i, s+j] for i in 0..2, j in 0..2)
  g[r, s] = sum(B[i, j] @ relu(f[r+i, s+j]) for i in 0..1, j in 0..1) for r in 0..1, s in 0..1
  output o = v @ mean(relu(g[r, s]) for r in 0..1, s in 0..1)
"""

SMALL = {
    "pooled": images(2, 2),
    "stride of rows": images(4, 2, rest=STRIDE, more=HALVES),
    "dense head": images(2, 3, rest=HEADED),
    "flatten": images(rest=FLAT),
    "every position": images(rest=MAP),
    "line": LINE,
}
LARGER = {
    "pooled": images(4, 3),
    "tanh": images(2, 2, phi="tanh"),
    "stride of lanes": images(2, 4, rest=ACROSS, more=HALVES),
    "average pools": images(4, 4, rest=POOLS, more=HALVES),
    "residual": images(rest=RESIDUAL),
    "depth in a loop": images(rest=DEEP),
    "no boundary": VALID,
}
OTHERS = {
    "circular": images(mode="circular"),
    "reflect": images(3, 3, mode="reflect"),
    "not 0 beyond": images(2, 2, phi="cos"),
    "mean of means": MEANS,
    "recurrence": RNN.format(phi="relu", readout="mean(relu(h[t]) for t)"),
}


def by_rows(text: str, monkeypatch: pytest.MonkeyPatch, least: int = 0, kinds=("K", "Theta")):
    monkeypatch.setattr(compiler, "ROWS", least)
    k, limit = kernel(text, kinds)
    return k, limit, "rows" in k.compiled.functions


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.usefixtures("uncompiled")
def test_positions_as_lanes_agree_with_the_equations(name, monkeypatch):
    k, limit, rows = by_rows(SMALL[name], monkeypatch)
    assert rows and k.compiled.sites_by_rows == (name != "dense head")  # whose variance takes all pairs of positions
    X = data(limit, 2)
    for ours, theirs, apart in zip(k(X), reference(limit, X), k(X[:1], X[1:]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(ours[:1, 1:], apart)


def test_one_axis_of_positions_runs_along_its_diagonals(monkeypatch, uncompiled):
    """Windows of four to one side; part of a sample is blank."""
    monkeypatch.setattr(slots, "CACHE", 0)
    wide = LINE.replace("2/(3*n))  for k in -1..1", "1/(2*n))  for k in 0..3")
    k, limit, rows = by_rows(wide.replace("relu(h[p+k]) for k in -1..1", "relu(h[p+k]) for k in 0..3"), monkeypatch)
    assert rows and k.compiled.lanes["rows"] < 2 * 5 * 5
    X = data(limit, 3)
    X[2, :2] = 0.0
    for ours, theirs, alone, apart in zip(k(X), reference(limit, X), k.diag(X), k(X[:1], X[1:]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
        np.testing.assert_array_equal(np.diag(ours), alone)
        np.testing.assert_array_equal(ours[:1, 1:], apart)


@pytest.mark.parametrize("text", [CHAIN, WIDER], ids=["pool and stride", "wider than what it reads"])
def test_windows_over_diagonals_of_one_axis(text, monkeypatch, uncompiled):
    """Pools that overlap, then a stride; then no window at all far from the diagonal. Part of a sample is blank."""
    dense, limit, neither = by_rows(text, monkeypatch, 1 << 60)
    monkeypatch.setattr(slots, "CACHE", 0)
    k, _, rows = by_rows(text, monkeypatch)
    assert rows and not neither and k.compiled.lanes["rows"] < 0.75 * dense.compiled.lanes["pairs"]
    X = data(limit, 3)
    X[2, :3] = 0.0
    np.testing.assert_allclose(np.array(k(X)), np.array(dense(X)), rtol=1e-13)


def test_vectors_of_coefficients_along_diagonals(monkeypatch, uncompiled):
    """Against all pairs of positions at once."""
    text = LINE.replace("relu(h", "tanh(h").replace("relu(g[p])", "g[p]")
    whole, limit, _ = by_rows(text, monkeypatch, kinds=("K",))
    monkeypatch.setattr(slots, "CACHE", 0)
    k = build(limit, ("K",), threads=1, progress=False)
    assert k.compiled.lanes["rows"] < whole.compiled.lanes["rows"]
    X = data(limit, 2)
    np.testing.assert_allclose(k(X), whole(X), rtol=1e-13)


@pytest.mark.parametrize("name", LARGER)
@pytest.mark.usefixtures("uncompiled")
def test_positions_and_samples_as_lanes_agree(name, monkeypatch):
    kinds = ("K",) if name == "tanh" else ("K", "Theta")  # whose expansion takes long
    k, limit, rows = by_rows(LARGER[name], monkeypatch, kinds=kinds)
    other, _, neither = by_rows(LARGER[name], monkeypatch, 1 << 60, kinds=kinds)
    assert rows and not neither
    X = data(limit, 2)
    np.testing.assert_allclose(np.array(k(X)), np.array(other(X)), rtol=1e-13)


@pytest.mark.usefixtures("uncompiled")
def test_blank_parts_of_an_image(monkeypatch):
    """Where no variance is, easy forms do not hold."""
    k, limit, _ = by_rows(images(4, 3, rest=HEADED), monkeypatch)
    other, _, _ = by_rows(images(4, 3, rest=HEADED), monkeypatch, 1 << 60)
    X = data(limit, 2)
    X[0, :3] = 0.0
    for ours, theirs in zip(k(X), other(X), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


@pytest.mark.usefixtures("uncompiled")
def test_positions_of_one_sample_that_easy_forms_miss(monkeypatch):
    """Large and equal at some positions: correlations of nearly 1, where the form of exp(-z²) loses six digits."""
    k, limit, _ = by_rows(BELLS, monkeypatch, kinds=("K",))
    other, _, _ = by_rows(BELLS, monkeypatch, 1 << 60, kinds=("K",))
    assert k.compiled.sites_by_rows and not other.compiled.sites_by_rows
    X = 2e4 * data(limit, 2)
    X[0, 1:] = X[0, :1]
    np.testing.assert_allclose(k(X), other(X), rtol=1e-13)


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_such_form_keeps_samples_as_lanes(name, monkeypatch):
    assert not by_rows(OTHERS[name], monkeypatch)[2]


@pytest.mark.usefixtures("uncompiled")
def test_two_equal_samples_are_one(monkeypatch):
    k, limit, _ = by_rows(images(3, 2), monkeypatch)
    X = data(limit, 2)
    for value, alone in zip(k(X, X[::-1].copy()), k.diag(X), strict=True):
        np.testing.assert_array_equal(value[[0, 1], [1, 0]], alone)


@pytest.mark.parametrize("rest", [POOLED, POOLS], ids=["one stack", "average pools"])
def test_memory_grows_with_positions_times_width(rest, monkeypatch):
    """Twice the side: positions^(3/2) is 8 times as many, positions² 16 times, as the pooled ones' table."""

    def kept(side: int) -> dict[str, int]:
        halves = f"  index r in 0..{side // 2 - 1} boundary zero\n  index s in 0..{side // 2 - 1} boundary zero\n"
        return by_rows(images(side, side, rest=rest, more=halves if rest == POOLS else ""), monkeypatch)[0].compiled.lanes

    small, large = kept(16), kept(32)
    assert large["rows"] < (8.5 if rest == POOLED else 13) * small["rows"] and large["rows"] < 32**4 / 2
    assert large["sites"] < 4.5 * small["sites"]


def test_memory_grows_with_positions_of_one_axis():
    """Few of them are kept whole: rows of lanes are longer then."""
    small, large = (kernel(LINE.replace("0..4", f"0..{last}"))[0].compiled.lanes["rows"] for last in (99, 999))
    assert small > 100**2 and large < 10 * 1000
