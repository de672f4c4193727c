"""Integrals with all nodes of many panels at a time are those that go from panel to panel."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tp
from tests.kernel.test_arrays import DEEP
from tp.gaussian import panels
from tp.kernel import linewise, uncompiled

PHIS = {
    "tanh": "tanh(h)",
    "kinks": "relu(h - 1/4)*tanh(h)",
    "narrow": "exp(-16*h^2)*h",
    "fast": "sin(9*h)*tanh(h)",
    "parameters": "tanh(1.375*h)/(1 + h^2)",
}


def both(name):
    phi = PHIS[name]

    def at(h):
        return "(" + phi.replace("tanh", "TAN").replace("h", h).replace("TAN", "tanh") + ")"

    text = DEEP.replace("PHI(h[l-1])", at("h[l-1]")).replace("PHI(h[L])", at("h[L]"))
    kernel = tp.parse(text).kernel("nngp", "ntk")
    return tuple(uncompiled.module(kernel._text, in_arrays=how) for how in (True, False))


@pytest.mark.parametrize("name", PHIS)
def test_integrals_are_those_of_the_templates(name):
    ours, theirs = both(name)
    found = [n for n in vars(ours) if n.startswith(("phi_mean_", "samples_", "site_")) and _cut(getattr(ours, n))]
    assert any(n.startswith(("phi_mean_", "samples_")) for n in found)
    for n in found:
        f, g = getattr(ours, n), getattr(theirs, n)
        params = [0.75] * (f.__wrapped__ if hasattr(f, "__wrapped__") else f).__code__.co_argcount
        for q in (0.0, 1e-8, 0.3, 1.7, 40.0):
            with np.errstate(all="ignore"):
                if n.startswith("phi_mean_"):
                    given = 0.1, math.sqrt(q), 0.0, 0.0, 4000, *params[5:]
                    np.testing.assert_allclose(f(*given), g(*given), rtol=1e-12, atol=1e-14)
                elif n.startswith("samples_") and q:
                    one, other = f(q, 40, *params[2:]), g(q, 40, *params[2:])
                    assert one.shape == other.shape  # the same panels
                    np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
                elif n.startswith("site_"):
                    one, other = np.empty(42), np.empty(42)
                    assert f(q, *params[2:], one) == pytest.approx(g(q, *params[2:], other), rel=1e-6, abs=1e-7)
                    np.testing.assert_allclose(one[:-2], other[:-2], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", ["tanh", "parameters"])
def test_rows_are_filled_together(name):
    """Whatever is beside them, also a variance of 0."""
    ours, theirs = both(name)
    rows = np.array([[q] for q in (0.0, 0.3, 1.7, 1e-9, 40.0)])
    filled = [n for n in vars(ours) if n.startswith("fill_")]
    assert filled and all(_cut(getattr(ours, n)) for n in filled)
    for n in filled:
        found, expected, one = np.empty((3, len(rows), 42))
        with np.errstate(all="ignore"):
            getattr(ours, n)(rows, found)
            getattr(theirs, n)(rows, expected)
            for k in range(len(rows)):
                getattr(ours, n)(rows[k : k + 1], one[k : k + 1])
        np.testing.assert_allclose(found[:, :-2], expected[:, :-2], rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(found[:, -2:], expected[:, -2:], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(one[:, :-2], found[:, :-2], rtol=1e-12, atol=1e-15)


def test_a_site_without_samples_means_nothing():
    out = np.ones((3, 6))
    good = line(lambda t: (np.tanh(t), 1.0 - np.tanh(t) ** 2), [])
    linewise.sites([(np.empty((4, 0)), 1.0, out[0]), (0.0, 0.0, out[1]), (linewise.samples(good, 9.0), 1.0, out[2])])
    assert out[0].tolist() == [0.0, 0.0, 0.0, 0.0, math.inf, math.inf]
    assert out[1].tolist() == [1.0] * 6  # a site already
    assert linewise.site(linewise.samples(good, 9.0), 1.0, out[0]) == pytest.approx(out[2, -2:].max())
    np.testing.assert_allclose(out[0], out[2], rtol=1e-12, atol=1e-15)


def _cut(f):
    return getattr(f, "__wrapped__", f).__code__.co_filename == "<lines>"


def line(phi, before):
    return linewise.Line(phi, lambda y: y + 1.5, 1.0, 1.0, 1.0, before)


def test_what_was_halved_before_changes_nothing():
    def phi(t):
        return np.tanh(3.0 * t), 3.0 - 3.0 * np.tanh(3.0 * t) ** 2

    expected = line(phi, []).panels(9.0, 4000, 4000, 4000)
    for before in ([0] * 40, [1] * 40, [3, 0, 2, 1, 0, 0, 2, 2] * 3, [9]):
        found = line(phi, before).panels(9.0, 4000, 4000, 4000)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-16)
    assert sum(before) > 0  # what is known for the next time


def test_too_many_panels_are_no_number():
    def phi(t):
        return np.sign(np.sin(50.0 * t)), 0.0

    assert line(phi, []).panels(9.0, 50, 50, 50) is None
    assert all(map(math.isnan, linewise.mean(line(phi, []), 9.0, 50)))


def test_doubts_are_those_of_the_template():
    rows = np.random.default_rng(0).standard_normal((5, 18))
    np.testing.assert_allclose(linewise.doubts(rows), [panels.doubt(r) for r in rows], rtol=1e-12)
    assert linewise.doubt(rows[1]) == pytest.approx(linewise.doubts(rows)[1], rel=1e-13)
