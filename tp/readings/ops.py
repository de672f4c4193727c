"""Compiled expressions: a tree that computes values and pulls back adjoints.

In a vector expression a vector is an array [N, n], a scalar [N, 1] and a constant a number; in a scalar expression
a scalar is [N]. N may be 1 for what all samples share. ``value`` goes up the tree; ``pull`` takes
``∂f/∂(this)``, always of full shape, down it and hands on what reaches each member that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import mul
from typing import Any, Protocol

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.program.ir import Range, Ref
from tp.readings.elementwise import Elementwise
from tp.readings.indexing import Env, Indexer, Key

Array = NDArray[np.float64]
Sink = Callable[[Key, Array], None]
"""Takes what ``pull`` finds: add this array to ``∂f/∂(member)``."""


class Members(Protocol):
    """What an expression reads from."""

    def read(self, key: Key) -> Array | None:
        """The array of a member; None where the boundary makes it zero."""


class Frame:
    """One evaluation of an expression: the indices bound, and the values found so far.

    A sum opens an inner frame per term; what does not use the summed index is evaluated once, outside, and what the
    terms pull back to it is collected and passed on once.
    """

    __slots__ = ("bound", "collected", "env", "members", "memo", "outer", "vector")

    def __init__(self, env: Env, members: Members, vector: bool, outer: Frame | None = None, bound: str = "") -> None:
        self.env, self.members, self.vector = env, members, vector
        self.outer, self.bound = outer, bound
        self.memo: dict[Op, Any] = {}
        self.collected: dict[Op, Array] = {}

    def bind(self, index: str, value: int) -> Frame:
        return Frame({**self.env, index: value}, self.members, self.vector, self, index)

    def value(self, op: Op) -> Any:
        if self.outer is not None and self.bound not in op.free:
            return self.outer.value(op)
        found = self.memo.get(op)
        if found is None:
            found = self.memo[op] = op.value(self)
        return found

    def pull(self, op: Op, adjoint: Array, into: Sink) -> None:
        """Pull ``adjoint`` back through ``op``: now, or with the rest that comes to it from other terms."""
        if not op.active:
            return
        if self.outer is None or self.bound in op.free:
            op.pull(self, adjoint, into)
            return
        before = self.outer.collected.get(op)
        self.outer.collected[op] = adjoint if before is None else before + adjoint

    def pass_on(self, into: Sink) -> None:
        """After the last term: pull back what was collected."""
        collected, self.collected = self.collected, {}
        for op, adjoint in collected.items():
            self.pull(op, adjoint, into)


@dataclass(frozen=True, eq=False)
class Op:
    """A compiled expression. ``free``: names of its free indices; ``active``: it reads program variables."""

    free: frozenset[str] = field(kw_only=True)
    active: bool = field(kw_only=True)

    def value(self, at: Frame) -> Any:
        raise NotImplementedError

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        """Nothing, for a constant."""

    def parts(self) -> tuple[Op, ...]:
        """The expressions it is made of."""
        return ()


@dataclass(frozen=True, eq=False)
class Const(Op):
    number: np.float64

    def value(self, at: Frame) -> Any:
        return self.number


@dataclass(frozen=True, eq=False)
class Name(Op):
    """An index, a width or a symbolic constant, as a number."""

    name: str

    def value(self, at: Frame) -> Any:
        return np.float64(at.env[self.name])


@dataclass(frozen=True, eq=False)
class Read(Op):
    """A member of a family."""

    ref: Ref
    indexer: Indexer

    def key(self, at: Frame) -> Key:
        return self.indexer.key(self.ref, at.env)

    def value(self, at: Frame) -> Any:
        array = at.members.read(self.key(at))
        if array is None:
            return np.float64(0)
        return array[:, None] if at.vector and array.ndim == 1 else array

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        into(self.key(at), adjoint)


@dataclass(frozen=True, eq=False)
class Add(Op):
    terms: tuple[Op, ...]

    def value(self, at: Frame) -> Any:
        total = at.value(self.terms[0])
        for term in self.terms[1:]:
            total = total + at.value(term)
        return total

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        for term in self.terms:
            at.pull(term, adjoint, into)


@dataclass(frozen=True, eq=False)
class Mul(Op):
    factors: tuple[Op, ...]

    def value(self, at: Frame) -> Any:
        return _product(at, self.factors)

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        for k, factor in enumerate(self.factors):
            if factor.active:
                at.pull(factor, adjoint * _product(at, self.factors[:k] + self.factors[k + 1 :]), into)


def _product(at: Frame, factors: tuple[Op, ...]) -> Any:
    return reduce(mul, map(at.value, factors), np.float64(1))


@dataclass(frozen=True, eq=False)
class Power(Op):
    base: Op
    exponent: Op

    def parts(self) -> tuple[Op, ...]:
        return (self.base, self.exponent)

    def value(self, at: Frame) -> Any:
        return power(at.value(self.base), at.value(self.exponent))

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        base, exponent = at.value(self.base), at.value(self.exponent)
        if self.base.active:
            at.pull(self.base, adjoint * (exponent * power(base, exponent - 1)), into)
        if self.exponent.active:
            at.pull(self.exponent, adjoint * (np.log(base) * at.value(self)), into)


def power(base: Any, exponent: Any) -> Any:
    """``base ** exponent`` on the reals: NaN for a fractional power of a negative number."""
    if np.ndim(exponent) == 0:
        if exponent == 0.5:
            return np.sqrt(base)
        if exponent == -0.5:
            return 1 / np.sqrt(base)
        if exponent == int(exponent) and abs(exponent) <= 64:
            return base ** int(exponent) if exponent >= 0 else 1 / base ** int(-exponent)
    return np.power(base, exponent)


@dataclass(frozen=True, eq=False)
class Call(Op):
    """A function of the table, applied coordinatewise."""

    fn: Elementwise
    args: tuple[Op, ...]

    def parts(self) -> tuple[Op, ...]:
        return self.args

    def value(self, at: Frame) -> Any:
        return self.fn.value(*map(at.value, self.args))

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        values = [at.value(arg) for arg in self.args]
        for arg, partial in zip(self.args, self.fn.partials, strict=False):
            if arg.active and partial is not None:
                at.pull(arg, adjoint * partial(*values), into)


@dataclass(frozen=True, eq=False)
class Extreme(Op):
    """Max or Min; the adjoint goes to the first argument that attains it."""

    pick: Callable[..., Any]
    args: tuple[Op, ...]

    def parts(self) -> tuple[Op, ...]:
        return self.args

    def value(self, at: Frame) -> Any:
        best = at.value(self.args[0])
        for arg in self.args[1:]:
            best = self.pick(best, at.value(arg))
        return best

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        best, left = at.value(self), adjoint
        for arg in self.args:
            here = at.value(arg) == best
            if arg.active:
                at.pull(arg, np.where(here, left, 0.0), into)
            left = np.where(here, 0.0, left)


@dataclass(frozen=True, eq=False)
class Select(Op):
    """Piecewise: the first branch whose condition holds; NaN where none does."""

    branches: tuple[Op, ...]
    conditions: tuple[Callable[[Frame], Any], ...]
    compared: tuple[Op, ...]

    def parts(self) -> tuple[Op, ...]:
        return self.branches + self.compared

    def open(self, at: Frame) -> Iterator[tuple[Any, Op]]:
        """The branches that may hold: of those that indices exclude not even what they read has to be defined."""
        for branch, condition in zip(self.branches, self.conditions, strict=True):
            here = condition(at)
            if np.ndim(here) or here:
                yield here, branch
            if not np.ndim(here) and here:
                return

    def value(self, at: Frame) -> Any:
        result: Any = np.float64(np.nan)
        for here, branch in reversed(list(self.open(at))):
            result = np.where(here, at.value(branch), result)
        return result

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        left = adjoint
        for here, branch in self.open(at):
            if branch.active:
                at.pull(branch, np.where(here, left, 0.0), into)
            left = np.where(here, 0.0, left)


@dataclass(frozen=True, eq=False)
class Delta(Op):
    """Kronecker's δ of two index expressions."""

    left: sp.Expr
    right: sp.Expr
    indexer: Indexer

    def value(self, at: Frame) -> Any:
        return np.float64(self.indexer.integer(self.left, at.env) == self.indexer.integer(self.right, at.env))


@dataclass(frozen=True, eq=False)
class Outers(Op):
    """Σ over finite indices of a coefficient times ``u ⊗ v``: a block of a matrix, one product for all terms.

    Its values are in an :class:`Entries` frame.
    """

    coefficient: Op
    u: Read
    v: Read
    ranges: tuple[Range, ...]
    indexer: Indexer

    def terms(self, at: Frame) -> Iterator[tuple[float, Key, Key]]:
        """Coefficient, u and v of the terms whose coefficient is not 0."""
        for env in self.indexer.points(self.ranges, at.env):
            inner = Frame(env, at.members, vector=False)
            c = float(np.squeeze(inner.value(self.coefficient)))
            if c != 0:
                yield c, self.u.key(inner), self.v.key(inner)

    def value(self, at: Frame) -> Any:
        assert isinstance(at, Entries)
        return at.product(self)


@dataclass(frozen=True, eq=False)
class Over(Op):
    """What sums over a finite index have in common."""

    body: Op
    range: Range
    indexer: Indexer

    def frames(self, at: Frame) -> Iterator[Frame]:
        for k in self.indexer.interval(self.range, at.env):
            yield at.bind(self.range.index.name, k)


@dataclass(frozen=True, eq=False)
class SumOver(Over):
    """Σ body over a finite index; 0 when the range is empty."""

    def value(self, at: Frame) -> Any:
        total: Any = np.float64(0)
        for inner in self.frames(at):
            total = total + inner.value(self.body)
        return total

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        for inner in self.frames(at):
            inner.pull(self.body, adjoint, into)
        at.pass_on(into)


@dataclass(frozen=True, eq=False)
class LogSumExp(Over):
    """log Σ exp(body), the largest body subtracted first. softmax is exp(at - this)."""

    def value(self, at: Frame) -> Any:
        logits = np.broadcast_arrays(*(inner.value(self.body) for inner in self.frames(at)))
        top = np.max(logits, axis=0)
        return top + np.log(np.sum(np.exp(np.asarray(logits) - top), axis=0))

    def pull(self, at: Frame, adjoint: Array, into: Sink) -> None:
        whole = at.value(self)
        for inner in self.frames(at):
            inner.pull(self.body, adjoint * np.exp(inner.value(self.body) - whole), into)
        at.pass_on(into)


class Entries(Frame):
    """Entries of a matrix on a block, [A, B]: ``rows`` and ``cols`` give vectors of the two spaces there, as [A] and [B].

    What does not depend on an index is found once, at whatever depth of sums it is met.
    """

    __slots__ = ("cols", "found", "rows")

    def __init__(self, env: Env, members: Members, rows: Vectors, cols: Vectors, found: dict[Any, Any] | None = None) -> None:
        super().__init__(env, members, vector=True)
        self.rows, self.cols = rows, cols
        self.found: dict[Any, Any] = {} if found is None else found

    def bind(self, index: str, value: int) -> Entries:
        return Entries({**self.env, index: value}, self.members, self.rows, self.cols, self.found)

    def value(self, op: Op) -> Any:
        if not op.active:
            return op.value(self)
        key = (op, *(self.env[name] for name in sorted(op.free)))
        if key not in self.found:
            self.found[key] = op.value(self)
        return self.found[key]

    def product(self, op: Outers) -> Any:
        terms = [(c, u, v) for c, a, b in op.terms(self) if (u := self.rows(a)) is not None and (v := self.cols(b)) is not None]
        if not terms:
            return np.float64(0)
        return np.array([c * u for c, u, _ in terms]).T @ np.array([v for _, _, v in terms])


Vectors = Callable[[Key], Array | None]
"""A vector on a block by its member; None where it is 0."""
