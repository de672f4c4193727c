"""On which axes does every expression live: a number on none, a vector on one width, a finite vector on one dim.

Axes are a tuple of width and dim names; ``None`` stands for what is not known (yet). Coordinatewise operations need
equal axes, or a number on one side; ``@`` contracts the last axis of the left with the first of the right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import assert_never

from tp.errors import Diagnostic
from tp.network import faults
from tp.network.names import Declarations
from tp.network.show import show
from tp.network.tree import Binary, Call, Expr, Name, Neg, Num, Reduce, Table, Transpose
from tp.network.walk import walk

Axes = tuple[str, ...]
Params = Mapping[str, Axes | None]


@dataclass(frozen=True, slots=True)
class Scaled:
    """``factor * name``, transposed or not: the matrix that acts in ``2*W.T @ x``."""

    name: Name
    transpose: bool = False
    factor: Expr | None = None


def text(axes: Axes) -> str:
    """``[n, d]``, or in words where there are none."""
    return f"`[{', '.join(axes)}]`" if axes else "no axis (it is a number)"


def _short(e: Expr) -> str:
    shown = show(e)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _from_the_left(vector: Expr, matrix: Expr, own: Axes, axes: Axes) -> str | None:
    """What ``x @ U`` and ``v @ W.T @ …`` are written as; None where the axes do not fit either way."""
    given = f"({_short(vector)})" if isinstance(vector, Binary) else _short(vector)
    if own[0] == axes[0]:
        turned = _short(matrix.arg) if isinstance(matrix, Transpose) else f"{_short(matrix)}.T"
        return f"a matrix acts on what is right of it: `{turned} @ {given}`, or in brackets, `{given} @ ({_short(matrix)} @ x)`"
    return f"a matrix acts on what is right of it: `{_short(matrix)} @ {given}`" if own[0] == axes[1] else None


class Typing:
    """The axes of expressions; ``family`` gives those of a family where it is read.

    Without ``report`` it is silent: what does not fit has axes None.
    """

    def __init__(
        self, d: Declarations, family: Callable[[Name], Axes | None], report: Callable[[Diagnostic], None] | None = None
    ) -> None:
        self.d, self.family, self.report = d, family, report
        self._calls: dict[tuple[str, tuple[Axes | None, ...]], tuple[Axes | None, str]] = {}

    def fault(self, diagnostic: Diagnostic) -> Axes | None:
        """Report it; the axes are not known."""
        if self.report is not None:
            self.report(diagnostic)
        return None

    def axes(self, e: Expr, params: Params) -> Axes | None:
        match e:
            case Num():
                return ()
            case Name(name):
                if name in params:
                    return params[name]
                return self.family(e) if name in self.d.families else ()
            case Neg(arg):
                return self.axes(arg, params)
            case Binary("@", left, right):
                return self._product(e, left, right, params)
            case Binary(op, left, right):
                return self._coordinatewise(e, op, left, right, params)
            case Transpose(arg):
                return self._transpose(arg, params)
            case Call():
                return self._call(e, params)
            case Reduce(body=body):
                return self.vector(body, params)
            case Table():
                return ()
            case _:
                assert_never(e)

    def vector(self, e: Expr, params: Params) -> Axes | None:
        """The axes of ``e``, which must not be a matrix."""
        axes = self.axes(e, params)
        if axes is not None and len(axes) > 1:
            return self.fault(faults.MatrixAsVector(e.span, _short(e), text(axes)))
        return axes

    # ------------------------------------------------------------ operators

    def _coordinatewise(self, e: Expr, op: str, left: Expr, right: Expr, params: Params) -> Axes | None:
        a, b = self.axes(left, params), self.axes(right, params)
        if a is None or b is None:
            known = a or b
            return known if known is not None and len(known) == 1 else None
        if len(a) > 1 or len(b) > 1:  # a multiple of a matrix, to act on a vector
            if (op == "*" and () in (a, b)) or (op == "/" and b == ()):
                return a or b
            side, axes = (left, a) if len(a) > 1 else (right, b)
            fault = faults.MatrixAsVector(side.span, _short(side), text(axes))
            if op == "^" and isinstance(right, Name) and right.name == "T":
                fault = replace(fault, hint=f"the transpose is written `{_short(side)}.T`")
            return self.fault(fault)
        if a == b or not b:
            return a
        if not a:
            return b
        hint = "a weight brings one axis to another: `U @ x`" if a != b else ""
        return self.fault(faults.AxesDiffer(e.span, op, _short(left), text(a), _short(right), text(b), hint))

    def _product(self, e: Expr, left: Expr, right: Expr, params: Params) -> Axes | None:
        a, b = self.axes(left, params), self.axes(right, params)
        if a is not None and len(a) == 2 and self.scaled(left, params) is None:
            return self.fault(faults.ComputedMatrix(left.span, _short(left)))
        if b is not None and len(b) == 2:
            if a is not None and len(a) == 2:
                return self.fault(faults.MatrixTimesMatrix(e.span, _short(left), _short(right)))
            fault = faults.MatrixAsVector(right.span, _short(right), text(b))
            hint = _from_the_left(left, right, a, b) if a is not None and len(a) == 1 else None
            return self.fault(replace(fault, hint=hint) if hint else fault)
        for side, axes in ((left, a), (right, b)):
            if axes == ():
                return self.fault(faults.NothingToMultiply(side.span, _short(side), text(axes)))
        if a is None or b is None:
            return a[:-1] if a is not None and len(a) == 2 else None
        if a[-1] != b[0]:
            return self.fault(faults.AxisMismatch(e.span, _short(left), a[-1], _short(right), text(b), self._other(left, a, b)))
        return a[:-1]

    def _other(self, left: Expr, a: Axes, b: Axes) -> str:
        """A matrix that would fit: the transpose, or another member or weight."""
        if len(a) == 2 and a[:1] == b[:1]:
            return f"did you mean `{show(left)[:-2] if isinstance(left, Transpose) else f'{show(left)}.T'}`?"
        if len(a) == 1 and len(b) == 1:
            return "the inner product is of vectors on one axis; a weight brings one to another: `U @ x`"
        if not isinstance(left, Name) or len(a) != 2:
            return ""
        own = self.d.families[left.name]
        others = [c for name, family in self.d.families.items() for c in family if name != left.name]
        for c in (*own, *others):
            axes = getattr(c, "axes", ())
            if len(axes) == 2 and (*axes,) == (a[0], *b):
                index = f"[{', '.join(map(show, c.index))}]" if c.index else ""
                return f"did you mean `{c.name}{index}`?"
        return ""

    def _transpose(self, arg: Expr, params: Params) -> Axes | None:
        axes = self.axes(arg, params)
        if axes is None:
            return None
        if len(axes) != 2:
            return self.fault(faults.NotAMatrix(arg.span, _short(arg), text(axes)))
        return axes[::-1]

    def scaled(self, e: Expr, params: Params) -> Scaled | None:
        """``e`` as a multiple of a named matrix or its transpose; None where it is something else."""
        match e:
            case Name():
                return Scaled(e)
            case Transpose(arg):
                m = self.scaled(arg, params)
                return None if m is None else Scaled(m.name, not m.transpose, m.factor)
            case Neg(arg):
                m = self.scaled(arg, params)
                one = Num(_ONE.value, "1", e.span)
                return None if m is None else Scaled(m.name, m.transpose, Neg(m.factor or one, e.span))
            case Binary(op, left, right) if op in "*/":
                if op == "*" and self.axes(left, params) == ():
                    left, right = right, left
                m = self.scaled(left, params)
                if m is None:
                    return None
                if m.factor is None and op == "*":
                    return Scaled(m.name, m.transpose, right)
                return Scaled(m.name, m.transpose, Binary(op, m.factor or _ONE, right, e.span))
            case _:
                return None

    # ------------------------------------------------------------ calls

    def _call(self, e: Call, params: Params) -> Axes | None:
        args = tuple(self.vector(a, params) for a in e.args)
        if e.fn == "avg":
            return self._average(e, args)
        if e.fn == "dot":
            return self._dot(e, args)
        if e.fn == "softmax":
            if args[0]:
                return self.fault(faults.SoftmaxOfVector(e.span, _short(e.args[0]), text(args[0])))
            return ()
        if e.fn in self.d.functions:
            return self._function(e, args)
        return self._joint(e, args)

    def _joint(self, e: Call, args: tuple[Axes | None, ...]) -> Axes | None:
        """A function of several arguments, coordinate by coordinate."""
        first: tuple[Expr, Axes] | None = None
        for a, axes in zip(e.args, args, strict=True):
            if axes and first and axes != first[1]:
                return self.fault(faults.AxesDiffer(e.span, e.fn, _short(first[0]), text(first[1]), _short(a), text(axes)))
            if axes and not first:
                first = a, axes
        return first[1] if first else None if None in args else ()

    def _average(self, e: Call, args: tuple[Axes | None, ...]) -> Axes | None:
        (axes,) = args
        if axes is not None and not (axes and axes[0] in self.d.widths):
            instead = (
                "the mean over a finite axis is a sum over an index: give the input an index instead of the axis"
                if axes else self._index_hint(e.args[0])
            )  # fmt: skip
            return self.fault(faults.AverageNotOverWidth(e.span, _short(e.args[0]), text(axes), "avg", instead))
        return ()

    def _index_hint(self, e: Expr) -> str:
        index = next((x.name for x in walk(e) if isinstance(x, Name) and x.name in self.d.indices), None)
        if index:
            return f"over a finite index write `mean({_short(e)} for {index})`"
        return "over a finite index write `mean(e for k in a..b)`"

    def _dot(self, e: Call, args: tuple[Axes | None, ...]) -> Axes | None:
        a, b = args
        for arg, axes in zip(e.args, args, strict=True):
            if axes == ():
                instead = "the product of numbers is `*`"
                return self.fault(faults.AverageNotOverWidth(e.span, _short(arg), text(axes), "dot", instead))
        if a is not None and b is not None and a != b:
            return self.fault(faults.AxesDiffer(e.span, "dot", _short(e.args[0]), text(a), _short(e.args[1]), text(b)))
        return ()

    def _function(self, e: Call, args: tuple[Axes | None, ...]) -> Axes | None:
        """A defined function: the axes of its body, whose own faults become one fault of the call."""
        key = (e.fn, args)
        if key not in self._calls:
            f = self.d.functions[e.fn]
            faults_inside: list[Diagnostic] = []
            inner = Typing(self.d, self.family, faults_inside.append)
            inner._calls = self._calls
            axes = inner.vector(f.body, dict(zip(f.params, args, strict=True)))
            self._calls[key] = axes, faults_inside[0]._format(faults_inside[0].label) if faults_inside else ""
        axes, problem = self._calls[key]
        if problem:
            return self.fault(faults.InFunction(e.span, e.fn, problem))
        return axes


_ONE = Num(Fraction(1), "1")
