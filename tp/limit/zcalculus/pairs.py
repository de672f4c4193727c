"""Kernels whose expectations hold more than two Gaussians: by quadrature, all pairs of samples together.

Milliseconds a pair, far more than a compiled kernel takes; for some hundred samples, and for checks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.scrambled import SCRAMBLINGS
from tp.kernel.memory import default_memory
from tp.kernel.threads import default_threads
from tp.kernel.tiled import names
from tp.limit.equations import Entry, Equation, I, J, Limit, Value
from tp.limit.evaluated import Evaluated
from tp.limit.zcalculus.integrals import TOGETHER, Integrals
from tp.limit.zcalculus.mean import gaussians
from tp.limit.zcalculus.measured import Measured, measured
from tp.program.ir import Program, Ref
from tp.readings.expression import Compiler
from tp.readings.inputs import numbers_of, samples_of

Array = NDArray[np.float64]
Places = NDArray[np.intp]

BOUND = 1e-3
"""Error of entries, relative to the largest, that a call keeps within or refuses."""
TINY = 1e-10
"""Added to the largest entry: some kernels are 0."""
VALUES = 64
"""Arrays of values at nodes that an integrand takes at once, about."""


def needs_pairs(limit: Limit) -> bool:
    """Whether some expectation has more than two variables and is no polynomial: no compiled rule integrates it."""
    found = {e for equation in limit.equations for e in equation.rhs.atoms(Expectation)}
    return any(len(e.variables) > 2 and not e.integrand.is_polynomial(*e.variables) and _meeting(e) for e in found)


def _meeting(e: Expectation) -> bool:
    """Whether one factor holds more than two variables, or its variables are all correlated."""
    return any(len(gaussians(f)) > 1 for f in sp.Mul.make_args(e.integrand)) or all(c != 0 for c in e.cov)


@dataclass(eq=False)
class PairKernel(Evaluated):
    """``kernel(X1, X2)``: [N1, N2] per kind, as compiled kernels return it; ``kernel.diag(X)`` [N].

    ``constants`` are numbers by name; ``output`` is the one of several outputs whose kernel it is (None: the first).

    Tiles of ``gram``, and the matrices of ``solve``, agree with one call of all samples within the ``bound`` of each, and are
    positive semidefinite as far as that: where integrals are not accurate to many digits, which ``measured`` tells, a regression
    takes a ridge that is larger than their errors.
    """

    limit: Limit
    kinds: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("float64"))
    memory: int = field(default_factory=default_memory, repr=False)  # bytes
    threads: int = field(default_factory=default_threads, repr=False)
    program: Program = field(init=False, repr=False)
    _sampled: set[str] = field(default_factory=set, init=False, repr=False)  # shared with what tiles are computed by
    _tiles: bool = field(default=False, init=False, repr=False)

    at_once: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    """Tiles a side of a matrix on disk, at least."""
    numbers: ClassVar[int] = 1 << 14
    """That a pair takes to compute, about: nodes of its integrals."""

    def __post_init__(self) -> None:
        self.program = self.limit.program

    @property
    def statistical(self) -> bool:
        """Whether something of the last call, or of a matrix on disk, was integrated at Sobol points: last digits are chance.

        Of tiles that other processes compute it is not known.
        """
        return bool(self._sampled)

    def _told(self, found: Sequence[Measured]) -> None:
        if not self._tiles:
            self._sampled.clear()
        self._sampled.update({m.method for m in found} & {"sobol"})

    def __repr__(self) -> str:
        of = f"{names(self.kinds)} of {self.limit.program.name}"
        return f"<PairKernel {of}, {self.dtype}, integrated pair by pair, error {self.bound:.0e}>"

    @property
    def bound(self) -> float:
        """Error of entries, relative to the largest of a call and 1e-10: what a call finds it cannot keep within it refuses.

        It is twice what ``measured`` says, and most of it is usually not needed: ``k.measured(X)`` says each entry's own error,
        ``k.measured(X, tol=1e-6)`` goes on to a smaller one.
        """
        return BOUND

    def __call__(self, X1: Any, X2: Any = None) -> Any:
        """All pairs of samples; one array per kind, within ``bound``."""
        found = self._pairs(X1, X2).within(self.bound)
        self._told(found)
        return self._returned(tuple(m.values for m in found))

    def diag(self, X: Any) -> Any:
        """Each sample with itself; equal to the diagonal of ``k(X)``."""
        data = self._named(X, "X")
        one = [self._pairs({name: a[i : i + 1] for name, a in data.items()}, None) for i in range(len(next(iter(data.values()))))]
        rows = [pairs.within(self.bound) for pairs in one]
        self._told([m for row in rows for m in row])
        return self._returned(tuple(np.concatenate([row[k].values[0] for row in rows]) for k in range(len(self.kinds))))

    def _returned(self, found: tuple[Array, ...]) -> Any:
        arrays = tuple(a.astype(self.dtype) for a in found)
        return arrays[0] if len(arrays) == 1 else arrays

    def measured(
        self, X1: Any, X2: Any = None, method: str = "auto", tol: float | None = None, seed: int = 0
    ) -> tuple[Measured, ...]:
        """Per kind the values and their errors; ``method``, ``tol`` and ``seed`` as for ``net.z().numbers``."""
        found = self._pairs(X1, X2).measured(method, tol, seed)
        self._told(found)
        return found

    # ------------------------------------------------------------ as tiles and regressions see it

    @property
    def axes(self) -> tuple[int, ...]:
        """Of an entry: one for each index of the output."""
        return (len(self._outputs(self.kinds[0])),) if self._answer.index else ()

    @property
    def decides(self) -> dict[str, Any]:
        """What numbers depend on besides samples."""
        equations = [f"{e.lhs} = {e.rhs}" for e in self.limit.equations]
        return {**self.spec, "equations": equations, "output": self._answer.name}

    def working(self, first: int, second: int) -> int:
        """Bytes that a call for ``first`` × ``second`` samples holds at most: tables over all pairs, and values at nodes."""
        outputs = sum(len(self._outputs(kind)) for kind in self.kinds)
        tables = (first + second) ** 2 * len(self.limit.equations) + 2 * SCRAMBLINGS * outputs * first * second
        return 8 * (tables + VALUES * TOGETHER)

    def limited(self, threads: int, memory: int | None = None) -> PairKernel:
        """The same within so many bytes, for tiles."""
        found = copy.copy(self)
        found.threads, found.memory, found._tiles = threads, self.memory if memory is None else memory, True
        return found

    def reaching(self, X: Any, X2: Any = None) -> PairKernel:
        """This kernel, for any samples."""
        self._sampled.clear()
        return self

    # ------------------------------------------------------------ within

    def _pairs(self, X1: Any, X2: Any) -> _Pairs:
        one = self._named(X1, "X" if X2 is None else "X1")
        two = one if X2 is None else self._named(X2, "X2")
        n1, n2 = (len(next(iter(x.values()))) for x in (one, two))
        data = {k: np.concatenate([one[k], two[k]]) if X2 is not None else one[k] for k in one}
        return _Pairs(self, data, n1, n2, X2 is None, tuple(map(self._outputs, self.kinds)))

    def _outputs(self, kind: str) -> list[Entry]:
        name = self._answer.name
        entries = [e.lhs for e in self.limit.equations if isinstance(e.lhs, Entry)]
        return [f for f in entries if f.kind_name == kind and f.a.name == name]

    @property
    def _answer(self) -> Ref:
        """The output whose kernel it is."""
        return answer(self.limit.program, self.output)

    def _named(self, X: Any, argument: str) -> dict[str, Array]:
        return named_samples(self.limit.program, self.constants, X, argument)


def answer(program: Program, output: str | None) -> Ref:
    """The output of this name (None: the first). Raises ``DataError`` where there is none."""
    names = [f.name for f in program.outputs]
    if output is not None and output not in names:
        reason = f"the network has no output `{output}`"
        raise DataError(Message(NOWHERE, reason, f"it has {', '.join(names)}", "unknown output"))
    return program.outputs[0 if output is None else names.index(output)]


def named_samples(program: Program, constants: Mapping[str, Any], X: Any, argument: str) -> dict[str, Array]:
    """One array [N, …indices, …axes] per input, checked."""
    names = list(dict.fromkeys(d.ref.name for d in program.data))
    if not isinstance(X, Mapping) and len(names) != 1:
        reason = f"the network has the inputs {', '.join(names)}, but {argument} is one array"
        raise DataError(Message(NOWHERE, reason, "pass a dict: {name: array}", "several inputs"))
    arrays = dict(X) if isinstance(X, Mapping) else {names[0]: X}
    samples_of(program, arrays, numbers_of(program, constants), Compiler())
    return {name: np.asarray(a, dtype=np.float64) for name, a in arrays.items()}


@dataclass(frozen=True)
class _Pairs:
    """The pairs that are asked for: all of two sets of samples, or those i ≤ j of one."""

    kernel: PairKernel
    data: dict[str, Array]
    n1: int
    n2: int
    symmetric: bool
    outputs: tuple[list[Entry], ...]

    @property
    def places(self) -> Places:
        i, j = np.triu_indices(self.n1) if self.symmetric else (a.ravel() for a in np.indices((self.n1, self.n2)))
        return np.stack([i, j], axis=1)

    def run(self, integrals: Integrals) -> Array:
        """[pairs, outputs], those of all kinds side by side."""
        run = _Run(self.kernel.limit, self.data, self.kernel.constants, integrals)
        places = self.places + np.array([0, 0 if self.symmetric else self.n1])
        return np.stack([run.value(f, places) for of_kind in self.outputs for f in of_kind], axis=1)

    def measured(self, method: str = "auto", tol: float | None = None, seed: int = 0) -> tuple[Measured, ...]:
        """Per kind the values and their errors."""
        found = measured(self.run, method, tol, seed)
        both = zip(self.tables(found.values), self.tables(found.errors), strict=True)
        return tuple(Measured(values, errors, found.method) for values, errors in both)

    def within(self, bound: float) -> tuple[Measured, ...]:
        """Per kind the values and their errors, with more points where errors exceed ``bound`` of the largest.

        Raises ``LimitError`` where these do not get there either.
        """
        found = self.measured()
        largest = [float(np.abs(m.values).max(initial=0.0)) + TINY for m in found]
        if all(2 * m.errors.max(initial=0.0) <= bound * one for m, one in zip(found, largest, strict=True)):
            return found
        sizes = np.repeat(largest, [len(of_kind) for of_kind in self.outputs])
        try:
            better = measured(lambda integrals: self.run(integrals) / sizes, "sobol", bound)
        except LimitError:
            reason = f"entries of this kernel cannot be had within {bound:.0e} of the largest: points would be too many"
            remedy = "k.measured(X) gives them with the error of each"
            raise LimitError(Message(NOWHERE, reason, remedy, "not accurate enough")) from None
        both = zip(self.tables(better.values * sizes), self.tables(better.errors * sizes), strict=True)
        return tuple(Measured(values, errors, better.method) for values, errors in both)

    def tables(self, flat: Array) -> tuple[Array, ...]:
        """[n1, n2] per kind, with an axis more for an output that is a family."""
        full = np.empty((self.n1, self.n2, flat.shape[1]))
        i, j = self.places.T
        full[i, j] = flat
        if self.symmetric:
            full[j, i] = flat
        parts = np.split(full, np.cumsum([len(of_kind) for of_kind in self.outputs])[:-1], axis=2)
        return tuple(part if self.kernel._answer.index else part[..., 0] for part in parts)


@dataclass
class _Run:
    """Tables over pairs of samples, one for each entry; filled where they are asked for."""

    limit: Limit
    data: dict[str, Array]
    constants: Mapping[str, Any]
    integrals: Integrals
    memo: dict[sp.Expr, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.equations: dict[sp.Expr, Equation] = {e.lhs: e for e in self.limit.equations}
        self.firsts = {d.ref.name: [int(r.lo) for r in d.domain] for d in self.limit.program.data}
        self.samples = len(next(iter(self.data.values())))

    def value(self, atom: Entry | Value, places: Places) -> Array:
        """An entry or value at pairs of samples (i, j), the rows of ``places``."""
        first = places[:, 0] if atom.s == I else places[:, 1]
        second = (places[:, 0] if atom.t == I else places[:, 1]) if isinstance(atom, Entry) else first
        if isinstance(atom, Entry):
            if atom.kind_name == "Gram":
                return np.asarray(np.sum(self._read(atom.a, first) * self._read(atom.b, second), axis=-1))
            key: sp.Expr = Entry(atom.args[0], atom.a, atom.b, I, J)
            if key not in self.equations:
                key, first, second = Entry(atom.args[0], atom.b, atom.a, I, J), second, first
        else:
            if atom.kind_name == "data":
                return np.asarray(self._read(atom.a, first))
            key = Value(atom.args[0], atom.a, I)
        return self._table(key, np.stack([first, second], axis=1))

    def _table(self, key: sp.Expr, places: Places) -> Array:
        if key not in self.equations:
            raise LimitError(Message(NOWHERE, f"no equation gives `{key}`", "", "incomplete limit"))
        table = self.memo.setdefault(key, np.full((self.samples, self.samples), np.nan))
        open_ = np.unique(places[np.isnan(table[places[:, 0], places[:, 1]])], axis=0)
        same = open_[:, 0] == open_[:, 1]
        for some, rhs in ((open_[same], _together(self.equations[key].rhs)), (open_[~same], self.equations[key].rhs)):
            if len(some):
                table[some[:, 0], some[:, 1]] = self._numbers(rhs, some)
        return table[places[:, 0], places[:, 1]]

    def _numbers(self, rhs: sp.Expr, places: Places) -> Array:
        atoms, symbols = _reads(rhs)
        known: dict[sp.Basic, Any] = {a: self.value(a, places) for a in atoms}
        known |= {s: float(self.constants[s.name]) for s in symbols if s.name in self.constants}
        return self.integrals.value(rhs, known, len(places))

    def _read(self, ref: Ref, samples: Any) -> Any:
        place = (int(e) - lo for e, lo in zip(ref.index, self.firsts[ref.name], strict=False))
        return self.data[ref.name][(samples, *place)]


@lru_cache(maxsize=2048)
def _reads(rhs: sp.Expr) -> tuple[tuple[Entry | Value, ...], tuple[sp.Symbol, ...]]:
    """The entries and values that an equation reads, and its symbols."""
    return tuple(rhs.atoms(Entry, Value)), tuple(s for s in rhs.free_symbols if isinstance(s, sp.Symbol))


@lru_cache(maxsize=2048)
def _together(expr: sp.Expr) -> sp.Expr:
    """The equation of a sample with itself: variables that coincide are one."""
    swap: dict[sp.Basic, sp.Basic] = {}
    for e in expr.atoms(Expectation):
        variables = [v.xreplace({J: I}) for v in e.variables]
        keep = [k for k, v in enumerate(variables) if v not in variables[:k]]
        cov = [[e.cov[a, b].xreplace({J: I}) for b in keep] for a in keep]
        swap[e] = Expectation(e.integrand.xreplace({J: I}), [variables[k] for k in keep], cov)
    return expr.xreplace(swap).xreplace({J: I})


def pair_kernel(
    limit: Limit, kinds: Sequence[str], constants: Mapping[str, Any], output: str | None = None, dtype: Any = "float64"
) -> PairKernel:
    """The kernel of a limit that no compiled rule integrates. Raises ``DataError`` for an output or constant it has not."""
    kernel = PairKernel(limit, tuple(kinds), constants, output, np.dtype(dtype))
    numbers_of(limit.program, constants)
    _ = kernel._answer
    return kernel
