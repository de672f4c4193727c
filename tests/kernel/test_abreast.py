"""Text with positions as lanes gives for many pairs abreast, as array code, what it gives pair by pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tp
from tests.kernel import test_rows as texts
from tests.kernel.test_flat import SOLID
from tp.gaussian import easy
from tp.kernel import abreast, compile, lanewise, uncompiled
from tp.kernel.straight import Unfit

SPECS = {
    "pooled": texts.images(),
    "residual": texts.images(rest=texts.RESIDUAL),
    "deep": texts.images(rest=texts.DEEP),
    "chain": texts.CHAIN,
    "solid": SOLID,
}


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    monkeypatch.setattr(compile, "ROWS", 1)


def samples(shape):
    """Zero, twins, near twins, opposites, multiples: more of each kind than are left to plain Python."""
    x = np.random.default_rng(0).standard_normal((9, *shape))
    x[0], x[2], x[3], x[4], x[5] = 0.0, x[1], (1 + 1e-9) * x[1], -x[1], 3.0 * x[1]
    return x


def computed(kernel, module, one, two):
    call = replace(kernel._call(81, module), threads=1, progress=False)
    with np.errstate(all="ignore"):
        results, fine = kernel._filled(call, one, two)
    assert fine
    return results


@pytest.mark.parametrize(("spec", "dtype"), [*((s, "float64") for s in SPECS), ("pooled", "float32")])
def test_pairs_abreast(spec, dtype):
    kernel = tp.parse(SPECS[spec]).kernel("nngp", "ntk", dtype=dtype)
    many, plain = (uncompiled.module(kernel._text, in_arrays=how) for how in (True, False))
    assert many.in_arrays and not plain.in_arrays
    ((name, shape),) = kernel.compiled.data.items()
    side = kernel._samples({name: samples(shape)}, "X")
    for one, two in ((side.few(9),) * 2, (side.few(4), replace(side.few(9)))):
        ours, theirs = (computed(kernel, m, one, two) for m in (many, plain))
        for n in ours:
            np.testing.assert_allclose(ours[n], theirs[n], rtol=1e-12 if dtype == "float64" else 1e-6, atol=1e-14)


def test_a_hard_pair_is_done_again(monkeypatch):
    """What short forms miss of many pairs, others do."""
    kernel = tp.parse(SPECS["pooled"]).kernel("nngp")
    module = uncompiled.module(kernel._text)
    x = np.random.default_rng(1).standard_normal((1, *kernel.compiled.data["x"]))
    side = kernel._samples({"x": np.concatenate([x, *(-k * x for k in range(1, 8))])}, "X")
    right = computed(kernel, uncompiled.module(kernel._text, in_arrays=False), side, side)["out1"]
    np.testing.assert_allclose(computed(kernel, module, side.few(8), side.few(8))["out1"], right, rtol=1e-12)
    seen, exact = [], module.exact
    module.exact = lambda n, c, work, same, hard, *arrays: (seen.append((hard > 0).sum()), exact(n, c, work, same, hard, *arrays))
    computed(kernel, module, side.few(8), side.few(8))
    assert max(seen) >= abreast.LEAST


@pytest.mark.parametrize(("name", "dtype", "off"), [("relu_easy", "float64", 1e-12), ("relu_easy_single", "float32", 2e-6)])
def test_the_shorter_form_is_the_same(name, dtype, off):
    scalar = getattr(easy, name)

    rng = np.random.default_rng(2)
    s1, s2 = rng.uniform(0.3, 3.0, (2, 500))
    s1[0] = 0.0
    w1, w2 = (np.divide(1.0, s, out=np.zeros(500), where=s > 0.0) for s in (s1, s2))
    rho = np.concatenate([np.cos(np.geomspace(0.003, 2.9, 250)), rng.uniform(-0.97, 1.0, 250)])
    given = s1, w1, rho * s1 * s2, s2, w2
    given = tuple(x.astype(dtype) for x in given)
    ours = lanewise.TWINS[name](*given)
    theirs = np.array([scalar(*(float(x) for x in lane)) for lane in zip(*given, strict=True)]).T
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=off, atol=0.1 * off if dtype == "float64" else off)


@pytest.mark.parametrize(
    ("inside", "unfit"),
    [
        ("t = r[z]\n            u[z] = 2.0 * t", False),
        ("s = s + r[z]\n            u[z] = s", True),  # each lane needs the one before
        ("t = r[z]\n            r[z] = 2.0 * t", True),  # a place that is read and written
        ("t = table[z, j]\n            u[z] = t", True),  # lanes that are not the last axis
        ("u[z] = slow(r[z])", True),  # goes on for longer in one lane than in another
    ],
)
def test_only_lanes_that_are_apart(inside, unfit):
    text = f"""
def slow(x):
    while x > 1.0:
        x = 0.5 * x
    return x

def rows(n, c, work, same, hard, table_1, table_2, out1):
    u = np.zeros((4,))
    for w in range(work.shape[0]):
        i, j, row, col = work[w, 0], work[w, 1], work[w, 2], work[w, 3]
        r = table_1[i, 0 : 4]
        s = 0.0
        for z in range(4):
            {inside}
        out1[row, col] = u[0] + u[3]
"""
    if unfit:
        with pytest.raises(Unfit):
            abreast.array_code(text)
        return
    module, table, out = uncompiled.module(text), np.arange(20.0).reshape(5, 4), np.zeros((5, 5))
    work = np.array([[k, 0, k, 4 - k] for k in range(5)])
    module.rows(np.zeros(1, int), np.zeros(1), work, False, np.zeros(5, int), table, table, out)
    np.testing.assert_array_equal(out[::-1].diagonal()[::-1], 2.0 * (table[:, 0] + table[:, 3]))


CLIPPED = "k = x - 1\n{}k = k if 0 <= k < 3 else 3\n{}"


@pytest.mark.parametrize(
    ("inside", "at_once"),
    [
        ("v = table_2[j, 2 * x]\n{}u = t[x + 1, 0:4]\n{}for z in range(4):\n{}    u[z] = v * r[z]", True),
        (f"{CLIPPED}q = table_1[i, k : 4 + k]\n{{}}u = t[x, 0:4]\n{{}}for z in range(4):\n{{}}    u[z] = q[z]", False),
        (f"{CLIPPED}q = s[k, 0:4]\n{{}}u = t[x, 0:4]\n{{}}for z in range(4):\n{{}}    u[z] = q[z] + r[z]", True),
        ("for z in range(4):\n{}    a[z] += table_1[i, x] * r[z]", True),  # what turns add to one row
        ("u = t[x, 0:4]\n{}for z in range(4):\n{}    u[z] += r[z]", True),
        (
            "u = t[x, 0:4]\n{}q = t[x + 1, 0:4]\n{}for z in range(4):\n{}    q[z] = 2.0 * u[z] + r[z]",
            False,
        ),  # read by the next turn
        ("u = t[x, 0:4]\n{}for z in range(4):\n{}    u[z] = known[z] + r[z]", False),  # of the table that is written
        ("for z in range(4):\n{}    a[z] = table_1[i, x] * r[z]", False),  # the last turn has it
        ("for z in range(4):\n{}    a[z] = b * r[z]\n{}b = 2.0 * b", False),  # carried along
        ("u = t[x, 0:4]\n{}for z in range(4):\n{}    u[z] = x * r[z]", False),  # an index as a number
        ("b = 2.0 if same and x == 1 else 1.0\n{}u = t[x, 0:4]\n{}for z in range(4):\n{}    u[z] = b * r[z]", True),
    ],
)
@pytest.mark.parametrize("same", [False, True])
def test_turns_at_once(inside, at_once, same):
    text = f"""
def rows(n, c, work, same, hard, table_1, table_2, out1):
    t = np.zeros((5, 4))
    s = np.zeros((4, 4))
    a = np.zeros((4,))
    for w in range(work.shape[0]):
        i, j, row, col = work[w, 0], work[w, 1], work[w, 2], work[w, 3]
        r = table_1[i, 0 : 4]
        known = t[1, 0 : 4]
        b = 1.0
        for x in range(1, 3):
            {inside.replace("{}", 12 * " ")}
        for z in range(4):
            a[z] += t[0, z] + 2.0 * t[1, z] + 3.0 * t[2, z] + 4.0 * t[3, z]
        out1[row, col] = a[0] + 2.0 * a[1] + 3.0 * a[2] + 4.0 * a[3]
"""
    code = abreast.array_code(text)[0]
    function = next(c for c in code.co_consts if hasattr(c, "co_names"))
    assert ("turns" in function.co_names) == at_once
    table = np.random.default_rng(0).standard_normal((5, 8))
    found = []
    for in_arrays in (True, False):
        out = np.zeros((5, 5))
        module = uncompiled.module(text, in_arrays=in_arrays)
        for k in (range(5),) if in_arrays else ([k] for k in range(5)):  # one at a time, tables are as new
            work = np.array([[m, m, m, m] for m in k])
            module.rows(np.zeros(1, int), np.zeros(1), work, same, np.zeros(5, int), table, table, out)
        found.append(out)
    np.testing.assert_allclose(*found, rtol=1e-14)


def test_spans():
    x = np.arange(10)
    for first, step, count in ((0, 2, 4), (1, 2, 4), (3, -1, 4), (9, -3, 4), (5, 1, 0)):
        np.testing.assert_array_equal(x[abreast.span(first, first + step, count)], [first + step * k for k in range(count)])


def test_what_would_take_too_long_is_seen_early():
    watch = uncompiled.Watch(1.0)
    watch.start -= 0.5
    watch.pace(uncompiled.FIRST, 2 * uncompiled.FIRST - 1)
    watch.pace(1, 100)  # too early to say
    with pytest.raises(uncompiled.Late):
        watch.pace(uncompiled.FIRST, 100)
