"""What array code of a generated text calls: conditions, tables and functions of numbers, or of arrays of them, one a lane."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np

from tp.kernel.scalars import MATH, WHOLE, power
from tp.kernel.straight import Unfit

LANES = 1 << 13
"""Lanes of a piece: arrays of so many numbers stay in a core's cache, and take longer to compute than to ask for."""

VECTORS = 64
"""Of the vectors of lanes that compiled functions take, those in a piece at most: tables of many numbers have fewer lanes."""


class Vectors:
    """A vector for each lane, of which lanes may share some: ``rows[which]``, [lanes, K], seen as [K, lanes]."""

    __slots__ = ("columns", "shape", "sums", "which")

    def __init__(self, columns: Any, which: Any) -> None:
        self.columns, self.which, self.shape = columns, which, (len(columns),)
        self.sums: list[tuple[Any, Any, tuple[Any, Any, Any]]] = []  # what was made of them: see mehler_rows

    def __getitem__(self, k: int) -> Any:
        return self.columns[k].take(self.which)

    def of(self, mask: Any) -> Vectors:
        return Vectors(self.columns, self.which[mask])

    def lane(self, z: int) -> Any:
        return self.columns[:, self.which[z]]


def _many(x: Any) -> bool:
    return type(x) is np.ndarray or type(x) is Vectors


# ------------------------------------------------------------ conditions


def pick(test: Any, one: Any, other: Any) -> Any:
    if type(test) is np.ndarray:
        return np.where(test, one, other)
    return one if test else other


def choose(test: Any, one: Callable[[], Any], other: Callable[[], Any]) -> Any:
    if type(test) is np.ndarray:
        return np.where(test, one(), other())
    return one() if test else other()


def both(one: Any, other: Callable[[], Any]) -> Any:
    if type(one) is np.ndarray:
        return np.logical_and(one, other())
    return one and other()


def either(one: Any, other: Callable[[], Any]) -> Any:
    if type(one) is np.ndarray:
        return np.logical_or(one, other())
    return one or other()


def negated(x: Any) -> Any:
    return np.logical_not(x) if type(x) is np.ndarray else not x


def min_(*values: Any) -> Any:
    if not any(type(v) is np.ndarray for v in values):
        return min(values)
    least, *rest = values
    for v in rest:
        least = np.where(v < least, v, least)
    return least


def max_(*values: Any) -> Any:
    if not any(type(v) is np.ndarray for v in values):
        return max(values)
    most, *rest = values
    for v in rest:
        most = np.where(v > most, v, most)
    return most


def int_(x: Any) -> Any:
    return np.trunc(x).astype(np.int64) if type(x) is np.ndarray else WHOLE["int"](x)


def round_(x: Any) -> Any:
    return np.rint(x).astype(np.int64) if type(x) is np.ndarray else WHOLE["round"](x)


def float_(x: Any) -> Any:
    return x.astype(np.float64) if type(x) is np.ndarray else float(x)


def part(test: Any, one: Callable[..., Any], other: Callable[..., Any], *args: Any) -> Any:
    """What two functions return, each for the lanes that are its own."""
    if type(test) is not np.ndarray:
        return one(*args) if test else other(*args)
    if test.all():
        return one(*args)
    if not test.any():
        return other(*args)
    sides = (test, one), (~test, other)
    (a, b) = (f(*(_of(x, mask) for x in args)) for mask, f in sides)
    if not isinstance(a, tuple):
        return _merged(test, a, b)
    return tuple(_merged(test, x, y) for x, y in zip(a, b, strict=True))


def _of(x: Any, mask: Any) -> Any:
    if type(x) is Vectors:
        return x.of(mask)
    return x[..., mask] if type(x) is np.ndarray and x.shape[-mask.ndim :] == mask.shape else x


def _merged(test: Any, one: Any, other: Any) -> Any:
    if one is None or other is None:  # no name of the side that has none is read
        one, other = (other if one is None else one), (one if other is None else other)
    found = np.empty(test.shape, np.result_type(one, other))
    found[test], found[~test] = _at(one, test), _at(other, ~test)
    return found


def _at(x: Any, mask: Any) -> Any:
    return x if np.ndim(x) == 0 or len(x) == np.count_nonzero(mask) else x[0]


# ------------------------------------------------------------ tables


def table(*shape: int) -> Any:
    """A place for the numbers of all lanes, by index."""
    found = np.empty(shape, object)
    found.fill(0.0)
    return found


def taken(array: Any, at: tuple[Any, ...]) -> Any:
    """The number, or the vector, of each lane."""
    *fixed, last = at
    if not any(type(x) is np.ndarray for x in fixed):
        array, at = array[tuple(fixed)], (last,)
    elif not any(type(x) is np.ndarray for x in fixed[1:]):
        array, at = array[(slice(None), *fixed[1:])], (fixed[0], last)
    if array.ndim == len(at):
        return array[at[0]] if len(at) == 1 else array[at]
    (which,) = at
    return Vectors(array.T, which)


def count(hard: Any, at: Any, missed: Any) -> None:
    """Adds what lanes have to their rows."""
    np.add.at(hard, at, missed)


def samples(start: int, stop: int, width: int) -> Iterator[tuple[Any, int]]:
    """Samples, some thousand at a time: which they are, and how many."""
    step = min(LANES, VECTORS * width)
    for k in range(start, stop, step):
        yield np.arange(k, min(k + step, stop)), min(step, stop - k)


def pieces(i0: int, i1: int, j0: int, j1: int, upper: bool, width: int, hard: Any) -> Iterator[tuple[Any, Any, int]]:
    """Rows and columns of the pairs of a block, of hard rows alone, some thousand at a time."""
    rows = np.arange(i0, i1) if hard is None else i0 + np.flatnonzero(hard)
    first = np.maximum(rows + 1, j0) if upper else np.full(len(rows), j0)
    counts = np.maximum(j1 - first, 0)
    i = np.repeat(rows, counts)
    at = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    step = min(LANES, VECTORS * width)
    for k in range(0, len(i), step):
        yield i[k : k + step], at[k : k + step], len(i[k : k + step])


# ------------------------------------------------------------ functions


class Uneven(Unfit):
    """Lanes part where they go together: a loop goes on for longer in one than in another, a condition holds in some."""


def alike_(test: Any) -> Any:
    """A condition that is the same for all lanes."""
    if type(test) is np.ndarray and test.size != 1:
        raise Uneven
    return test


def even(turns: Callable[..., range]) -> Callable[..., range]:
    """The turns of a loop that are the same for all lanes."""

    def call(*ends: Any) -> range:
        if any(type(end) is np.ndarray for end in ends):
            raise Uneven
        return turns(*ends)

    return call


def lanewise(scalar: Callable[..., Any], straight: Callable[..., Any] | None) -> Callable[..., Any]:
    """A function of numbers, for arrays: as array code, or lane by lane."""

    def call(*args: Any) -> Any:
        if not any(map(_many, args)):
            return scalar(*args)
        if straight is not None:
            with suppress(Uneven):
                return straight(*args)
        if any(type(a) is np.ndarray and a.dtype == object for a in args):
            return _filled(scalar, args)
        return _each(scalar, args)

    return call


def _filled(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """A function of a table of rows, with a place for each lane while it runs."""
    table, first, lanes = args
    whole = np.empty((len(table), lanes))
    for row, values in zip(whole, table, strict=True):
        row[...] = values
    found = function(whole, first, lanes)
    table[:] = [*whole]
    return found


def _each(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    lanes = next(len(a.which if type(a) is Vectors else a) for a in args if _many(a))

    def lane(z: int) -> Any:
        return function(*(a.lane(z) if type(a) is Vectors else a[z] if type(a) is np.ndarray else a for a in args))

    found = [lane(z) for z in range(lanes)]
    if found and isinstance(found[0], tuple):
        return tuple(np.array(x) for x in zip(*found, strict=True))
    return np.moveaxis(np.array(found), 0, -1)


def relu_easy(s1: Any, w1: Any, c: Any, s2: Any, w2: Any, near: float = 4e-6) -> tuple[Any, Any, Any]:
    """:func:`tp.gaussian.easy.relu_easy` with NumPy's arccos, which takes less time than a polynomial, statement by statement."""
    x = c * (w1 * w2)
    left = x * x
    np.subtract(1.0, left, out=left)
    area = np.sqrt(left)
    area *= s1 * (0.5 / math.pi) * s2
    psi = np.negative(x)
    np.arccos(psi, out=psi)
    psi *= (w1 > 0.0) * (0.5 / math.pi) * (w2 > 0.0) if np.min(w1) <= 0.0 or np.min(w2) <= 0.0 else 0.5 / math.pi
    area += c * psi
    left -= near
    x += 0.98
    return area, psi, np.minimum(left, x, out=left)


def relu_easy_single(s1: Any, w1: Any, c: Any, s2: Any, w2: Any) -> tuple[Any, Any, Any]:
    """The same in single precision."""
    return relu_easy(s1, w1, c, s2, w2, 1e-3)


TWINS: dict[str, Callable[..., Any]] = {"relu_easy": relu_easy, "relu_easy_single": relu_easy_single}


def mehler_rows(a: Vectors, b: Any, at: Any, rows: Any, first: int, lanes: int) -> Any:
    """``mehler_rows`` of the module, of as many terms as any lane takes: sums and their slopes, from the correlations in a row.

    Where the same sums were asked for before, they are there.
    """
    known = (sums for other, x, sums in a.sums if other is b and np.array_equal(x, rows[first]))
    if (found := next(known, None)) is None:
        found = _mehler_rows(a, Vectors(b, at), rows[first])
        a.sums.append((b, rows[first], found))
    rows[first + 1], rows[first + 2], missed = found
    return missed


def _mehler_rows(a: Vectors, b: Vectors, x: Any) -> tuple[Any, Any, Any]:
    n, size = a.shape[0] - 2, np.abs(x)
    top = max(1e-16, float(size.max()))
    worst = np.maximum(a[n] * b[n], a[n + 1] * b[n + 1])
    missed = (worst > 2e-12) & ~(worst * size ** (n - 1) <= 2e-12)
    k = np.arange(1, n)
    most = n - 1 if not top < 1.0 else min(n - 1, 4 + int(-36.0 / math.log(top)))
    most, step = _terms(a, b, k[: max(1, most)], min(top, 1.0))
    x = x * x if step == 2 else x
    t, d = np.zeros_like(x), np.zeros_like(x)
    for m in range(1 + (most - 1) // step * step, 0, -step):
        d *= x
        d += t
        t *= x
        product = a[m]
        product *= b[m]
        t += product
    d *= step * x
    d += t
    return t, d, np.where(missed, 1, 0)


def _terms(a: Vectors, b: Vectors, k: Any, top: float) -> tuple[int, int]:
    """How many terms matter to any lane, and the step between those that do: 2 for odd functions."""
    squares = k[:, None] * a.columns[k] ** 2
    odd, even = squares[::2].sum(0), squares[1::2].sum(0)
    step = 2 if (even <= 1e-28 * odd).all() else 1
    one = np.max(np.abs(a.columns[k]) / np.sqrt(odd + even), axis=1, initial=0.0)
    left = np.cumsum((k * one * b.columns[k, -1] * top ** (k - 1.0))[::-1])[::-1]
    kept = np.flatnonzero(~(left <= 2e-16))
    return (int(kept[-1]) + 1 if len(kept) else 1), step


# ------------------------------------------------------------ elementary functions


def _special(name: str) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        from scipy import special

        return getattr(special, {"lgamma": "gammaln"}.get(name, name))(*args)

    return function


_NAMESAKES = (
    "sqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "floor",
    "ceil",
    "fabs",
    "trunc",
)
_OTHERS = {
    **{name: name for name in (*_NAMESAKES, "hypot", "copysign", "isfinite", "isnan", "isinf", "fmod")},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    "pow": "power",
}


def elementary(scalar: SimpleNamespace) -> SimpleNamespace:
    """``math`` for numbers, as ``scalar`` has it, and arrays."""

    def function(name: str, twin: Callable[..., Any]) -> Callable[..., Any]:
        one = getattr(scalar, name)
        return lambda *args: twin(*args) if any(type(a) is np.ndarray for a in args) else one(*args)

    twins = {name: getattr(np, other) for name, other in _OTHERS.items()}
    twins |= {name: _special(name) for name in ("erf", "erfc", "gamma", "lgamma")}
    return SimpleNamespace(**{**vars(scalar), **{name: function(name, twin) for name, twin in twins.items()}})


def scope(turns: Callable[..., range]) -> dict[str, Any]:
    """What array code calls, by name; ``turns`` are those of its loops."""
    return {**globals(), "math": elementary(MATH), "range": even(turns), "power_": power}
