"""Sums of products for several points at a time, and arrays that the compiler is told do not overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numba.core.compiler import Flags

from tests.kernel.plain import data, kernel
from tp.kernel import uncompiled
from tp.kernel.apart import SUFFIX, apart
from tp.kernel.module import load
from tp.kernel.reference import reference
from tp.kernel.text import ENTRY, HEAD

ATTENTION = Path(__file__).parents[2] / "benchmarks" / "specs" / "attention.tp"


def attention(tokens: int) -> str:
    return ATTENTION.read_text("utf-8").replace("let   T = 16", f"let   T = {tokens}").replace("dim   d = 64", "dim   d = 3")


@pytest.mark.usefixtures("uncompiled")
def test_points_that_overlap_and_terms_in_turns():
    """Six tokens: the last four points take two from the first four, and six terms are added in two turns."""
    made, limit = kernel(attention(6), kinds=("K",))
    assert made.source.split("def pairs(")[1].split("\n\n\n")[0].count("held = np.empty((4, width))") == 1
    X, Y = data(limit, 1), data(limit, 1, seed=1)
    np.testing.assert_allclose(made(X, Y), reference(limit, X, Y)[0], rtol=1e-11)


def test_sizes_are_parameters():
    one, two = (kernel(attention(tokens), kinds=("K",))[0].source for tokens in (8, 12))
    assert one == two


ENTRIES = f"""{HEAD}{ENTRY}def sites(n, c, width, out):
    t = np.empty((2, width))
    for z in range(width):
        t[0, z] = 1.0


{ENTRY}def pairs(n, c, width, out):
    n0 = n[0]
    c1 = c[1]
    K1 = np.zeros((n0 + 1, width))
    held = np.empty((8, width))
    acc = np.empty((2, width))
    for z in range(width):
        acc[1, z] = c1
        held[n0, z] = acc[1, z]
        out[z] = held[n0, z] + K1[n0, z]
"""


def test_tables_are_arguments_of_the_loops():
    """The row ``acc1`` is an array, ``held`` stays inside, and what is computed is the same."""
    text = apart(ENTRIES)
    assert f"def pairs{SUFFIX}(n, c, width, out, K1, acc0, acc1):" in text and f"sites{SUFFIX}" not in text
    assert "    held = np.empty((8, 584))\n    for z" in text and "    acc1 = np.empty(width)\n    pairs_apart(n, c" in text
    found = np.zeros(3)
    uncompiled.module(text).pairs(np.array([1]), np.array([0.0, 2.5]), 3, found)
    assert (found == 2.5).all()
    module = load(text)
    flags = [getattr(module, name)._compiler._customize_flags(Flags()).noalias for name in ("sites", "pairs", f"pairs{SUFFIX}")]
    assert flags == [False, False, True]
