"""SymPy expressions as functions of cells, compiled once for each member that uses them.

Indices are numbers here. Constants of the spec are Θ(1); powers of a width, ``n^(-alpha)`` with a symbol for an exponent
included, are exponents; everything else is a sum, a product, or a function with a Taylor expansion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message, Span
from tp.program.ir import Ref, Softmax
from tp.readings.scale.forms import Form, Leaves, unknown
from tp.readings.scale.rules import Shape, averaged, contracted, nonlinear
from tp.readings.scale.tags import NONE, Cell, Excess, pruned, times, union

Env = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Op:
    """A function of cells: ``kind`` zero, const (leaf), read (slot), add, mul, apply (shape) or crowd (block).

    ``crowd`` is the sum of its argument over all blocks that the one at hand stands for.
    """

    kind: str
    args: tuple[Any, ...] = ()

    def slots(self) -> tuple[int, ...]:
        """The members it reads."""
        if self.kind == "read":
            return (self.args[0],)
        found = dict.fromkeys(s for a in self.args if isinstance(a, Op) for s in a.slots())
        return tuple(found)

    def divisors(self) -> frozenset[int]:
        """The members of which it takes a negative power."""
        if self.kind == "apply" and self.args[1].degree is not None and self.args[1].degree < 0:
            return frozenset(self.args[0].slots())
        return frozenset().union(*(a.divisors() for a in self.args if isinstance(a, Op)))

    def linear(self) -> frozenset[int]:
        """The members that enter by sums and constant factors alone."""
        if self.kind == "read":
            return frozenset((self.args[0],))
        if self.kind in ("add", "crowd"):
            return frozenset().union(*(a.linear() for a in self.args if isinstance(a, Op)))
        varying = [a for a in self.args if isinstance(a, Op) and a.slots()]
        return varying[0].linear() if self.kind == "mul" and len(varying) == 1 else frozenset()


ZERO, ONE = Op("zero"), Op("const", (0,))


@dataclass(frozen=True, slots=True)
class State:
    """What an evaluation goes by: cells of all members, values of all leaves, what is too small to count, the sum over blocks."""

    cells: list[Cell]
    leaves: list[int]
    cutoff: int
    crowd: Callable[[Cell, int], Cell]
    excess: Excess


EVERY = Excess(limit=1 << 62)
"""No perturbation is one too many: arguments and factors lose what decides nothing before all their pairs are taken."""


def value(op: Op, state: State) -> Cell:
    """What ``op`` is."""
    kind, args = op.kind, op.args
    if kind == "read":
        return state.cells[args[0]]
    if kind == "const":
        return {NONE: (state.leaves[args[0]], args[0])}, {}
    if kind == "mul":
        return _folded(args, state)
    if kind == "add":
        return union([value(arg, state) for arg in args])
    if kind == "apply":
        return nonlinear(pruned(value(args[0], state), state.cutoff, EVERY), args[1])
    if kind == "crowd":
        return state.crowd(value(args[0], state), args[1])
    return {}, {}


def _folded(args: tuple[Any, ...], state: State) -> Cell:
    made = pruned(value(args[0], state), state.cutoff, EVERY)
    for arg in args[1:]:
        made = times(made, pruned(value(arg, state), state.cutoff, EVERY))
        if len(made[0]) + len(made[1]) > 12:
            made = pruned(made, state.cutoff, state.excess)
    return made


def average(op: Op, state: State, half: int) -> Cell:
    """avg(op): a product's last factor is contracted without forming the product."""
    node = half
    half = state.leaves[half]
    if op.kind != "mul":
        return averaged(value(op, state), half, node)
    return contracted(_folded(op.args[:-1], state), value(op.args[-1], state), half, node)


@dataclass
class Widths:
    """Exponents of n: ``growth`` says how each width symbol grows; symbols of exponents become unknowns."""

    growth: Mapping[str, Fraction]
    depth: str | None = None  # a symbol that grows too, after every width
    unknowns: dict[str, None] = field(default_factory=dict)
    deep_unknowns: dict[str, None] = field(default_factory=dict)

    def grows(self, symbol: sp.Expr) -> bool:
        """Whether ``symbol`` is a width, or the depth."""
        return isinstance(symbol, sp.Symbol) and (symbol.name in self.growth or symbol.name == self.depth)

    def power(self, symbol: sp.Symbol, exponent: sp.Expr, span: Span) -> Form:
        """The exponent of ``symbol^exponent``, for a width symbol."""
        if symbol.name == self.depth:
            return Widths({symbol.name: Fraction(1)}, None, self.deep_unknowns).power(symbol, exponent, span).deepened()
        form = Form()
        for term in sp.Add.make_args(sp.expand(exponent)):
            c, rest = term.as_coeff_Mul()
            if not c.is_Rational or not (rest == 1 or isinstance(rest, sp.Symbol)):
                reason = f"the exponent `{exponent}` of `{symbol}` is not linear in constants"
                raise LimitError(Message(span, reason, "write a rational, or a constant without a value", "no scaling rule"))
            ratio = Fraction(int(c.p), int(c.q)) * self.growth[symbol.name]
            if rest == 1:
                form = form.plus(Form(ratio))
            else:
                self.unknowns[rest.name] = None
                form = form.plus(unknown(rest.name, ratio))
        return form

    def size(self, expr: sp.Expr, span: Span) -> Form:
        """The exponent of an expression in widths and constants: the largest over the terms of a sum."""
        expr = sp.sympify(expr)
        if isinstance(expr, sp.Add):
            return max((self.size(t, span) for t in expr.args), key=lambda f: (f.const, f.depth().const))
        if isinstance(expr, sp.Mul):
            form = Form()
            for factor in expr.args:
                form = form.plus(self.size(factor, span))
            return form
        base, exponent = expr.as_base_exp()
        if self.grows(base):
            return self.power(base, exponent, span)
        if exponent != 1 and exponent.is_Rational:
            return Form().plus(self.size(base, span), Fraction(int(exponent.p), int(exponent.q)))
        return Form()


@dataclass
class Compiler:
    """Expressions to ops. ``slot`` finds the member that a read means, ``values`` the representatives of a range.

    ``stands`` is the representative of an index's value: what it stands for reads, and is read, as it is.
    """

    leaves: Leaves
    widths: Widths
    slot: Callable[[str, tuple[int, ...]], int | None]
    values: Callable[[sp.Symbol, int, int], list[int]]
    stands: Callable[[str, int], int]
    given: frozenset[str]
    crowd: Callable[[Op], Op] | None = None  # one block's term of a sum over the depth: the sum
    shapes: dict[Any, Shape] = field(default_factory=dict)

    def op(self, expr: sp.Expr, env: Env, span: Span) -> Op:
        """``expr`` where the indices are ``env``."""
        match expr:
            case Ref():
                return self._read(expr, env)
            case sp.Add():
                return _sum([self.op(a, env, span) for a in expr.args])
            case sp.Mul():
                return _product([self.op(a, env, span) for a in expr.args])
            case sp.Pow():
                return self._power(expr, env, span)
            case sp.Sum():
                return self._range(expr.function, list(expr.limits), env, span)
            case sp.KroneckerDelta():
                return ONE if self._same(expr.args[0], expr.args[1], env) else ZERO
            case sp.Piecewise():
                return self._piecewise(expr, env, span)
            case Softmax():
                return self._softmax(expr, env, span)
            case sp.Symbol():
                return self._symbol(expr, env, span)
        if not expr.args or not expr.has(Ref):
            return self._constant(expr, span)
        return self._function(expr, env, span)

    def integer(self, expr: sp.Expr, env: Env) -> int:
        """The value of an index expression; constants that are left symbolic count as the ``env`` says."""
        if isinstance(expr, sp.Integer):
            return int(expr)
        if isinstance(expr, sp.Symbol) and expr.name in env:
            return env[expr.name]
        found = expr.subs({s: env[s.name] for s in expr.free_symbols if s.name in env})
        return int(sp.floor(found))

    def _same(self, one: sp.Expr, other: sp.Expr, env: Env) -> bool:
        """Whether two index expressions meet, an index being every value that it stands for."""
        a, b = self.integer(one, env), self.integer(other, env)
        return a == b or any(
            isinstance(e, sp.Symbol) and self.stands(e.name, at) == here for e, here, at in ((one, a, b), (other, b, a))
        )

    def _read(self, ref: Ref, env: Env) -> Op:
        if ref.name in self.given:
            return ONE
        at = self.slot(ref.name, tuple(self.integer(e, env) for e in ref.index))
        return ZERO if at is None else Op("read", (at,))

    def _symbol(self, symbol: sp.Symbol, env: Env, span: Span) -> Op:
        if self.widths.grows(symbol):
            return Op("const", (self.leaves.leaf(self.widths.power(symbol, sp.S.One, span)),))
        return ZERO if env.get(symbol.name) == 0 else ONE

    def _constant(self, expr: sp.Expr, span: Span) -> Op:
        if expr.is_number:
            return ZERO if expr == 0 else ONE
        return Op("const", (self.leaves.leaf(self.widths.size(expr, span)),))

    def _power(self, expr: sp.Pow, env: Env, span: Span) -> Op:
        base, exponent = expr.base, expr.exp
        if self.widths.grows(base):
            return Op("const", (self.leaves.leaf(self.widths.power(base, exponent, span)),))
        inside = self.op(base, env, span)
        if inside.kind == "zero" and exponent.is_positive:
            return ZERO
        if inside.kind == "const" and exponent.is_Rational:
            form = Form().plus(self.leaves.forms[inside.args[0]], Fraction(int(exponent.p), int(exponent.q)))
            return Op("const", (self.leaves.leaf(form),))
        if not inside.slots():
            return self._constant(expr, span)
        if exponent.is_Integer and 1 <= exponent <= 4:
            return _product([inside] * int(exponent))
        if not exponent.is_Rational:
            return self._refuse(f"the power `{expr}`", span)
        return Op("apply", (inside, Shape(Fraction(int(exponent.p), int(exponent.q)))))

    def _range(self, body: sp.Expr, limits: list[Any], env: Env, span: Span) -> Op:
        if not limits:
            return self.op(body, env, span)
        index, lo, hi = limits[-1]
        points = self.values(index, self.integer(lo, env), self.integer(hi, env))
        terms = [self._range(body, limits[:-1], {**env, index.name: p}, span) for p in points]
        if self.crowd is not None and any(s.name == self.widths.depth for s in hi.free_symbols):
            terms = [self.crowd(term) for term in terms]
        return _sum(terms)

    def _piecewise(self, expr: sp.Piecewise, env: Env, span: Span) -> Op:
        for branch, condition in expr.args:
            if condition.has(Ref):
                return self._refuse("a case distinction on values", span)
            held = condition.subs({s: env[s.name] for s in condition.free_symbols if s.name in env})
            if held == sp.true:
                return self.op(branch, env, span)
            if held != sp.false:
                return self._refuse(f"the undecided condition `{held}`", span)
        return ZERO

    def _softmax(self, expr: Softmax, env: Env, span: Span) -> Op:
        at, body, bound, lo, hi = expr.args
        logits = [self.op(at, env, span), self._range(body, [(bound, lo, hi)], env, span)]
        return Op("apply", (_sum(logits), Shape()))

    def _function(self, expr: sp.Expr, env: Env, span: Span) -> Op:
        args = [self.op(a, env, span) for a in expr.args]
        if not any(a.slots() for a in args):
            return ZERO if self._vanishes(expr, args) else ONE
        inside = _sum([a for a in args if a.slots() or a.kind == "add"])
        return Op("apply", (inside, self._shape(expr, span)))

    def _vanishes(self, expr: sp.Expr, args: list[Op]) -> bool:
        """Whether a function of what is 0, as beyond a ``boundary zero``, is 0 itself."""
        varying = [e.has(Ref) for e in expr.args]
        if any(v and a.kind != "zero" for v, a in zip(varying, args, strict=True)):
            return False
        return bool(expr.func(*(sp.S.Zero if v else e for v, e in zip(varying, expr.args, strict=True))) == 0)

    def _shape(self, expr: sp.Expr, span: Span) -> Shape:
        numbers = tuple(a if not a.has(Ref) else None for a in expr.args)
        key = (expr.func, numbers)
        if key not in self.shapes:
            self.shapes[key] = shape_of(expr, partial(self._refuse, f"the function `{expr.func.__name__}`", span))
        return self.shapes[key]

    def _refuse(self, what: str, span: Span, remedy: str = "use functions with a Taylor expansion, or homogeneous ones") -> Any:
        reason = f"{what} has no rule for how its size follows from its argument's"
        raise LimitError(Message(span, reason, remedy, "no scaling rule"))


HOMOGENEOUS = {"relu": 1, "leaky_relu": 1, "Abs": 1, "sign": 0, "step": 0, "Max": 1, "Min": 1, "Heaviside": 0, "DiracDelta": -1}
ELEMENTARY = {"exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "erf", "erfc", "atan"}
SMOOTH = ELEMENTARY | {"gelu", "normal_cdf", "normal_pdf", "sigmoid", "softplus", "silu", "elu", "hermite"}


def shape_of(expr: sp.Expr, refuse: Callable[..., Any]) -> Shape:
    """Homogeneous of which degree, or which derivatives at 0 vanish. A function that no list here names is refused."""
    name = expr.func.__name__
    free = [k for k, a in enumerate(expr.args) if a.has(Ref)]
    if name not in HOMOGENEOUS and name not in SMOOTH:
        refuse()
    x = sp.Symbol("x", real=True)
    degree = Fraction(HOMOGENEOUS[name]) if name in HOMOGENEOUS else None
    if name in ("Max", "Min"):
        beside = [a for k, a in enumerate(expr.args) if k not in free]
        if not all(a.is_number for a in beside):
            refuse("give what it is compared with a value when loading: near 0 that decides which of the two it is")
        if any(a != 0 for a in beside):
            degree = None  # a clip: near 0 it is a number, or what it is of
    if len(free) != 1:
        return Shape(degree)
    try:
        f = expr.func(*(x if k == free[0] else a for k, a in enumerate(expr.args)))
        parity = _parity(f, x)
        if degree is not None:
            return Shape(degree, parity=parity)
        flags = tuple(bool(sp.diff(f, x, k).subs(x, 0) != 0) if k else bool(f.subs(x, 0) != 0) for k in range(3))
    except (TypeError, ValueError, NotImplementedError, ArithmeticError):
        return Shape(degree)
    return Shape(None, (flags[0], flags[1], flags[2]), parity)


def _parity(f: sp.Expr, x: sp.Symbol) -> int:
    """1 where f(-x) is f(x), -1 where it is -f(x), as expressions."""
    mirrored = f.subs(x, -x)
    if sp.expand(mirrored - f) == 0:
        return 1
    return -1 if sp.expand(mirrored + f) == 0 else 0


def _sum(ops: list[Op]) -> Op:
    flat: dict[Op, None] = {}
    for op in ops:
        for part in op.args if op.kind == "add" else (op,):
            if part.kind != "zero":
                flat[part] = None
    if not flat:
        return ZERO
    return next(iter(flat)) if len(flat) == 1 else Op("add", tuple(flat))


def _product(ops: list[Op]) -> Op:
    flat = [p for op in ops for p in (op.args if op.kind == "mul" else (op,)) if p != ONE]
    if any(p.kind == "zero" for p in flat):
        return ZERO
    if not flat:
        return ONE
    return flat[0] if len(flat) == 1 else Op("mul", tuple(flat))
