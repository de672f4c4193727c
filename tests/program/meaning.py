"""Two readings of a spec at a small width: the text itself, and the program it was lowered to.

The first evaluates the definitions as NumPy expressions on demand, the second executes instructions in order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy as sp

from tp.network.check import Checked
from tp.network.tree import Binary, Call, Define, Expr, Input, Name, Neg, Num, Reduce, Table, Transpose, Weight
from tp.network.tree import Range as TreeRange
from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Softmax

SIZE = 3
Key = tuple[str, tuple[int, ...]]

erf = np.vectorize(math.erf, otypes=[float])
SCALAR: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "erf": erf, "abs": np.abs,
    "sign": np.sign, "relu": lambda z: np.maximum(z, 0), "step": lambda z: np.where(np.asarray(z) > 0, 1.0, 0.0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)), "softplus": lambda z: np.log1p(np.exp(z)), "max": np.maximum, "min": np.minimum,
    "gelu": lambda z: z * (1 + erf(z / math.sqrt(2))) / 2, "silu": lambda z: z / (1 + np.exp(-z)),
    "elu": lambda z, a=1.0: np.where(np.asarray(z) > 0, z, a * np.expm1(np.minimum(z, 0))),
    "leaky_relu": lambda z, a=0.01: np.where(np.asarray(z) > 0, z, a * np.asarray(z)),
}  # fmt: skip


class Text:
    """The meaning of the text. Widths have ``SIZE`` (times their ratio) coordinates."""

    def __init__(self, checked: Checked, rng: np.random.Generator) -> None:
        self.checked, self.rng = checked, rng
        self.members: dict[Key, Any] = {}
        self.running: set[Key] = set()
        for clause in (c for family in checked.families.values() for c in family if not isinstance(c, Define)):
            for at in self.points(checked.ranges(clause), {}):
                index = tuple(self.whole(e, at) for e in clause.index)
                self.members[clause.name, index] = self.draw(clause, at)

    def size(self, axis: str) -> int:
        width = self.checked.widths.get(axis)
        if width is None:
            return int(self.checked.numbers[axis])
        return SIZE if width.value is None else int(self.value(width.value, {}))

    def draw(self, clause: Input | Weight, at: dict[str, int]) -> Any:
        shape = tuple(self.size(a) for a in clause.axes)
        if isinstance(clause, Weight) and clause.variance is None:
            return np.full(shape, float(self.value(clause.mean, at))) if shape else float(self.value(clause.mean, at))
        return self.rng.normal(size=shape) if shape else float(self.rng.normal())

    def points(self, ranges: tuple[TreeRange, ...], at: dict[str, int]) -> Iterator[dict[str, int]]:
        if not ranges:
            yield at
            return
        r = ranges[0]
        for value in range(self.whole(r.lo, at), self.whole(r.hi, at) + 1):
            yield from self.points(ranges[1:], {**at, r.index: value})

    def whole(self, e: Expr, at: dict[str, int]) -> int:
        return round(float(self.value(e, at)))

    def families(self) -> Iterator[tuple[Key, Any]]:
        for name, family in self.checked.families.items():
            for clause in family:
                for at in self.points(self.checked.ranges(clause), {}):
                    index = tuple(self.whole(e, at) for e in clause.index)
                    yield (name, index), self.member(name, index)

    def member(self, name: str, index: tuple[int, ...]) -> Any:
        """``name[index]``, inside its range."""
        if (name, index) in self.members:
            return self.members[name, index]
        assert (name, index) not in self.running, "cyclic"
        self.running.add((name, index))
        for clause in self.checked.families[name]:
            for at in self.points(self.checked.ranges(clause), {}):
                if tuple(self.whole(e, at) for e in clause.index) == index:
                    value = np.asarray(self.value(clause.body, at), dtype=float)
                    shape = tuple(self.size(a) for a in self.checked.family_axes(name, clause))
                    self.members[name, index] = np.broadcast_to(value, shape).copy()
                    return self.members[name, index]
        raise AssertionError(f"{name}{index} is not defined")

    def read(self, name: str, index: tuple[int, ...]) -> Any:
        hulls = [tuple(self.whole(e, {}) for e in hull) for hull in self.checked.hull(name)]
        mapped = outside(index, [(mode, *hull) for mode, hull in zip(self.checked.boundary(name), hulls, strict=True)])
        if mapped is None:
            axes = self.checked.family_axes(name)
            return np.zeros(tuple(self.size(a) for a in axes))
        return self.member(name, mapped)

    def value(self, e: Expr, at: dict[str, int]) -> Any:
        match e:
            case Num(value=value):
                return float(value)
            case Name(name=name, index=()) if name in at:
                return at[name]
            case Name(name="pi", index=()):
                return math.pi
            case Name(name=name, index=()) if name in self.checked.widths or name in self.checked.dims:
                return self.size(name)
            case Name(name=name, index=index):
                return self.name(name, tuple(self.whole(i, at) for i in index))
            case Neg(arg=arg):
                return -self.value(arg, at)
            case Transpose(arg=arg):
                return self.value(arg, at).T
            case Binary(op=op, left=left, right=right):
                a, b = self.value(left, at), self.value(right, at)
                operators = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "^": np.power, "@": np.matmul}
                return operators[op](a, b)
            case Call(fn="avg", args=(arg,)):
                return np.mean(self.value(arg, at))
            case Call(fn="dot", args=(a, b)):
                return np.dot(self.value(a, at), self.value(b, at))
            case Call(fn="softmax", args=(arg,), over=over):
                logits = [self.value(arg, p) for p in self.points((over,), at)]
                return np.exp(self.value(arg, at)) / sum(np.exp(x) for x in logits)
            case Call(fn=fn, args=args):
                return SCALAR[fn](*(self.value(a, at) for a in args))
            case Reduce(kind=kind, body=body, ranges=ranges):
                terms = [self.value(body, p) for p in self.points(ranges, at)]
                return sum(terms) / (len(terms) if kind == "mean" else 1) if terms else 0.0
        raise AssertionError(e)

    def name(self, name: str, index: tuple[int, ...]) -> Any:
        if name in self.checked.families:
            return self.read(name, index)
        let = self.checked.lets[name]
        value = let.value
        for i, declared in zip(index, let.index, strict=True):
            assert isinstance(value, Table)
            value = value.rows[i - self.whole(self.checked.indices[declared].lo, {})]
        return self.value(value, {})


def outside(index: tuple[int, ...], slots: list[tuple[str | None, int, int]]) -> tuple[int, ...] | None:
    """The member that a boundary maps ``index`` to; None for zero."""
    mapped = []
    for i, (mode, lo, hi) in zip(index, slots, strict=True):
        if mode == "circular":
            i = lo + (i - lo) % (hi - lo + 1)
        elif mode == "reflect":
            while not lo <= i <= hi:
                i = 2 * lo - i if i < lo else 2 * hi - i
        elif mode == "zero" and not lo <= i <= hi:
            return None
        mapped.append(i)
    return tuple(mapped)


class Execution:
    """The meaning of the program, with the initial data of a :class:`Text`."""

    def __init__(self, program: Program, text: Text) -> None:
        self.program, self.text = program, text
        self.values: dict[Key, Any] = {}
        self.sizes = {s.name: text.size(s.name) for s in program.spaces}
        self.numbers = {sp.Symbol(n, integer=True, positive=True): sp.Integer(v) for n, v in self.sizes.items()}
        for name, ref, domain in [(d.ref.name, d.ref, d.domain) for d in program.data] + [
            (w.ref.name, w.ref, w.domain) for w in program.weights
        ]:
            for at in self.points(domain, {}):
                self.values[name, self.index(ref, at)] = self.initial(name, self.index(ref, at))
        self.run(program.body, {})

    def initial(self, name: str, index: tuple[int, ...]) -> Any:
        """A member of initial data: coordinates of finite axes are trailing indices."""
        count = len(self.text.checked.families[name][0].index)
        array, axes = self.text.members[name, index[:count]], self.axes(name, index[:count])
        coordinates = iter(index[count:])
        return array[tuple(slice(None) if a in self.sizes else next(coordinates) - 1 for a in axes)] if axes else array

    def axes(self, name: str, index: tuple[int, ...]) -> tuple[str, ...]:
        for clause in self.text.checked.families[name]:
            for at in self.text.points(self.text.checked.ranges(clause), {}):
                if tuple(self.text.whole(e, at) for e in clause.index) == index:
                    return clause.axes
        raise AssertionError

    def points(self, domain: tuple[Range, ...], at: dict) -> Iterator[dict]:
        if not domain:
            yield at
            return
        r = domain[0]
        for value in range(int(r.lo.xreplace(at)), int(r.hi.xreplace(at)) + 1):
            yield from self.points(domain[1:], {**at, r.index: sp.Integer(value)})

    def index(self, ref: Ref, at: dict) -> tuple[int, ...]:
        return tuple(int(e.xreplace(at)) for e in ref.index)

    def run(self, body: tuple[Instruction, ...], at: dict) -> None:
        for ins in body:
            if isinstance(ins, Loop):
                points = list(self.points((ins.range,), at))
                for point in reversed(points) if ins.reverse else points:
                    self.run(ins.body, point)
                continue
            new = {}
            for point in self.points(ins.domain, at):
                new[ins.out.name, self.index(ins.out, point)] = self.step(ins, point)
            assert not new.keys() & self.values.keys(), f"{ins.out} is written twice"
            self.values |= new

    def step(self, ins: MatMul | Nonlin | Moment, at: dict) -> Any:
        match ins:
            case MatMul():
                W = self.read(ins.W, at).T if ins.transpose else self.read(ins.W, at)
                return W @ np.broadcast_to(self.read(ins.x, at), W.shape[1])
            case Nonlin(expr=expr, space=space):
                value = self.value(expr, at)
                return np.broadcast_to(value, self.sizes[space.name]) if space else value
            case Moment(expr=expr, space=space, coeff=coeff):
                value = np.broadcast_to(self.value(expr, at), self.sizes[space.name])
                return self.value(coeff, at) * np.mean(value)

    def read(self, ref: Ref, at: dict) -> Any:
        index = self.index(ref, at)
        if ref.name in self.program.tables:
            ranges, rows = self.program.tables[ref.name]
            for i, r in zip(index, ranges, strict=True):
                rows = rows[i - int(r.lo)]
            return float(rows)
        slots = [(m, int(lo), int(hi)) for m, lo, hi in self.program.boundary.get(ref.name, ())]
        slots += [(None, 0, 0)] * (len(index) - len(slots))
        mapped = outside(index, slots)
        return 0.0 if mapped is None else self.values[ref.name, mapped]

    def value(self, e: sp.Expr, at: dict) -> Any:
        match e:
            case Ref():
                return self.read(e, at)
            case sp.Sum():
                limits = tuple(Range(v, lo, hi) for v, lo, hi in reversed(e.limits))
                return sum((self.value(e.function, p) for p in self.points(limits, at)), 0.0)
            case Softmax():
                logit, other, bound, lo, hi = e.args
                total = sum(np.exp(self.value(other, p)) for p in self.points((Range(bound, lo, hi),), at))
                return np.exp(self.value(logit, at)) / total
            case sp.Add():
                return sum(self.value(a, at) for a in e.args)
            case sp.Mul():
                return math.prod((self.value(a, at) for a in e.args), start=1.0)
            case sp.Pow():
                return np.power(self.value(e.base, at), self.value(e.exp, at))
            case sp.Function() | sp.Max() | sp.Min():
                name = type(e).__name__.lower()
                args = [self.value(a, at) for a in e.args]
                return list(itertools.accumulate(args, SCALAR[name]))[-1] if name in ("max", "min") else SCALAR[name](*args)
        return float(e.xreplace(at).xreplace(self.numbers))


def agree(checked: Checked, program: Program, seed: int = 0) -> int:
    """Assert that both readings give every member of every family the same value; returns how many there are."""
    text = Text(checked, np.random.default_rng(seed))
    execution = Execution(program, text)
    count = 0
    for (name, index), wanted in text.families():
        if not isinstance(checked.families[name][0], Define):
            continue
        wanted = np.asarray(wanted)
        clause = next(c for c in checked.families[name] if len(c.index) == len(index))
        finite = [a for a in checked.family_axes(name, clause) if a not in checked.widths]
        for coordinates in itertools.product(*(range(text.size(a)) for a in finite)):
            found = execution.values[name, (*index, *(c + 1 for c in coordinates))]
            expected = wanted[coordinates] if finite and len(finite) == wanted.ndim else wanted
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=f"{name}{index}")
            count += 1
    return count
