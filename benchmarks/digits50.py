"""The rules of infinitely wide layers in plain recursion, with fifty digits: the reference the errors are measured against.

It reads a workload's list of layers and knows nothing of tensor programs. Kernels are object arrays [N, N, *P, *P] of
mpmath numbers (P the positions of an image or sequence). Activations with a closed form use it as the literature states it
(Cho & Saul 2009 for relu, Williams 1997 for erf, Tsuchida et al. 2021 for gelu); others the trapezoidal rule over both Gaussian
variables in extended precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 50
Array = np.ndarray
Pair = tuple[Any, Any]


def kernels(layers: list[list[Any]], x: Array) -> tuple[Array, Array]:
    """NNGP and NTK [N, N] of the samples ``x`` [N, *P, channels], exactly as given."""
    exact = np.frompyfunc(lambda v: mp.mpf(float(v)), 1, 1)(x)
    n, *positions, channels = exact.shape
    flat = exact.reshape(-1, channels)
    k = (flat @ flat.T / channels).reshape(n, *positions, n, *positions)
    r = len(positions)
    k = k.transpose(0, r + 1, *range(1, r + 1), *range(r + 2, 2 * r + 2))
    k, t = _layers(layers, k, k * 0)
    return k, t


def _layers(layers: list[list[Any]], k: Array, t: Array) -> Pair:
    for name, *args in layers:
        k, t = RULES[name](k, t, *args)
    return k, t


def _dense(k: Array, t: Array, w: float, b: float | None) -> Pair:
    k = mp.mpf(w) ** 2 * k + mp.mpf(b or 0) ** 2
    return k, k + mp.mpf(w) ** 2 * t


def _repeat(k: Array, t: Array, times: int, layers: list[list[Any]]) -> Pair:
    for _ in range(times):
        k, t = _layers(layers, k, t)
    return k, t


def _conv(k: Array, t: Array, size: int, w: float, b: float | None) -> Pair:
    """Zero padding, stride one; the same tap at both positions."""
    taps = [(i, j) for i in range(-(size // 2), size // 2 + 1) for j in range(-(size // 2), size // 2 + 1)]
    new, tangent = (sum(_shift(a, i, j) for i, j in taps) / len(taps) for a in (k, t))
    return _dense(new, tangent, w, b)


def _shift(a: Array, i: int, j: int) -> Array:
    out = a * 0
    to, of = zip(*(_cut(a.shape[2], i), _cut(a.shape[3], j)), strict=True)
    out[(slice(None), slice(None), *to, *to)] = a[(slice(None), slice(None), *of, *of)]
    return out


def _cut(size: int, k: int) -> tuple[slice, slice]:
    return slice(max(0, -k), size - max(0, k)), slice(max(0, k), size - max(0, -k))


def _avgpool(k: Array, t: Array, size: int) -> Pair:
    def pooled(a: Array) -> Array:
        n, _, *positions = a.shape
        split = a.reshape(n, n, *(m for p in positions for m in (p // size, size)))
        return split.sum(axis=tuple(range(3, split.ndim, 2))) / mp.mpf(size) ** len(positions)

    return pooled(k), pooled(t)


def _gap(k: Array, t: Array) -> Pair:
    over = tuple(range(2, k.ndim))
    count = int(np.prod(k.shape[2:]))
    return k.sum(axis=over) / count, t.sum(axis=over) / count


def _flatten(k: Array, t: Array) -> Pair:
    n, _, *positions = k.shape
    p = int(np.prod(positions[: len(positions) // 2]))
    return tuple(np.trace(a.reshape(n, n, p, p), axis1=2, axis2=3) / p for a in (k, t))  # type: ignore[return-value]


def _attention(k: Array, t: Array) -> Pair:
    """One head, keys and queries tied, logits scaled by the width (Hron et al. 2020, section 4)."""
    n = len(k)
    g = []
    for i in range(n):
        e = np.frompyfunc(mp.exp, 1, 1)(k[i, i])
        g.append(e / e.sum(axis=1, keepdims=True))
    new, tangent = k * 0, t * 0
    for i in range(n):
        for j in range(n):
            new[i, j] = g[i] @ k[i, j] @ g[j].T
            tangent[i, j] = g[i] @ t[i, j] @ g[j].T + 2 * new[i, j]
    return new, tangent


def _activation(k: Array, t: Array, name: str) -> Pair:
    n, r = len(k), (k.ndim - 2) // 2
    own = np.stack([_diagonal(np.asarray(k[i, i], dtype=object), r) for i in range(n)])
    left = own.reshape(n, 1, *own.shape[1:], *(1,) * r)
    right = own.reshape(1, n, *(1,) * r, *own.shape[1:])
    value, slope = CLOSED[name] if name in CLOSED else _numeric(name)
    q, q2 = np.broadcast_to(left, k.shape), np.broadcast_to(right, k.shape)
    return np.frompyfunc(value, 3, 1)(q, k, q2), t * np.frompyfunc(slope, 3, 1)(q, k, q2)


def _diagonal(a: Array, r: int) -> Array:
    shape = a.shape[:r]
    p = int(np.prod(shape))
    return np.diagonal(a.reshape(p, p)).reshape(shape)


# ---------------------------------------------------------------- expectations of (u, v) with variances q, s and covariance c


def _angle(q: Any, c: Any, s: Any) -> Any:
    return mp.acos(max(mp.mpf(-1), min(mp.mpf(1), c / mp.sqrt(q * s))))


def _relu(q: Any, c: Any, s: Any) -> Any:
    a = _angle(q, c, s)
    return mp.sqrt(q * s) * (mp.sin(a) + (mp.pi - a) * mp.cos(a)) / (2 * mp.pi)


def _step(q: Any, c: Any, s: Any) -> Any:
    return (mp.pi - _angle(q, c, s)) / (2 * mp.pi)


def _erf(q: Any, c: Any, s: Any) -> Any:
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * q) * (1 + 2 * s)))


def _erf_slope(q: Any, c: Any, s: Any) -> Any:
    return 4 / mp.pi / mp.sqrt((1 + 2 * q) * (1 + 2 * s) - 4 * c**2)


def _gelu(q: Any, c: Any, s: Any) -> Any:
    det = (1 + q) * (1 + s) - c**2
    inner = (c**2 + q * s * (1 + q + s + q * s) - c**2 * q * s) / ((1 + q) * (1 + s) * mp.sqrt(det))
    return c / 4 + (c * mp.asin(c / mp.sqrt((1 + q) * (1 + s))) + inner) / (2 * mp.pi)


def _gelu_slope(q: Any, c: Any, s: Any) -> Any:
    return mp.diff(lambda z: _gelu(q, z, s), c, h=mp.mpf(10) ** -20)


CLOSED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (_relu, _step),
    "erf": (_erf, _erf_slope),
    "gelu": (_gelu, _gelu_slope),
}

L = np.longdouble
SMOOTH: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "silu": (lambda z: z / (1 + np.exp(-z)), lambda z: (1 + np.exp(-z) * (1 + z)) / (1 + np.exp(-z)) ** 2),
    "softplus": (lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "bent": (lambda z: z / np.sqrt(1 + z * z), lambda z: (1 + z * z) ** L(-1.5)),
}
NODES = np.arange(-240, 241, dtype=np.longdouble) / 24
"""Trapezoidal nodes: step 1/24 on [-10, 10]."""


def _numeric(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    phi, slope = SMOOTH[name]
    return (lambda q, c, s: _expect(phi, q, c, s)), (lambda q, c, s: _expect(slope, q, c, s))


def _expect(phi: Callable[[Array], Array], q: Any, c: Any, s: Any) -> Any:
    q, c, s = (L(mp.nstr(z, 25)) for z in (q, c, s))
    weight = np.exp(-NODES * NODES / 2)
    weight /= weight.sum()
    u = np.sqrt(q) * NODES
    v = (c / np.sqrt(q)) * NODES[:, None] + np.sqrt(max(L(0), s - c * c / q)) * NODES[None, :]
    return mp.mpf(np.format_float_scientific(weight * phi(u) @ (phi(v) @ weight), precision=22))


RULES: dict[str, Callable[..., Pair]] = {
    "dense": _dense, "repeat": _repeat, "conv": _conv, "avgpool": _avgpool, "gap": _gap, "flatten": _flatten,
    "attention": _attention, "act": _activation,
}  # fmt: skip
