"""What the names in a table of sizes stand for: representatives of an index for all its values, temporaries for formulas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tp.program.formulas import Formulas, formula
from tp.program.ir import MatMul, Program
from tp.program.listing import right_side
from tp.program.reads import flat, reads
from tp.readings.scale.concrete import Concrete

NAME = re.compile(r"[^\W\d]\w*")


def legend(program: Program, concrete: Concrete, names: Iterable[str]) -> tuple[str, ...]:
    """A line for the representatives, and one for each temporary that is in one of ``names``, or in such a formula."""
    names = list(names)
    shown = {name.split("[")[0] for text in names for name in re.findall(r"[^\W\d]\w*\[", text)}
    many = [s for s in concrete.standing if s.families & shown and (s.first, s.last) != (s.value, s.value)]
    said = ", ".join(f"{s.index} = {s.value} {'for' if k else 'stands for'} {s.first}..{s.last}" for k, s in enumerate(many))
    lines = [f"index {said}"] if said else []
    return (*lines, *_formulas(program, names))


def _formulas(program: Program, names: Sequence[str]) -> list[str]:
    """The definitions of temporaries, in the order of the program; a product is called by its text."""
    first = {w.ref.name for w in program.weights} | program.tables.keys()
    write, wanted = Formulas(first), {name for text in names for name in NAME.findall(text)} & program.temps
    found = []
    for ins in reversed(list(flat(program.body))):
        if ins.out.name in wanted:
            found.append(f"{formula(ins.out)} = {right_side(ins, write)}")
            wanted |= {r.name for r, _ in reads(ins)} & program.temps if not isinstance(ins, MatMul) else set()
    return found[::-1]
