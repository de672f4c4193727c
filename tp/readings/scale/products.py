"""What a matrix makes of a vector, in exponents: W₀ x with the dot parts that it owes to earlier Wᵀ y, and ΔW x.

Source: Yang 2020, *Tensor Programs III*, Definition E.3 (hat and dot parts); Yang & Hu 2021, *Tensor Programs IV*, section 7
(updates as stored outer products).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tp.readings.scale.concrete import Concrete, Member
from tp.readings.scale.forms import DEPTH, Form
from tp.readings.scale.letters import Alphabet, Letter, Letters
from tp.readings.scale.optimizers import Optimizer
from tp.readings.scale.rules import inner
from tp.readings.scale.sizes import Role, Sized, Step
from tp.readings.scale.tags import EMPTY, Cell, Excess, Part, Tag, largest, put


@dataclass
class Products:
    """What a walk knows at one time, and its rules for matrices. In ``w`` and ``u`` an exponent is given, or left a symbol."""

    program: Concrete
    optimizer: Optimizer
    w: Mapping[str, Form | None]  # per parameter: initial size is n^(-w); None: it starts at 0
    u: Mapping[str, Form]  # its updates are n^(-u) times what the optimizer makes of the gradient

    def __post_init__(self) -> None:
        leaves = self.program.leaves
        self.w_leaf = {p: leaves.leaf(Form().plus(f, Fraction(-1))) for p, f in self.w.items() if f is not None}
        self.u_leaf = {p: leaves.leaf(Form().plus(f, Fraction(-1))) for p, f in self.u.items()}
        self.excess = self.ordinary()
        self.crowds: dict[int, int] = {}  # a block's own letter: that of the sum over the blocks it stands for
        self.depth_half = leaves.leaf(Form(Fraction(0), ((DEPTH, Fraction(1, 2)),))) if self.program.depth else 0
        self.alphabet = Alphabet(self.program.letters)
        self.meeting = any(m.kind == "moment" and m.forward and not m.weights for m in self.program.members)
        self.unit, self.values, self.cutoff = 1, list[int](), 0
        self.cells: list[Cell] = []
        self.letters = self._none_met()
        self.pairs: dict[int, list[tuple[Cell, Cell, int, Any]]] = {}
        self.step = Step(0)

    def _none_met(self) -> Letters:
        return Letters(self.alphabet, self.program.depth is not None)

    def begin(self, point: Mapping[str, Fraction]) -> None:
        """Nothing is known yet but the values of all leaves at a point."""
        self.unit, self.values = self.program.leaves.scaled(point)
        halves = [self.values[k] for m in self.program.matrices for k in (m.rows, m.cols)]
        halves += [self.values[v.half] for v in self.program.vectors]
        self.cutoff = max(halves, default=0) * (1 if len({*halves, 0}) <= 2 else 3) + 4 * self.values[self.depth_half]
        self.cells = [EMPTY] * self.program.slots
        self.letters, self.pairs = self._none_met(), {}

    def ordinary(self) -> Excess:
        """What becomes of perturbations in excess, where no bounds are compared."""
        return Excess(drop=self.program.depth is not None)

    def role(self, kind: str, parameter: str, m: Member, sized: Sized) -> None:
        """Record what a weight is in an instruction."""
        self.step.roles[Role(kind, parameter, m.slot)] = sized

    # ------------------------------------------------------------ products

    def product(self, m: Member, record: bool) -> Cell:
        matrix = self.program.matrices[m.matrix]
        x = self.cells[m.x] if m.x is not None else EMPTY
        initial = self._initial_product(m, x)
        update = self.updates(m, x)
        if record:
            self.role("update", matrix.parameter, m, largest(update))
            into, out = (matrix.rows, matrix.cols) if m.transpose else (matrix.cols, matrix.rows)
            if initial[0] and self.values[out] < self.values[into]:
                self.role("init", matrix.parameter, m, largest(initial[1]))
            elif initial[0]:
                leaf = self.w_leaf[matrix.parameter]
                self.role("unit", matrix.parameter, m, (self.values[leaf] + self.values[into], (leaf, into)))
        for tag, (v, node) in update.items():
            put(initial[1], tag, v, node)
        return initial

    def _initial_product(self, m: Member, x: Cell) -> Cell:
        """W₀ x: a Gaussian part, and a part along y for every earlier Wᵀ y that x depends on."""
        matrix = self.program.matrices[m.matrix]
        leaf = self.w_leaf.get(matrix.parameter)
        made: Cell = ({}, {})
        if leaf is None:
            return made
        into, out = (matrix.rows, matrix.cols) if m.transpose else (matrix.cols, matrix.rows)
        w, s_in, s_out = self.values[leaf], self.values[into], self.values[out]
        way = m.matrix, m.transpose
        met: dict[Letter, list[tuple[int, Tag, int, Any]]] = {}
        for moved, part in enumerate(x):
            for tag, (v, node) in part.items():
                for letter in self.letters.of(way, tag, bool(moved)):
                    met.setdefault(letter, []).append((moved, tag, v, node))
                    put(made[moved], (self.alphabet.bit(letter), 0), v + w + s_in, ((node, leaf), into))
                for argument, (less, node_) in self._dots(m, tag, bool(moved)):
                    put(made[moved], argument, v + w + 2 * s_in - s_out + less, ((((node, leaf), into, 2), out, -1), node_))
        for letter, arguments in met.items():
            self._remember(letter, arguments)
        if self.meeting and m.forward and self.step.t == 0 and m.x is not None:
            self.letters.meet(way, m.x, tuple(x[0]), m.span)
        return made

    def _remember(self, letter: Letter, arguments: list[tuple[int, Tag, int, Any]]) -> None:
        """What W met, for dot parts: each component's size over that of the largest, at its largest over all calls."""
        top, top_node = max(((v, node) for _, _, v, node in arguments), key=lambda s: s[0])
        for moved, tag, v, node in arguments:
            put(self.letters.remembered[letter][moved], tag, v - top, 0 if v == top else (node, top_node, -1))

    def _dots(self, m: Member, tag: Tag, moved: bool) -> list[tuple[Tag, tuple[int, Any]]]:
        """For letters of the opposite direction by which ``tag`` has a mean derivative: what was multiplied then."""
        found: list[tuple[Tag, tuple[int, Any]]] = []
        for letter, bit in self.alphabet.of((m.matrix, not m.transpose)):
            if letter not in self.letters.remembered or not (tag[0] | tag[1]) & bit:
                continue
            if tag[0] & ~bit:
                continue
            for part in self.letters.remembered[letter][: 2 if moved else 1]:
                found += part.items()
        return found

    def updates(self, m: Member, x: Cell) -> Part:
        """ΔW x = −n^(-u) Σ out ⟨in, x⟩ over the stored outer products."""
        made: Part = {}
        matrix = self.program.matrices[m.matrix]
        leaf = self.u_leaf.get(matrix.parameter)
        if leaf is None or (not x[0] and not x[1]):
            return made
        into = matrix.rows if m.transpose else matrix.cols
        for left, right, size, node in self.pairs.get(m.matrix, ()):
            out, other = (right, left) if m.transpose else (left, right)
            overlap = inner(other, x, self.values[into], into)
            if overlap is None:
                continue
            v = overlap[0] + size + self.values[leaf]
            factor = ((overlap[1], node), leaf)
            for part in out:
                for tag, (value_, node_) in part.items():
                    put(made, tag, value_ + v, (node_, factor))
        return made

    # ------------------------------------------------------------ crowds of blocks

    def crowd(self, cell: Cell, block: int, odd: int, even: int) -> Cell:
        """The crowd's part, in letters of its own: √L^odd times where a block's own letter is odd, else √L^even times."""
        own = self.own(block)
        half, node = self.values[self.depth_half], self.depth_half
        made: Cell = ({}, {})
        for part, into in zip(cell, made, strict=True):
            for tag, (v, one) in part.items():
                k = odd if tag[0] & own else even
                put(into, (self._renamed(tag[0], own), self._renamed(tag[1], own)), v + k * half, (one, node, k))
        return made

    def own(self, block: int) -> int:
        """The letters of one block: of its vectors, and of all products with its matrices."""
        item = self.program.blocks[block]
        own = item.letters
        for matrix in item.matrices:
            for transpose in (False, True):
                for _, bit in self.alphabet.of((matrix, transpose)):
                    own |= bit
        return own

    def _renamed(self, letters: int, own: int) -> int:
        mine = letters & own
        letters &= ~own
        while mine:
            bit = mine & -mine
            mine ^= bit
            if bit not in self.crowds:
                self.crowds[bit] = self.alphabet.fresh()
            letters |= self.crowds[bit]
        return letters
