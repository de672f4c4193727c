"""Generated text as array code gives what it gives lane by lane; what does not fit is left alone."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np
import pytest

import tp
from tp.kernel import arrays, lanewise, scalars, straight, uncompiled
from tp.kernel.loops import carried

DEEP = """network deep
  width n
  dim c = 3
  let L = 3
  input x : [c]
  weight U : [n, c] ~ N(0, 2/c)
  weight W[l] : [n, n] ~ N(0, 2/n) for l in 2..L
  weight v : [n] ~ N(0, 1/n)
  h[1] = U @ x
  h[l] = W[l] @ PHI(h[l-1]) for l in 2..L
  output f = v @ PHI(h[L])
"""
MIXED = """network mixed
  width n
  dim c = 3
  index t, s in 1..2
  input x[t] : [c]
  weight U : [n, c] ~ N(0, 1/c)
  weight Q : [n, n] ~ N(0, 1/n)
  weight v : [n] ~ N(0, 1/n)
  e[t] = U @ x[t]
  a[t, s] = dot(Q @ e[t], Q @ e[s]) / n
  o[t] = sum(softmax(a[t, s] over s) * e[s] for s)
  output f = v @ mean(relu(e[t] + o[t]) for t)
"""

UNEVEN = """network uneven
  width n
  dim c = 3
  input x : [c]
  weight U : [n, c] ~ N(0, 2/c)
  weight v : [n] ~ N(0, 1/n)
  h = U @ x
  output f = v @ (h * avg(elu(h)))
"""

SEVERAL = """network several
  width n
  dim c = 3
  input x : [c]
  weight U : [n, c] ~ N(0, 2/c)
  weight V : [n, c] ~ N(0, 3/c)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ (relu(U @ x) * erf(V @ x))
"""  # two short forms in one loop


def samples(rng, shape):
    """Zero, twins, nearly twins, opposites, multiples, large and small ones."""
    x = rng.standard_normal((12, *shape))
    x[0], x[2], x[3], x[4], x[5] = 0.0, x[1], (1 + 1e-9) * x[1], -x[1], 3.0 * x[1]
    x[6], x[7], x[8] = x[1] + 1e-7 * x[6], 1e-3 * x[7], 9.0 * x[8]
    return x


def computed(kernel, module, *sides):
    call = replace(kernel._call(144, module), threads=1, progress=False)
    given = [kernel._samples(x, "X") for x in sides]
    with np.errstate(all="ignore"):
        results, fine = kernel._filled(call, given[0], given[-1])
    assert fine
    return results


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "text",
    [DEEP.replace("PHI", "relu"), DEEP.replace("PHI", "tanh"), MIXED, UNEVEN, SEVERAL],
    ids=["relu", "tanh", "mixed", "uneven", "several"],
)
def test_arrays_are_lanes(text, dtype):
    kernel = tp.parse(text).kernel("nngp", "ntk", dtype=dtype)
    in_arrays, in_python = (uncompiled.module(kernel._text, in_arrays=how) for how in (True, False))
    assert in_arrays.pairs.__code__.co_filename != in_python.pairs.__code__.co_filename
    rng = np.random.default_rng(0)
    x = samples(rng, kernel.compiled.data["x"])
    near = {"rtol": 1e-12, "atol": 1e-13} if dtype == "float64" else {"rtol": 2e-6, "atol": 2e-6}
    for sides in ((x,), (x[:4], x[2:])):
        ours, theirs = computed(kernel, in_arrays, *sides), computed(kernel, in_python, *sides)
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], **near)


def test_many_samples_are_in_pieces(monkeypatch):
    monkeypatch.setattr(lanewise, "LANES", 16)
    kernel = tp.parse(DEEP.replace("PHI", "relu")).kernel("ntk")
    x = samples(np.random.default_rng(1), (3,))
    pieces = computed(kernel, uncompiled.module(kernel._text), x)
    monkeypatch.undo()
    whole = computed(kernel, uncompiled.module(kernel._text), x)
    assert pieces.keys() == whole.keys()
    for name in whole:
        np.testing.assert_array_equal(pieces[name], whole[name])


def test_lanes_part_and_meet():
    x = np.array([1.0, -2.0, 3.0])
    found = lanewise.part(x > 0.0, lambda x, k: (x + k, None), lambda x, k: (0.0, -x), x, 1.0)
    np.testing.assert_array_equal(found[0], [2.0, 0.0, 4.0])
    assert found[1][1] == 2.0
    assert lanewise.part(True, lambda x: x, lambda x: -x, 2) == 2


STRAIGHT = """
def f(x, y, n):
    t = 0.0
    for k in range(n):
        t += x ** k
    if x > y > 0.0:
        return t
    if y < 0.0 or not x > 0.5:
        u = t if y < -1.0 else math.sqrt(x)
        t = min(u, y)
    else:
        t = 2.0 * t
    return t + int(x)
"""


def test_straight_functions():
    """Every statement that such functions have."""
    (tree,) = ast.parse(STRAIGHT).body
    scope = lanewise.scope(range)
    exec(compile(ast.fix_missing_locations(ast.Module([straight.Straight(tree).function()], [])), "", "exec"), scope)
    plain = {"math": scalars.MATH}
    exec(STRAIGHT, plain)
    x, y = np.random.default_rng(0).uniform(-2, 2, (2, 64))
    found = scope["f"](np.abs(x), y, 3)
    np.testing.assert_allclose(found, [plain["f"](a, b, 3) for a, b in zip(np.abs(x), y, strict=True)], rtol=1e-15)
    assert scope["f"](0.25, -0.5, 3) == plain["f"](0.25, -0.5, 3)


@pytest.mark.parametrize(
    ("inside", "unfit"),
    [
        ("t = r[z]\n            out[z] = t", False),
        ("s = s + r[z]\n            out[z] = s", True),  # each lane needs the one before
        ("out[z + 1] = r[z]", True),
        ("h = h if r[z] > 0.0 else True", False),
    ],
)
def test_only_lanes_that_are_apart(inside, unfit):
    text = f"""
def sites(start, stop, width, table, result):
    for at in range(start, stop, width):
        b = width if at + width < stop else stop - at
        r = table[at : at + b]
        out = result[at : at + b]
        s = 0.0
        h = False
        for z in range(b):
            {inside}
"""
    if unfit:
        with pytest.raises(straight.Unfit):
            arrays.array_code(text)
    else:
        arrays.array_code(text)


def test_what_turns_carry():
    (loop,) = ast.parse("for z in range(3):\n    a = b\n    c = c + a\n    b = 1\n").body
    assert carried(loop) == {"b", "c"}


@pytest.mark.parametrize(
    "way", ["    if r[z] > 0.0:\n                out[z] = 1.0", "    for k in range(int(r[z])):\n                out[z] = k"]
)
def test_lanes_that_part_are_told(way):
    """What is one statement for all lanes is none where these part; where they agree it is."""
    text = f"""
def sites(start, stop, width, table, result):
    for at in range(start, stop, width):
        b = width if at + width < stop else stop - at
        r = table[at : at + b]
        out = result[at : at + b]
        for z in range(b):
        {way}
"""
    sites, found = uncompiled.module(text).sites, np.zeros(1)
    sites(0, 1, 1, np.array([2.0]), found) if "if" in way else None
    assert found[0] == ("if" in way)
    with pytest.raises(lanewise.Uneven):
        sites(0, 2, 2, np.array([2.0, -1.0]), np.zeros(2))
    assert uncompiled.carried_out(text, 1, lambda m: m.sites(0, 2, 2, np.array([2.0, -1.0]), np.zeros(2))) is None


def test_a_condition_over_a_table_takes_its_places_alone():
    """Nodes of many panels at a time: each side gets the places that are its own, in tables and in what is broadcast to none."""
    from tp.kernel.lanewise import part

    x = np.arange(12.0).reshape(2, 6) - 5.5
    asked = []

    def root(y, a):
        asked.append(y)
        return a * np.sqrt(y)

    found = part(x > 0, root, lambda y, a: a * y, x, 2.0)
    np.testing.assert_array_equal(found, np.where(x > 0, 2 * np.sqrt(np.abs(x)), 2 * x))
    assert asked[0].min() > 0
