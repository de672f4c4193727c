"""Expectations as numbers, for many cases at once: all pairs of samples share their nodes and one pass over an integrand.

Smooth integrands: a tensor trapezoidal rule in as many dimensions as the covariances have rank, without the corners that weigh
nothing. Kinks: panels broken at them (:mod:`tp.gaussian.quadrature`) for up to three variables. What is larger: Sobol points.

Errors come from doing everything twice, with coarser rules, or from eight scramblings where points are random; so they hold
what earlier errors do to later numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import elu, leaky_relu, relu, step
from tp.gaussian.quadrature import evaluate, integrate
from tp.limit.equations import Entry, Value
from tp.limit.zcalculus.atoms import Cov, Image, Slope
from tp.limit.zcalculus.mean import rough
from tp.readings.elementwise import TABLE
from tp.readings.expression import power
from tp.readings.nodes import rule
from tp.readings.tables import FINENESS, Table
from tp.readings.tape import added, extreme, multiplied, raised

Array = NDArray[np.float64]
Known = Mapping[sp.Basic, Any]
BRANCHES: dict[type, Callable[[sp.Expr], tuple[sp.Expr, sp.Expr]]] = {
    sp.sign: lambda u: (sp.S.One, -sp.S.One),
    step: lambda u: (sp.S.One, sp.S.Zero),
    sp.Abs: lambda u: (u, -u),
    relu: lambda u: (u, sp.S.Zero),
}
"""What a function with a kink at 0 is above and below it."""
KINKS = (*BRANCHES, sp.Max, sp.Min, sp.Heaviside, leaky_relu, elu, sp.Piecewise)
NAMED = (Expectation, Entry, Value, Cov, Slope, sp.Symbol)
STRIP = 0.8
"""Half-width of the strip in which activations are analytic, in units of their argument."""
AIMS = (1e-15, 1e-13, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4)
LARGEST = 400_000
"""Nodes of a grid at most."""
STEP = 2.0
"""Cases whose axes are alike up to this factor share their nodes."""
FINE = 8
"""Sizes of axes are rounded up to powers of 2^(1/FINE), so that grids are met again."""
PANELS = 3
"""Variables of a kinked integrand up to which panels are broken at the kinks."""
TOGETHER = 2**17
"""Numbers in an array that is worked on."""
MUCH = 1 << 22
"""Nodes times cases of an expectation from which on the sum over them is compiled: NumPy takes a tenth of a second."""
SCRAMBLINGS = 8
POINTS, MOST_POINTS = 14, 20
"""log2 of the Sobol points of one scrambling: as a rule, and at most."""
METHODS = ("auto", "grid", "sobol")
ROUGH = 2e-3
"""An error of quadrature above which points are tried as well."""
MANY, PAIRS = 2048, 2**22
"""Cases above which an expectation has fewer nodes, and cases times nodes of a grid then."""


@dataclass
class Integrals:
    """One way of taking all expectations. ``sampled`` becomes true when one of them needed Sobol points.

    ``panelled`` is the most variables for which panels are broken at kinks; ``probing`` stops where points are needed.
    """

    method: str = "auto"
    coarse: bool = False
    seed: tuple[int, ...] = (0, 0)
    points: int = POINTS
    sampled: bool = False
    largest: int = LARGEST
    panelled: int = PANELS
    probing: bool = False

    def value(self, expr: sp.Expr, known: Known, count: int) -> Array:
        """``expr`` in ``count`` cases; ``known`` has an array of them, or one number, for every name; images are functions."""
        found: dict[sp.Basic, Any] = {}
        for e in _expectations(expr):
            one = all(np.ndim(known[a]) == 0 for a in _names(e) if a in known)
            found[e] = self.expectation(e, known, 1)[0] if one else self.expectation(e, known, count)
        value = np.broadcast_to(np.asarray(compiled(expr)({**known, **found}), float), count)
        if not np.isfinite(value).all():
            raise LimitError(Message(NOWHERE, f"`{expr}` is not finite", "see net.moments() for the same by nodes", "not finite"))
        return value

    def expectation(self, e: Expectation, known: Known, count: int) -> Array:
        alike = all(np.ndim(known[a]) == 0 for a in _names(e.cov) if a in known)
        cov = np.empty((1 if alike else count, len(e.variables), len(e.variables)))
        for (i, j), entry in np.ndenumerate(np.array(e.cov.tolist(), dtype=object)):
            cov[:, i, j] = self.value(entry, known, len(cov))
        kinked = _kinked(e)
        if (
            kinked
            and not e.integrand.has(Image)
            and len(e.variables) <= self.panelled
            and count <= MANY // 64
            and self.method != "sobol"
        ):
            return self.panels(e, np.broadcast_to(cov, (count, *cov.shape[1:])), known)
        values, vectors = np.linalg.eigh(cov)
        values = np.where(values > 1e-13 * np.maximum(values[:, -1:], 1e-300), values, 0.0)
        root = vectors * np.sqrt(values)[:, None, :]
        sizes = np.abs(root).max(axis=1) * _steepness(e)
        if alike:
            x, w = self.nodes(sizes[0][sizes[0] > 0], kinked)
            return self.average(e, root[:, :, sizes[0] > 0], x, w, known, count)
        found = np.empty(count)
        for some, box in _alike(sizes):
            x, w = self.nodes(box[box > 0], kinked)
            part = {k: v[some] if np.shape(v) == (count,) else v for k, v in known.items()}
            sums = self.compiled_average if count * len(w) >= MUCH else self.average
            found[some] = sums(e, root[some][:, :, box > 0], x, w, part, len(some))
        return found

    def panels(self, e: Expectation, cov: Array, known: Known) -> Array:
        """One case after the other."""
        plain = {v: sp.Dummy(f"u{k}", real=True) for k, v in enumerate(e.variables)}
        found = []
        for k, c in enumerate(cov):
            swap = {a: sp.Float(float(np.broadcast_to(known[a], len(cov))[k]), 17) for a in _names(e.integrand) if a in known}
            integrand = by_cases(e.integrand.xreplace(swap).xreplace(plain))
            value, error = integrate(Expectation(integrand, tuple(plain.values()), c.tolist()))
            found.append(value + error if self.coarse else value)
        return np.array(found)

    def nodes(self, sizes: Array, kinked: bool) -> tuple[Array, Array]:
        """Points of independent standard normals, [dimensions, points], and weights."""
        if self.method != "sobol" and not kinked:
            found = grid(tuple(sizes.tolist()), self.coarse, self.largest)
            if found is not None:
                return found
        if self.method == "grid":
            reason = (
                f"an expectation over {len(sizes)} Gaussians{' with kinks' if kinked else ''} has no grid of {LARGEST:,} nodes"
            )
            raise LimitError(Message(NOWHERE, reason, 'use method="auto"', "grid too large"))
        if self.probing:
            raise _PointsNeeded
        self.sampled = True
        return sobol(len(sizes), self.points, self.seed)

    def image(self, psi: Image, value: sp.Expr, known: Known) -> Callable[..., Array]:
        """Ψ as a function of arrays: of one number by a table, of several by a mean at each."""
        letters = psi.values
        found: dict[bytes, Array] = {}  # several expectations have the same nodes

        def at(*arrays: Array) -> Array:
            arrays = tuple(np.broadcast_arrays(*arrays))
            flat, key = [a.ravel() for a in arrays], b"".join(sha256(a.tobytes()).digest() for a in arrays)
            if key not in found:
                count = len(flat[0])
                few = self.points - (2 if count <= MANY else 5)
                inner = replace(self, points=few, seed=(*self.seed, 1), largest=max(1000, PAIRS // count))
                found[key] = inner.value(value, {**known, **dict(zip(letters, flat, strict=True))}, count)
                self.sampled |= inner.sampled
            return found[key].reshape(arrays[0].shape)

        fineness = FINENESS[-2 if psi.rough else 2 - self.coarse]
        tables: dict[int, Callable[[Array], Array]] = {}

        def tabulated(array: Array) -> Array:
            reach = math.ceil(math.log2(float(np.abs(array).max(initial=1e-3))))
            if reach not in tables:
                table = Table.fine(np.array([-(2.0**reach), 2.0**reach]), *fineness)
                tables[reach] = table.function(at(table.points))
            return tables[reach](array)

        return tabulated if len(letters) == 1 else at

    def compiled_average(self, e: Expectation, root: Array, x: Array, w: Array, known: Known, count: int) -> Array:
        """The same in one compiled loop over cases and nodes, where all functions are there; equal to rounding."""
        made = fused(e.integrand, tuple(e.variables), len(x))
        if made is None:
            return self.average(e, root, x, w, known, count)
        function, template, names = made
        given = (value if name is None else known[name] for value, name in zip(template, names, strict=True))
        numbers, total = np.empty((count, len(names))), np.empty(count)
        for k, value in enumerate(given):
            numbers[:, k] = value
        function(np.ascontiguousarray(np.broadcast_to(root, (count, *root.shape[1:]))), x, w, numbers, total)
        return total

    def average(self, e: Expectation, root: Array, x: Array, w: Array, known: Known, count: int) -> Array:
        """Σ w g(A x) for every A in ``root``, or in ``count`` cases of one."""
        code, names = compiled(e.integrand, tuple(e.variables)), _names(e.integrand)
        functions = {k: v for k, v in known.items() if isinstance(k, sp.Tuple)}
        total, one = np.zeros(count), len(root) == 1
        many = max(1, min(count, 256 if one else 16))
        for first in range(0, count, many):
            rows = slice(first, first + many)
            env = {a: np.broadcast_to(known[a], count)[rows, None] for a in names if a in known}
            for start in range(0, len(w), TOGETHER // many):
                part = slice(start, start + TOGETHER // many)
                u = root[:1] @ x[:, part] if one else root[rows] @ x[:, part]
                values = np.asarray(code({**functions, **env, **{v: u[:, k] for k, v in enumerate(e.variables)}}))
                total[rows] += np.broadcast_to(values, (len(values) if values.ndim else 1, u.shape[2])) @ w[part]
        return total


def _alike(sizes: Array) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Cases that can share their nodes, and the size of each axis for them."""
    classes = np.floor(np.log(np.maximum(sizes, 1e-300)) / math.log(STEP))
    unique, which = np.unique(classes, axis=0, return_inverse=True)
    for k in range(len(unique)):
        some = np.flatnonzero(which.ravel() == k)
        box = sizes[some].max(axis=0)
        yield some, np.where(box > 0, 2 ** (np.ceil(FINE * np.log2(np.maximum(box, 1e-300))) / FINE), 0.0)


@lru_cache(maxsize=2048)
def _expectations(expr: sp.Expr) -> tuple[Expectation, ...]:
    """In a fixed order."""
    return tuple(sorted(expr.atoms(Expectation), key=sp.default_sort_key))


@lru_cache(maxsize=2048)
def _kinked(e: Expectation) -> bool:
    if any(isinstance(f, KINKS) for f in e.integrand.atoms(sp.Function, sp.Piecewise)):
        return True
    return any(psi.rough for psi in e.integrand.atoms(Image)) or rough(e.integrand, e.variables)


@lru_cache(maxsize=2048)
def _steepness(e: Expectation) -> float:
    """The largest slope of an activation's argument."""
    slopes = [1.0]
    for f in e.integrand.atoms(sp.Function):
        terms = (t.as_coeff_Mul() for a in f.args for t in sp.Add.make_args(a))
        slopes += [abs(float(c)) for c, rest in terms if rest in e.variables]
    return max(slopes)


@lru_cache(maxsize=2048)
def _names(expr: sp.Expr) -> frozenset[sp.Basic]:
    return frozenset(expr.atoms(Entry, Value, Cov, Slope) | expr.free_symbols)


def by_cases(expr: sp.Expr) -> sp.Expr:
    """Kinks inside other functions taken apart, f(|u|) = 1[u > 0] f(u) + 1[u < 0] f(−u), so that all kinks are in plain sight."""
    for inner in sorted(expr.atoms(*BRANCHES), key=lambda e: (e.count_ops(), str(e))):
        outer = [f for f in expr.atoms(sp.Function) if f != inner and f.has(inner)]
        if outer:
            u = inner.args[0]
            above, below = BRANCHES[type(inner)](u)
            return step(u) * by_cases(expr.xreplace({inner: above})) + step(-u) * by_cases(expr.xreplace({inner: below}))
    return expr


# ---------------------------------------------------------------- nodes


@lru_cache(maxsize=64)
def grid(sizes: tuple[float, ...], coarse: bool, largest: int = LARGEST) -> tuple[Array, Array] | None:
    """The finest tensor grid that is not too large, or the one after it; None where none fits."""
    fits = [eps for eps in AIMS if _count(sizes, eps, STRIP) <= 3 * largest]
    for k, eps in enumerate(fits[: -1 if len(fits) > 1 else 0]):
        found = _pruned(sizes, eps, STRIP)
        if len(found[1]) <= largest:
            return _pruned(sizes, fits[k + 1], 1.25 * STRIP) if coarse else found
    return None


def _count(sizes: tuple[float, ...], eps: float, strip: float) -> int:
    return math.prod(len(rule(s, eps, strip)[0]) for s in sizes)


def _pruned(sizes: tuple[float, ...], eps: float, strip: float) -> tuple[Array, Array]:
    """A tensor grid without the nodes that together weigh a hundredth of ``eps``; axis by axis, so that few are ever made."""
    x, w = np.zeros((0, 1)), np.ones(1)
    for size in sizes:
        points, weights = rule(size, eps, strip)
        every = np.multiply.outer(w, weights)
        keep = np.nonzero(every > _negligible(every, 0.01 * eps / len(sizes)))
        x, w = np.concatenate([x[:, keep[0]], points[None, keep[1]]]), every[keep]
    return np.ascontiguousarray(x), w


def _negligible(w: Array, weight: float) -> float:
    """A number such that weights up to it together are no more than ``weight``; about the largest."""
    steps = np.floor(-FINE * np.log2(np.maximum(w.ravel(), 1e-300))).astype(np.intp)
    first = max(int(steps.min()), 0)
    beyond = np.cumsum(np.bincount(np.maximum(steps - first, 0), w.ravel())[::-1])[::-1]  # of a step and all smaller weights
    step = first + int(np.searchsorted(-beyond, -weight, side="left"))
    return float(2.0 ** (-step / FINE))


@lru_cache(maxsize=16)
def sobol(dimensions: int, log2: int, seed: tuple[int, ...]) -> tuple[Array, Array]:
    from scipy.special import ndtri
    from scipy.stats import qmc

    points = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed)).random_base2(log2).T
    return np.ascontiguousarray(ndtri(np.clip(points, 1e-300, 1 - 1e-16))), np.full(2**log2, 2.0**-log2)


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression as a straight list of array operations, each subexpression once."""

    template: tuple[Any, ...]
    names: tuple[tuple[int, sp.Basic], ...]
    code: tuple[tuple[int, Callable[..., Any] | sp.Tuple, tuple[int, ...]], ...]

    @classmethod
    def of(cls, expr: sp.Expr, variables: tuple[sp.Expr, ...]) -> Compiled:
        """``variables`` are names, whatever they are made of."""
        places: dict[sp.Basic, int] = {}
        template: list[Any] = []
        names: list[tuple[int, sp.Basic]] = []
        code: list[tuple[int, Callable[..., Any] | sp.Tuple, tuple[int, ...]]] = []

        def visit(e: sp.Basic) -> int:
            if e not in places:
                name = isinstance(e, NAMED) or e in variables
                arguments = () if name or not e.args or e.is_number else tuple(visit(a) for a in _arguments(e))
                places[e] = len(template)
                template.append(float(e) if e.is_number and not name else None)
                if arguments:
                    code.append((places[e], _function(e), arguments))
                elif template[-1] is None:
                    names.append((places[e], e))
            return places[e]

        visit(expr)
        return cls(tuple(template), tuple(names), tuple(code))

    @property
    def out(self) -> int:
        """The place of the value."""
        return self.code[-1][0] if self.code else len(self.template) - 1

    def __call__(self, env: Known) -> Any:
        values = list(self.template)
        for place, name in self.names:
            if name not in env:
                raise DataError(
                    Message(NOWHERE, f"`{name}` has no number", "pass inputs as X, constants by name", "missing number")
                )
            values[place] = env[name]
        with np.errstate(all="ignore"):
            for place, function, arguments in self.code:
                act = env[function] if isinstance(function, sp.Tuple) else function
                values[place] = act(*[values[k] for k in arguments])
        return values[self.out]


@lru_cache(maxsize=2048)
def compiled(expr: sp.Expr, variables: tuple[sp.Expr, ...] = ()) -> Compiled:
    return Compiled.of(expr, variables)


@lru_cache(maxsize=2048)
def fused(expr: sp.Expr, variables: tuple[sp.Expr, ...], dimensions: int) -> Any:
    """A compiled sum over nodes, and the numbers in it: values, or names of values. None where NumPy has to do it."""
    from tp.readings.fused import form_of

    code = compiled(expr, variables)
    places = {name: place for place, name in code.names}
    wide = [places.get(v, -1 - k) for k, v in enumerate(variables)]  # a variable that is not read has no place
    found = form_of(code.code, wide, code.out)
    if found is None:
        return None
    form, at = found
    named = {place: name for name, place in places.items()}
    values = [code.template[k] for k in at]
    if any(value is None and k not in named for k, value in zip(at, values, strict=True)):
        return None  # a function of numbers alone
    return form.integrated(dimensions), tuple(values), tuple(named.get(k) for k in at)


def _arguments(e: sp.Basic) -> tuple[sp.Basic, ...]:
    if isinstance(e, Image):
        return tuple(e.values)
    return e.args[:1] if isinstance(e, sp.Pow) and e.exp.is_number else tuple(a for a in e.args if isinstance(a, sp.Expr))


def _function(e: sp.Basic) -> Callable[..., Any] | sp.Tuple:
    if isinstance(e, Image):
        return e.function
    if isinstance(e, sp.Add):
        return added
    if isinstance(e, sp.Mul):
        return multiplied
    if isinstance(e, sp.Pow):
        return partial(raised, float(e.exp)) if e.exp.is_number else power
    if isinstance(e, (sp.Max, sp.Min)):
        return partial(extreme, np.maximum if isinstance(e, sp.Max) else np.minimum)
    found = TABLE.get(type(e).__name__)
    if found is not None:
        return found.value
    stand_in = [sp.Dummy(f"a{k}", real=True) for k in range(len(e.args))]
    if not all(isinstance(a, sp.Expr) for a in e.args):
        raise LimitError(Message(NOWHERE, f"`{e}` has no numerical value here", "use net.moments()", "no number"))
    return lambda *xs: evaluate(e.func(*stand_in), dict(zip(stand_in, xs, strict=True)))


# ---------------------------------------------------------------- errors


@dataclass(frozen=True)
class Measured:
    """Numbers, their errors and how they were found."""

    values: Array
    errors: Array
    method: str


def measured(run: Callable[[Integrals], Array], method: str = "auto", tol: float | None = None, seed: int = 0) -> Measured:
    """What ``run`` computes, with errors; to ``tol`` where one is given. Raises ``LimitError`` where that is out of reach."""
    if method not in METHODS:
        raise DataError(Message(NOWHERE, f"unknown method {method!r}", f"choose one of {', '.join(METHODS)}", "unknown method"))
    values = _by_quadrature(run, method)
    if method != "sobol" and values is not None:
        errors = np.maximum(np.abs(run(Integrals(method, coarse=True)) - values), 1e-15 * np.maximum(1, np.abs(values)))
        found = Measured(values, errors, "quadrature")
        largest = float(errors.max(initial=0))
        if tol is None and largest > ROUGH and method == "auto":  # points may do better
            points = _sampled(run, "sobol", None, seed)
            return points if 2 * points.errors.max() < largest else found
        if tol is None or largest <= tol:
            return found
        method = "sobol"
        if 2 * errors.max() < tol * 2**4 or tol < 1e-6:  # points would not do better
            raise _out_of_reach(float(errors.max()), tol)
    return _sampled(run, method, tol, seed)


def valued(run: Callable[[Integrals], Array]) -> Array:
    """What ``run`` computes, without the second run for errors."""
    values = _by_quadrature(run, "auto")
    return _sampled(run, "auto", None, 0).values if values is None else values


class _PointsNeeded(Exception):
    """An expectation has no grid."""


def _by_quadrature(run: Callable[[Integrals], Array], method: str) -> Array | None:
    """The values without points; None where some expectation needs them."""
    try:
        return run(Integrals(method, probing=True))
    except _PointsNeeded:
        return None


def _sampled(run: Callable[[Integrals], Array], method: str, tol: float | None, seed: int) -> Measured:
    m = POINTS
    while True:
        rows = np.array([run(Integrals(method, seed=(seed, k), points=m, panelled=1)) for k in range(SCRAMBLINGS)])
        errors = np.maximum(rows.std(axis=0, ddof=1) / math.sqrt(SCRAMBLINGS), 1e-15)
        largest = 2 * float(errors.max(initial=0))
        if tol is None or largest <= tol:
            return Measured(rows.mean(axis=0), errors, "sobol")
        m += max(1, math.ceil(math.log2(largest / tol) / 0.75))
        if m > MOST_POINTS:
            raise _out_of_reach(largest * 2 ** (-0.75 * (MOST_POINTS - POINTS)), tol)


def _out_of_reach(reachable: float, tol: float) -> LimitError:
    reason = f"about {reachable:.1e} is the error that can be reached, not {tol:.1e}"
    return LimitError(Message(NOWHERE, reason, "give a larger tol=…", "tolerance out of reach"))
