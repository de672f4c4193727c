"""exp, tanh, erf and their kin without branches: in a loop over numbers that lie side by side they become vector instructions.

Pure scalar Python, as everything that generated code calls. Values are those of ``math`` to a few units in the last place,
relative to the larger of the value and of what it is a difference of. Infinity and NaN are passed on.

Sources: Cody & Waite 1980, *Software Manual for the Elementary Functions* (argument reduction of exp); Moshier 1989, *Methods and
Programs for Mathematical Functions* (rational functions of erf).
"""

from __future__ import annotations

import math

import numpy as np


def power_of_two(k: float) -> float:
    """2ᵏ for a whole k from −1022 to 1024; generated code has it as bits of the exponent."""
    return math.ldexp(1.0, int(k)) if k < 1024.0 else math.inf


def small_expm1(r: float) -> float:
    """eʳ − 1 for |r| ≤ ½ ln 2, by its series."""
    s = 1.0 / 6227020800.0
    s = s * r + 1.0 / 479001600.0
    s = s * r + 1.0 / 39916800.0
    s = s * r + 1.0 / 3628800.0
    s = s * r + 1.0 / 362880.0
    s = s * r + 1.0 / 40320.0
    s = s * r + 1.0 / 5040.0
    s = s * r + 1.0 / 720.0
    s = s * r + 1.0 / 120.0
    s = s * r + 1.0 / 24.0
    s = s * r + 1.0 / 6.0
    s = s * r + 0.5
    return r + r * r * s


def exp(x: float) -> float:
    """eˣ; 0 below −708."""
    y = min(max(x, -708.0), 710.0)
    k = np.rint(y * 1.4426950408889634)
    r = (y - k * 6.93145751953125e-1) - k * 1.42860682030941723212e-6
    value = power_of_two(k) * (1.0 + small_expm1(r))
    return x if x != x else 0.0 if x < -708.0 else value


def expm1(x: float) -> float:
    """eˣ − 1."""
    y = min(max(x, -60.0), 710.0)
    k = np.rint(y * 1.4426950408889634)
    r = (y - k * 6.93145751953125e-1) - k * 1.42860682030941723212e-6
    scale = power_of_two(k)
    value = scale * small_expm1(r) + (scale - 1.0)
    return x if x != x else value


def tanh(x: float) -> float:
    """(e²ˣ − 1)/(e²ˣ + 1), from the side where nothing cancels."""
    t = expm1(-2.0 * abs(x))
    value = -t / (t + 2.0)
    return value if x >= 0.0 else -value


def sigmoid(x: float) -> float:
    """1/(1 + e⁻ˣ)."""
    t = exp(-abs(x))
    return (1.0 if x > 0.0 else t) / (1.0 + t)


def silu(x: float) -> float:
    """x/(1 + e⁻ˣ)."""
    return x * sigmoid(x)


def normal_pdf(x: float) -> float:
    """e^{−x²/2}/√(2π)."""
    return 0.3989422804014327 * exp(-0.5 * x * x)


def erf(x: float) -> float:
    """2/√π ∫₀ˣ e^{−t²} dt: x R(x²) up to 1, 1 − e^{−x²} R(x) beyond."""
    z, a = x * x, min(abs(x), 6.0)
    t = 9.60497373987051638749 * z + 90.0260197203842689217
    t = (t * z + 2232.00534594684319226) * z + 7003.32514112805075473
    t = t * z + 55592.3013010394962768
    u = (z + 33.5617141647503099647) * z + 521.357949780152679795
    u = (u * z + 4594.32382970980127987) * z + 22629.0000613890934246
    u = u * z + 49267.3942608635921086
    p = 2.46196981473530512524e-10 * a + 0.564189564831068821977
    p = (p * a + 7.46321056442269912687) * a + 48.6371970985681366614
    p = (p * a + 196.520832956077098242) * a + 526.445194995477358631
    p = (p * a + 934.528527171957607540) * a + 1027.55188689515710272
    p = p * a + 557.535335369399327526
    q = (a + 13.2281951154744992508) * a + 86.7072140885989742329
    q = (q * a + 354.937778887819891062) * a + 975.708501743205489753
    q = (q * a + 1823.90916687909736289) * a + 2246.33760818710981792
    q = (q * a + 1656.66309194161350182) * a + 557.535340817727675546
    far = 1.0 - exp(-a * a) * p / q
    value = abs(x) * t / u if abs(x) < 1.0 else far
    return x if x != x else value if x >= 0.0 else -value


def normal_cdf(x: float) -> float:
    """Φ(x), to rounding errors of 1."""
    return 0.5 * (1.0 + erf(0.7071067811865476 * x))


def gelu(x: float) -> float:
    """x Φ(x)."""
    return x * normal_cdf(x)
