"""A program as the papers list it: initial data, then one instruction a line, loops indented.

    h[l] = b[l] + m1[l]          Nonlin n

``Σ_α`` is the sum over the coordinates of a width (of a Moment), ``Σ_{k=-1..1}`` a finite sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import sympy as sp
from sympy.printing.str import StrPrinter

from tp.program.ir import Domain, Instruction, Loop, MatMul, Moment, Nonlin, Program, Range, Ref, Softmax, Weight
from tp.program.reads import flat

_ADD, _MUL, _POW, _ATOM = range(4)
_FORMULA_WIDTH = 80  # the instruction's kind stands right of this, unless formulas are shorter


def listing(program: Program) -> str:
    """The program, readable; the same text for equal programs."""
    lines = [f"program {program.name}", *_header(program), ""]
    rows = list(_rows(program.body, 1))
    column = min(_FORMULA_WIDTH, max((len(r.formula) for r in rows if r.kind), default=0))
    lines += [f"{r.formula:<{column}}   {r.kind}" if r.kind else r.formula for r in rows]
    return "\n".join([*lines, "  return " + ", ".join(map(formula, program.outputs)), ""])


# ---------------------------------------------------------------- instructions


@dataclass(frozen=True, slots=True)
class _Row:
    formula: str
    kind: str = ""


def _rows(body: Sequence[Instruction], depth: int) -> Iterable[_Row]:
    """Rows of a block; the equality signs of neighbouring instructions stand below each other."""
    pad = "  " * depth
    for loops, group in groupby(body, key=lambda ins: isinstance(ins, Loop)):
        block = list(group)
        width = 0 if loops else max(len(formula(ins.out)) for ins in block if not isinstance(ins, Loop))
        for ins in block:
            if isinstance(ins, Loop):
                yield _Row(f"{pad}for {_loop_range(ins)}:")
                yield from _rows(ins.body, depth + 1)
            else:
                yield _Row(f"{pad}{formula(ins.out):<{width}} = {_right(ins)}", _kind(ins))


def _loop_range(loop: Loop) -> str:
    r = loop.range
    ends = (formula(r.hi), formula(r.lo)) if loop.reverse else (formula(r.lo), formula(r.hi))
    return f"{r.index} = {ends[0]}, …, {ends[1]}"


def _right(ins: MatMul | Nonlin | Moment) -> str:
    match ins:
        case MatMul():
            return f"{formula(ins.W)}{'ᵀ' if ins.transpose else ''} {formula(ins.x)}"
        case Nonlin():
            return formula(ins.expr)
        case Moment():
            number, expr = ins.expr.as_coeff_Mul()
            factor = sp.cancel(number * ins.coeff / ins.space.size)
            scale = "" if factor == 1 else f"{formula(factor, _MUL)} "
            return f"{scale}Σ_α {formula(expr, _MUL)}"


def _kind(ins: MatMul | Nonlin | Moment) -> str:
    kind = f"{type(ins).__name__} {ins.space or '1'}"
    return f"{kind:<9}   {ranges(ins.domain)}" if ins.domain else kind


def ranges(domain: Domain) -> str:
    """``p = 0..31, k = -1..1``."""
    return ", ".join(_range(r) for r in domain)


def _range(r: Range) -> str:
    return f"{r.index} = {index(r.lo)}..{index(r.hi)}"


# ---------------------------------------------------------------- initial data


def _header(program: Program) -> list[str]:
    blocks = [
        ("widths", [[str(s) if s.size == sp.Symbol(s.name, **_WIDTH) else f"{s} = {formula(s.size)}"] for s in program.spaces]),
        ("symbols", [[", ".join(map(str, program.constants))]] if program.constants else []),
        ("tables", [[f"{name}[{','.join(str(r.index) for r in t[0])}]", "", ranges(t[0])] for name, t in program.tables.items()]),
        ("inputs", [[f"{formula(d.ref)} ∈ ℝ", "", ranges(d.domain)] for d in program.data]),
        ("weights", [_weight(w) for w in program.weights]),
        ("outside", _outside(program)),
    ]
    lines = []
    for title, rows in blocks:
        widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(max(map(len, rows), default=0))]
        for i, row in enumerate(rows):
            cells = [f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False) if w]
            lines.append(f"  {title if i == 0 else '':<9}{'   '.join(cells)}".rstrip())
    return lines


_WIDTH = {"integer": True, "positive": True}


def _weight(w: Weight) -> list[str]:
    """The member, its space, its law and its range."""
    space = "ℝ" if w.rows is None else f"ℝ^{w.rows}" if w.cols is None else f"ℝ^({w.rows}×{w.cols})"
    if w.variance == 0:
        law = formula(w.mean)
    else:
        law = f"N({formula(w.mean)}, {formula(w.variance)})"
    if w.short:
        law = f"~ {law}"
    else:
        law = f"= {formula(w.multiplier, _MUL)} · {law}, rate {formula(w.rate)}"
    return [f"{formula(w.ref)} ∈ {space}", law + (", frozen" if w.frozen else ""), ranges(w.domain)]


def _outside(program: Program) -> list[list[str]]:
    """What an index outside its range means, and for which families."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, slots in program.boundary.items():
        symbols = _slot_symbols(program, name)
        for k, (mode, lo, hi) in enumerate(slots):
            if mode:
                names = rows.setdefault((f"{symbols.get(k, '·')} = {formula(lo)}..{formula(hi)}", mode), [])
                names += [] if name in names else [name]
    return [[place, f"{mode} for {', '.join(names)}"] for (place, mode), names in rows.items()]


def _slot_symbols(program: Program, name: str) -> dict[int, sp.Symbol]:
    """The index that the definitions of ``name`` have at each slot."""
    refs = [d.ref for d in program.data] + [w.ref for w in program.weights] + [ins.out for ins in flat(program.body)]
    return {k: e for ref in reversed(refs) if ref.name == name for k, e in enumerate(ref.index) if e.is_Symbol}


# ---------------------------------------------------------------- expressions


def formula(expr: sp.Expr, outer: int = _ADD) -> str:
    """A SymPy expression in the listing's notation; parenthesised where ``outer`` binds tighter."""
    text, binds = _formula(expr)
    return f"({text})" if binds < outer else text


def index(expr: sp.Expr) -> str:
    """An index expression, without blanks: ``2*p+k``."""
    if not isinstance(expr, sp.Add):
        return formula(expr).replace("·", "*").replace(" ", "")
    terms = sorted((t for t in expr.args if not t.is_number), key=lambda t: str(t.as_coeff_Mul()[1]), reverse=True)
    text = "".join(("+" if i and not t.could_extract_minus_sign() else "") + index(t) for i, t in enumerate(terms))
    number = expr - sp.Add(*terms)
    return f"{text}+{number}" if number > 0 else f"{text}{number}" if number else text


def _formula(expr: sp.Expr) -> tuple[str, int]:
    match expr:
        case Ref():
            inner = ",".join(map(index, expr.index))
            return (f"{expr.name}[{inner}]" if inner else expr.name), _ATOM
        case Softmax():
            at, _, bound, lo, hi = expr.args
            return f"softmax({formula(at)} over {str(bound).rstrip('_')} = {index(lo)}..{index(hi)})", _ATOM
        case sp.Sum():
            limits = ", ".join(f"{v}={index(lo)}..{index(hi)}" for v, lo, hi in reversed(expr.limits))
            return f"Σ_{{{limits}}} {formula(expr.function, _MUL)}", _MUL
        case sp.Add():
            return _sum(expr), _ADD
        case sp.Mul():
            return _product(expr)
        case sp.Pow():
            return _power(expr)
        case sp.Rational() if not expr.is_Integer or expr < 0:
            return str(expr), _ADD if expr < 0 else _MUL
        case sp.Function() | sp.Max() | sp.Min():
            name = {"Abs": "abs", "Max": "max", "Min": "min"}.get(type(expr).__name__, type(expr).__name__)
            return f"{name}({', '.join(map(formula, expr.args))})", _ATOM
        case _:
            return StrPrinter().doprint(expr), _ATOM


def _sum(expr: sp.Add) -> str:
    """Terms in SymPy's order, a leading minus moved back."""
    terms = [t.as_coeff_Mul() for t in expr.as_ordered_terms()]
    terms.sort(key=lambda term: bool(term[0] < 0))
    text = ""
    for c, term in terms:
        sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
        text += sign + formula(abs(c) * term, _ADD if not sign.strip("+ ") else _MUL)
    return text


def _product(expr: sp.Mul) -> tuple[str, int]:
    """A number, variables, functions, at last finite sums; negative powers below one bar."""
    c, rest = expr.as_coeff_Mul()
    above, below = [], []
    for factor in sp.Mul.make_args(rest) if rest != 1 else ():
        base, power = factor.as_base_exp() if isinstance(factor, sp.Pow) else (factor, sp.S.One)
        if power.could_extract_minus_sign() and not isinstance(base, sp.Integer):
            below.append(base**-power)
        else:
            above.append(factor)
    above, below = sorted(above, key=_factor_order), sorted(below, key=_factor_order)
    last_is_sum = bool(above) and isinstance(above[-1], sp.Sum)
    if last_is_sum and not below:  # 1/32·Σ…: a bar would need a parenthesis
        numbers = [str(abs(c))] if abs(c) != 1 else []
    else:
        numbers = [str(abs(c.p))] if abs(c.p) != 1 else []
        below = ([sp.Integer(c.q)] if c.q != 1 else []) + below
    texts = [formula(f, _POW) for f in above[:-1]] + [formula(f, _MUL if last_is_sum and not below else _POW) for f in above[-1:]]
    top = "·".join(numbers + texts) or "1"
    bottom = "·".join(formula(f, _POW) for f in below)
    if bottom:
        top += f"/({bottom})" if len(below) > 1 else f"/{bottom}"
    return ("-" + top, _ADD) if c < 0 else (top, _MUL)


def _factor_order(factor: sp.Expr) -> tuple[int, str]:
    """Constants, variables, powers and functions, sums."""
    if not factor.has(Ref):
        return 0, formula(factor)
    kinds = (Ref, sp.Pow, sp.Function, sp.Add, sp.Sum)
    return 1 + next((k for k, kind in enumerate(kinds) if isinstance(factor, kind)), 2), formula(factor)


def _power(expr: sp.Pow) -> tuple[str, int]:
    base, power = expr.args
    if power == sp.Rational(1, 2):
        return f"sqrt({formula(base)})", _ATOM
    if power == sp.Rational(-1, 2):
        return f"1/sqrt({formula(base)})", _MUL
    if power == -1:
        return f"1/{formula(base, _POW)}", _MUL
    return f"{formula(base, _ATOM)}^{formula(power, _ATOM)}", _POW
