"""A program as the papers list it: initial data, then one instruction a line, loops indented.

    h[l] = m1[l] + b[l]          Nonlin n

``Σ_α`` is the sum over the coordinates of a width (of a Moment), ``Σ_{k=-1..1}`` a finite sum, ``[φ(u⊗v)]`` the matrix
with the entries φ(u_α v_β) (of an OuterNonlin).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sympy as sp

from tp.program.formulas import MUL, Formulas, formula, index, ranges
from tp.program.ir import Domain, Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Simple, Space, Weight
from tp.program.reads import flat

_FORMULA_WIDTH = 80  # the instruction's kind stands right of this, unless formulas are shorter


def listing(program: Program) -> str:
    """The program, readable; the same text for equal programs."""
    first = {w.ref.name for w in program.weights} | program.tables.keys()
    rows = list(_rows(program.body, 1, Formulas(first)))
    column = min(_FORMULA_WIDTH, max((len(r.formula) for r in rows if r.kind), default=0))
    lines = [f"program {program.name}", *_header(program), ""]
    lines += [f"{r.formula:<{column}}   {r.kind}" if r.kind else r.formula for r in rows]
    return "\n".join([*lines, "  return " + ", ".join(map(formula, program.outputs)), ""])


# ---------------------------------------------------------------- instructions


@dataclass(frozen=True, slots=True)
class _Row:
    formula: str
    kind: str = ""


def _rows(body: Sequence[Instruction], depth: int, write: Formulas) -> Iterable[_Row]:
    """Rows of a block; the equality signs of neighbouring instructions stand below each other."""
    pad = "  " * depth
    for loops, group in groupby(body, key=lambda ins: isinstance(ins, Loop)):
        block = list(group)
        width = 0 if loops else max(len(formula(ins.out)) for ins in block if not isinstance(ins, Loop))
        for ins in block:
            if isinstance(ins, Loop):
                yield _Row(f"{pad}for {_loop_range(ins)}:")
                yield from _rows(ins.body, depth + 1, write)
            else:
                yield _Row(f"{pad}{formula(ins.out):<{width}} = {right_side(ins, write)}", _kind(ins))


def _loop_range(loop: Loop) -> str:
    r = loop.range
    ends = (index(r.hi), index(r.lo)) if loop.reverse else (index(r.lo), index(r.hi))
    return f"{r.index} = {ends[0]}, …, {ends[1]}"


def right_side(ins: Simple, write: Formulas) -> str:
    """What an instruction makes, as the listing has it."""
    match ins:
        case MatMul():
            return f"{formula(ins.W)}{'ᵀ' if ins.transpose else ''} {formula(ins.x)}"
        case Nonlin():
            return write.text(ins.expr)
        case Moment():
            number, expr = ins.expr.as_coeff_Mul()
            factor = sp.cancel(number * ins.coeff / ins.space.size)
            scale = "" if factor == 1 else f"{write.text(factor, MUL)} "
            return f"{scale}Σ_α {write.text(expr, MUL)}"
        case OuterNonlin():
            matrix = f"[{write.text(ins.entry)}]{'ᵀ' if ins.transpose else ''}"
            return f"{write.text(1 / ins.over.size, MUL)} {matrix} {formula(ins.x)}"


def _kind(ins: Simple) -> str:
    kind = f"{type(ins).__name__} {ins.space or '1'}"
    return f"{kind:<9}   {ranges(ins.domain)}" if ins.domain else kind


# ---------------------------------------------------------------- initial data


def _header(program: Program) -> list[str]:
    symbols = [[", ".join(map(str, program.constants))]] if program.constants else []
    blocks = [
        ("widths", [[_width(s)] for s in program.spaces]),
        ("symbols", symbols + [_table(name, t) for name, t in program.tables.items() if t[1] is None]),
        ("tables", [_table(name, t) for name, t in program.tables.items() if t[1] is not None]),
        ("inputs", [[f"{formula(d.ref)} ∈ ℝ", "", ranges(d.domain)] for d in program.data]),
        ("weights", [_weight(w) for w in program.weights]),
        ("outside", _outside(program)),
    ]
    return [line for title, rows in blocks for line in _columns(title, rows)]


def _columns(title: str, rows: list[list[str]]) -> Iterable[str]:
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(max(map(len, rows), default=0))]
    for i, row in enumerate(rows):
        cells = [f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False) if w]
        yield f"  {title if i == 0 else '':<9}{'   '.join(cells)}".rstrip()


def _width(s: Space) -> str:
    return s.name if str(s.size) == s.name else f"{s.name} = {formula(s.size)}"


def _table(name: str, table: tuple[Domain, Any]) -> list[str]:
    """A table or a family of symbols over its indices."""
    return [formula(Ref(name, *(r.index for r in table[0]))), "", ranges(table[0])]


def _weight(w: Weight) -> list[str]:
    """The member, its space, its law and its range."""
    space = "ℝ" if w.rows is None else f"ℝ^{w.rows}" if w.cols is None else f"ℝ^({w.rows}×{w.cols})"
    constant = w.variance == 0 and not w.short
    law = formula(w.mean) if constant else f"N({formula(w.mean)}, {formula(w.variance)})"
    if w.short or (constant and w.multiplier == 1 and w.rate == 1):
        law = f"~ {law}"
    else:
        law = f"= {formula(w.multiplier, MUL)} · {law}, rate {formula(w.rate)}"
    return [f"{formula(w.ref)} ∈ {space}", law + (", frozen" if w.frozen else ""), ranges(w.domain)]


def _outside(program: Program) -> list[list[str]]:
    """What an index outside its range means, and for which families."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, slots in program.boundary.items():
        symbols = _slot_symbols(program, name)
        for k, (mode, lo, hi) in enumerate(slots):
            if mode:
                names = rows.setdefault((f"{symbols.get(k, '·')} = {index(lo)}..{index(hi)}", mode), [])
                names += [] if name in names else [name]
    return [[place, f"{mode} for {', '.join(names)}"] for (place, mode), names in rows.items()]


def _slot_symbols(program: Program, name: str) -> dict[int, sp.Symbol]:
    """The index that the definitions of ``name`` have at each slot."""
    refs = [d.ref for d in program.data] + [w.ref for w in program.weights] + [ins.out for ins in flat(program.body)]
    return {k: e for ref in reversed(refs) if ref.name == name for k, e in enumerate(ref.index) if e.is_Symbol}
