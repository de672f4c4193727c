"""What weights make inside an expression, made vectors of their own, for its size matters by itself.

``tanh(A @ x + b)`` is lowered to one expression, and ``V.T @ (U @ x)`` to one average over the width. What A does there is what a
first layer does: its size is that of an argument, which a bounded function would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from tp.program.ir import Instruction, Loop, Moment, Nonlin, Program, Ref


def hoisted(program: Program) -> Program:
    """The same program; arguments of functions that hold a weight, and factors of averages beside another weight, are Nonlins."""
    hoist = _Hoist(program)
    body = hoist.body(program.body)
    return replace(program, body=body, temps=program.temps | set(hoist.made)) if hoist.made else program


def product(expr: sp.Expr) -> tuple[Ref, Ref] | None:
    """A and x for a sum over a finite axis of A[j] x[j], which is ``A @ x``; None for anything else."""
    if not isinstance(expr, sp.Sum) or len(expr.limits) != 1:
        return None
    refs = [f for f in sp.Mul.make_args(expr.function) if isinstance(f, Ref)]
    if len(refs) != 2 or sp.Mul(*refs) != expr.function or any(not r.index or r.index[-1] != expr.limits[0][0] for r in refs):
        return None
    first, second = sorted(refs, key=lambda r: r.name.lower() == r.name)  # a weight's name is a capital by custom
    return Ref(first.name, *first.index[:-1]), Ref(second.name, *second.index[:-1])


@dataclass
class _Hoist:
    program: Program
    made: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vectors = {w.ref.name for w in self.program.weights if w.rows is not None and w.cols is None}
        simple = _simple(self.program.body)
        self.scalars = {d.ref.name for d in self.program.data}
        self.scalars |= {ins.out.name for ins in simple if isinstance(ins, Moment) or ins.space is None}
        used = {r.name for ins in simple for e in (ins.out, ins.expr) for r in e.atoms(Ref)}
        self.taken = used | self.vectors | self.scalars | set(self.program.temps)

    def body(self, body: Sequence[Instruction]) -> tuple[Instruction, ...]:
        result: list[Instruction] = []
        for ins in body:
            if isinstance(ins, Loop):
                ins = replace(ins, body=self.body(ins.body))
            elif isinstance(ins, Nonlin | Moment) and ins.space is not None:
                ins = self._factors(self._arguments(ins, result), result)
            result.append(ins)
        return tuple(result)

    def _arguments(self, ins: Nonlin | Moment, result: list[Instruction]) -> Nonlin | Moment:
        """Arguments of functions that are made of weights and numbers; what else is in one has a size of its own already."""
        known = {r.index for r in ins.domain}
        for call in sorted(ins.expr.atoms(sp.Function), key=sp.default_sort_key):
            for argument in call.args:
                names = {r.name for r in argument.atoms(Ref)}
                bound = {s for s in argument.free_symbols if s.is_integer} - _bound(argument)
                inner = any(f.atoms(Ref) for f in argument.atoms(sp.Function))
                first = names & self.vectors and names <= self.vectors | self.scalars
                if first and not isinstance(argument, Ref) and not inner and bound <= known | _widths(ins):
                    ins = replace(ins, expr=ins.expr.xreplace({argument: self._made(argument, ins, result)}))
        return ins

    def _factors(self, ins: Nonlin | Moment, result: list[Instruction]) -> Nonlin | Moment:
        """Factors of an average."""
        if not isinstance(ins, Moment):
            return ins
        factors = list(sp.Mul.make_args(ins.expr))
        for k, factor in enumerate(factors):
            others = {r.name for j, f in enumerate(factors) if j != k for r in f.atoms(Ref)}
            names = {r.name for r in factor.atoms(Ref)}
            if names & self.vectors and names & self.scalars and others & self.vectors:
                factors[k] = self._made(factor, ins, result)
        return replace(ins, expr=sp.Mul(*factors))

    def _made(self, expr: sp.Expr, ins: Nonlin | Moment, result: list[Instruction]) -> Ref:
        """A vector that is ``expr``."""
        name = next(n for n in (f"first{i}" for i in range(1, 10**6)) if n not in self.taken)
        self.taken.add(name)
        self.made.append(name)
        domain = tuple(r for r in ins.domain if r.index in expr.free_symbols)
        indices = sorted((s for s in expr.free_symbols if s.is_integer), key=str)
        out = Ref(name, *(s for s in indices if s not in _widths(ins)))
        result.append(Nonlin(out, expr, ins.space, domain, ins.span))
        return out


def _widths(ins: Nonlin | Moment) -> set[sp.Symbol]:
    return set(ins.space.size.free_symbols) if ins.space is not None else set()


def _bound(expr: sp.Expr) -> set[sp.Symbol]:
    return {limit[0] for total in expr.atoms(sp.Sum) for limit in total.limits}


def _simple(body: Sequence[Instruction]) -> list[Nonlin | Moment]:
    found: list[Nonlin | Moment] = []
    for ins in body:
        if isinstance(ins, Loop):
            found += _simple(ins.body)
        elif isinstance(ins, Nonlin | Moment):
            found.append(ins)
    return found
