"""Arcs of circles in turns, for inner loops: whole, and near an angle at hand.

arcsin x = arcsin s + arcsin(x √(1 − s²) − s √(1 − x²)) where the difference is at most a quarter turn: the sine of a difference
is small near the angle of s, and its arc a short polynomial. Functions called ``…_single`` take the place of their namesakes in
single precision.
"""

from __future__ import annotations

import math
from collections.abc import MutableSequence


def arcsine_turns(z: float) -> float:
    """arcsin(√z)/(2π √z) for 0 ≤ z ≤ ½ (Chebyshev interpolation, relative error 1e-15)."""
    p = (0.08947416061620674 * z - 0.28441224906500334) * z + 0.43243453974078316
    p = ((p * z - 0.398984125947977) * z + 0.25192272312264247) * z - 0.11082457309415651
    p = ((p * z + 0.037797457071215255) * z - 0.007196414547903716) * z + 0.0033856047424118316
    p = ((p * z + 0.0020230430838326457) * z + 0.0027801724161953412) * z + 0.0035594673223791136
    p = ((p * z + 0.0048354856852727965) * z + 0.007105130148203815) * z + 0.011936620748328035
    return (p * z + 0.02652582384856327) * z + 0.1591549430918954


def arcsine_turns_apart(z: float) -> float:
    """``arcsine_turns`` by even and odd powers, two chains of products that wait for each other half as long.

    Loops with little between their products, over long rows, take longer with it; those of images 5 to 10 % less.
    """
    x = z * z
    p = ((0.08947416061620674 * x + 0.43243453974078316) * x + 0.25192272312264247) * x + 0.037797457071215255
    r = ((-0.28441224906500334 * x - 0.398984125947977) * x - 0.11082457309415651) * x - 0.007196414547903716
    p = ((p * x + 0.0033856047424118316) * x + 0.0027801724161953412) * x + 0.0048354856852727965
    r = ((r * x + 0.0020230430838326457) * x + 0.0035594673223791136) * x + 0.007105130148203815
    p = (p * x + 0.011936620748328035) * x + 0.1591549430918954
    return (r * x + 0.02652582384856327) * z + p


def arcsine_turns_single(z: float) -> float:
    """``arcsine_turns`` with relative error 5e-8."""
    p = (0.01745515689253807 * z - 0.01433766633272171) * z + 0.012022525072097778
    p = ((p * z + 0.0026628831401467323) * z + 0.007397656794637442) * z + 0.011917704716324806
    return (p * z + 0.026526281610131264) * z + 0.15915493667125702


def arcsine(x: float, y: float, y2: float) -> float:
    """arcsin x in turns, for y = √y2 = √(1 − x²): from the smaller of |x| and y."""
    flat = y2 > 0.5
    arc = (x if flat else math.copysign(y, x)) * arcsine_turns(min(1.0 - y2, y2))
    return arc if flat else math.copysign(0.25, x) - arc


def arcsine_near(x: float, y: float, sine: float, cosine: float, turns: float) -> tuple[float, float]:
    """``turns`` + arcsin x − arcsin(sine) in turns, and a margin: positive where they are at most 0.28 apart, and it is exact."""
    d = x * cosine - y * sine
    z = d * d
    return turns + d * arcsine_turns_near(z), 0.0764 - z


def arcsine_turns_near(z: float) -> float:
    """``arcsine_turns`` for z ≤ 0.0764, an angle of 0.28 (relative error 6e-16)."""
    p = (0.0028822113152267223 * z + 0.0026756562077657675) * z + 0.003566344265557099
    p = ((p * z + 0.0048352294970084985) * z + 0.007105135450336027) * z + 0.011936620692901792
    return (p * z + 0.02652582384879144) * z + 0.15915494309189526


def follow(state: MutableSequence[float], x: float) -> None:
    """After a row of lanes without the form near an angle, x the correlation of one of them: which angle is tried next, and when.

    ``state``, eight zeros at first: sine, cosine (0 where none is to be tried) and turns of the angle; rows since the last one
    with a lane not near it; rows to rest, from now on and in all; the correlation on average, and the weight of the past in it.
    No angle near the one that is followed has a correlation over 0.995 or under -0.98, and 0 is among them only in the middle.
    """
    if abs(x) <= 1.0:
        state[7] = min(state[7] + 1.0, 16.0)
        state[6] += (x - state[6]) / state[7]
    if state[4] > 0.0:
        state[4] -= 1.0
    else:
        state[5] = 0.0 if state[3] > 4.0 else min(2.0 * state[5] + 1.0, 63.0)
        state[3], state[4] = 0.0, state[5]
    state[1] = 0.0
    if state[4] == 0.0:
        s = min(max(state[6], -0.88), 0.92)
        s = 0.0 if abs(s) < 0.14 else math.copysign(max(abs(s), 0.285), s)
        state[0], state[1], state[2] = s, math.sqrt(1.0 - s * s), math.asin(s) * 0.15915494309189535
