"""Helpers written out in each other compute what they computed, bit for bit, and are fewer."""

import ast
import math
import random

import pytest

from tests.gaussian.run import plain
from tp.gaussian import easy, primitives
from tp.gaussian.codegen import sources_of
from tp.kernel.inline import MOST, inlined

SOURCES = {
    "shift": "def shift(x, by):\n    x = x + by\n    return x",
    "both": "def both(x):\n    y = shift(x, -1.5)\n    return y * y, min(x, 2.0)",
    "fold": "def fold(x):\n    a, b = both(x)\n    return max(shift(a, b) + both(b)[1], shift(b, 3.0)) "
    "if x > 0.0 else shift(x, a)",
    "early": "def early(x):\n    if x > 1.0:\n        return 1.0\n    return x",
    "loop": "def loop(x):\n    y = 0.0\n    for k in range(int(max(x, 0.0)) + 2):\n        y = y + fold(y + early(x)) * k\n"
    "    while shift(y, 0.0) > 4.0 and y < 1e9:\n        y = shift(0.5 * y, -1.0)\n    return y",
    "special": "def special(x):\n    return shift(x, 1.0) - x",
    "top": "def top(x):\n    t = -1.0 if x < 0.0 and shift(x, 1.0) > 0.0 else special(x)\n    t += loop(x)\n    return t",
    "unused": "def unused(x):\n    return x",
}


def left(called="def entry(x):\n    return top(x)", sources=SOURCES, own=lambda text: "special" in text[:12]):
    return inlined(sources, own, [called])


def test_values_stay():
    before, after = plain(tuple(SOURCES.items())), plain(tuple(left().items()))
    draw = random.Random(0)
    for x in [0.0, 1.5, -0.5, 2.0, 3.25, *(draw.uniform(-4, 4) for _ in range(200))]:
        assert after["top"](x) == before["top"](x)


def test_what_is_straight_is_written_out():
    found = left()
    assert {"both", "fold", "unused"}.isdisjoint(found)
    assert found["loop"].count("shift(") == 1 and "while shift(" in found["loop"]  # in the test of a while it stays a call
    assert found["special"] == SOURCES["special"] and "early(" in found["loop"]


def test_long_functions_are_not_repeated():
    long = f"def long(x):\n    return {'x + ' * (MOST + 1)}x"
    sources = {"long": long, "twice": "def twice(x):\n    return long(x) * long(x + 1.0)"}
    assert set(inlined(sources, lambda text: False, ["twice(x)"])) == {"long", "twice"}
    sources["twice"] = "def twice(x):\n    return long(x)"
    assert set(inlined(sources, lambda text: False, ["twice(x)"])) == {"twice"}


@pytest.mark.parametrize("a", [1.0, -2.0, math.nan])
@pytest.mark.parametrize("b", [1.0, 3.0, math.nan])
def test_extremes_choose_as_python_does(a, b):
    found = left("f(x)", {"f": "def f(a, b):\n    return min(a, b), max(a, b)"})
    assert str(plain(tuple(found.items()))["f"](a, b)) == str((min(a, b), max(a, b)))


def test_single_precision_has_its_own_polynomial():
    sources = dict(sources_of(easy.relu_easy))
    found = inlined(sources, lambda text: False, ["relu_easy(x)"])
    assert list(found) == ["relu_easy_single", "relu_easy"]
    assert "0.01745515689253807" in found["relu_easy_single"] and "0.08947416061620674" not in found["relu_easy_single"]


@pytest.mark.parametrize("function", [primitives.relu_pair, primitives.gelu_pair, primitives.slopes_pair, easy.gelu_easy])
def test_closed_forms_stay(function):
    sources = dict(sources_of(function))
    found = inlined(sources, lambda text: text.startswith("def determinant("), [f"{function.__name__}(x)"])
    assert len(found) < len(sources) and found.get("determinant") == sources.get("determinant")
    before, after = plain(tuple(sources.items())), plain(tuple(found.items()))
    draw, count = random.Random(1), len(ast.parse(sources[function.__name__]).body[0].args.args)
    for _ in range(100):
        q1, q2, rest = draw.uniform(0.1, 2), draw.uniform(0.1, 2), [draw.uniform(0.1, 2) for _ in range(count - 3)]
        c = draw.uniform(-0.6, 0.9) * math.sqrt(q1 * q2)
        at = (
            (q1, c, q2, *rest)
            if function is not easy.gelu_easy
            else (q1**0.5, 1 / (q1 + 1) ** 0.5, c, q2**0.5, (q2 + 1) ** -0.5, 1, 1)
        )
        assert after[function.__name__](*at) == before[function.__name__](*at)
