"""A training run in exponents: forward, backward, update, at a point of the space of parametrizations.

Every variable is a cell of components, each with its correlations (a tag) and its size (a linear form in the unknowns and its
value at the point). One sample stands for all, for their components are generically correlated. What is recorded per step:
the sizes of all variables, and the part of each parameter in the instructions that use it.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 7 (the program of training) and appendix H (sizes); the dot parts of a
matrix that meets its own transpose: Yang 2020, *Tensor Programs III*, Definition E.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tp.errors import LimitError, Message
from tp.progress import tick
from tp.readings.scale.concrete import Concrete, Member
from tp.readings.scale.expressions import Op, State, average, value
from tp.readings.scale.forms import DEPTH, Form
from tp.readings.scale.optimizers import Optimizer
from tp.readings.scale.rules import inner
from tp.readings.scale.tags import (
    EMPTY,
    LIMIT,
    NONE,
    Cell,
    Excess,
    Part,
    Tag,
    corr,
    divided,
    largest,
    pruned,
    put,
    shifted,
    union,
)

Sized = tuple[int, Any] | None  # a value and its node; None where there is nothing
Letter = tuple[int, bool, int]  # matrix, transposed, class
FAR = 1 << 60
MANY = 160  # perturbations in the second of two runs with a depth
OF_A_RUN = ("excess", "unit", "values", "cutoff", "cells", "remembered", "pairs", "step")  # what a walk knows of its last run


@dataclass(frozen=True, slots=True)
class Role:
    """One thing that is wanted or forbidden: ``kind`` of ``parameter`` seen in member ``slot``.

    ``update``: Δp acts on x. ``init``: p's initial value acts on what training changed. ``unit``: what p's initial
    value makes of Θ(1) arguments, or of the input. ``branch``: what the initial blocks that p ends add to a stream.
    """

    kind: str
    parameter: str
    slot: int


@dataclass
class Step:
    """Sizes after ``t`` updates: of every forward member, (base, pert), and of every role."""

    t: int
    sizes: dict[int, tuple[Sized, Sized]] = field(default_factory=dict)
    roles: dict[Role, Sized] = field(default_factory=dict)
    gradients: dict[str, Sized] = field(default_factory=dict)


@dataclass
class Walk:
    """Evaluates a concretised program. ``unknowns`` fixes which exponents are symbols and which are given forms."""

    program: Concrete
    optimizer: Optimizer
    w: Mapping[str, Form | None]  # per parameter: initial size is n^(-w); None: it starts at 0
    u: Mapping[str, Form]  # its updates are n^(-u) times what the optimizer makes of the gradient

    def __post_init__(self) -> None:
        leaves = self.program.leaves
        self.w_leaf = {p: leaves.leaf(Form().plus(f, Fraction(-1))) for p, f in self.w.items() if f is not None}
        self.u_leaf = {p: leaves.leaf(Form().plus(f, Fraction(-1))) for p, f in self.u.items()}
        self.excess = self._ordinary()
        self.crowds: dict[int, int] = {}  # a block's own letter: that of the sum over the blocks it stands for
        self.depth_half = leaves.leaf(Form(Fraction(0), ((DEPTH, Fraction(1, 2)),))) if self.program.depth else 0
        self.bits: dict[Letter, int] = {}
        self.forward = [m for m in self.program.members if m.forward]
        self.backward = [m for m in self.program.members if not m.forward]
        self.vector_slots = {v.slot for v in self.program.vectors}
        self.parameter_of = {v.slot: v.parameter for v in self.program.vectors}

    # ------------------------------------------------------------ a run

    def run(self, point: Mapping[str, Fraction], steps: int, roles: int | None = None) -> list[Step]:
        """The sizes at steps 0…``steps``, and the roles; ``roles``: those of vector weights up to this step only."""
        self.unit, self.values = self.program.leaves.scaled(point)
        halves = [self.values[k] for m in self.program.matrices for k in (m.rows, m.cols)]
        halves += [self.values[v.half] for v in self.program.vectors]
        self.cutoff = max(halves, default=0) * (1 if len({*halves, 0}) <= 2 else 3) + 4 * self.values[self.depth_half]
        self.cells: list[Cell] = [EMPTY] * self.program.slots
        self.remembered: dict[Letter, tuple[Part, Part]] = {}
        self.pairs: dict[int, list[tuple[Cell, Cell, int, Any]]] = {}
        self._initial()
        found = []
        for t in range(steps + 1):
            self.step = Step(t)
            self._pass(self.forward, record=True, roles=roles is None or t <= roles)
            if t < steps:
                self._pass(self.backward, record=False)
                self._update()
            found.append(self.step)
        return found

    def certified(self, point: Mapping[str, Fraction], steps: int) -> list[Step]:
        """A run whose sizes do not depend on what becomes of excess perturbations; ``LimitError`` where one does.

        Of the width, upper and lower bounds are compared, which proves the sizes up to the first that grows. With a depth, where
        upper bounds are too coarse, lower bounds with few and with many perturbations are.
        """
        self.excess = self._ordinary()
        found = self.run(point, steps)
        if not self.excess.met:
            return found
        kept = {name: getattr(self, name) for name in OF_A_RUN}
        self.excess = Excess(drop=True, limit=LIMIT if self.program.depth is None else MANY)
        other = self.run(point, steps, roles=-1)
        for name, known in kept.items():  # what is asked next is asked of the first run
            setattr(self, name, known)
        for step, again in zip(found, other, strict=True):
            for m in self.forward:
                sizes = step.sizes[m.slot]
                if any(_value(a) != _value(b) for a, b in zip(sizes, again.sizes[m.slot], strict=True)):
                    reason = f"`{m.name}` has more than {LIMIT} perturbations; its size is known between bounds only"
                    remedy = "ask for fewer {}, or for a network with fewer different layers"
                    ways = remedy.format("steps=…"), remedy.format("--steps")
                    raise LimitError(Message(m.span, reason, ways[0], "too many parts", ways[1]))
                if any(size is not None and size[0] > 0 for size in sizes):
                    return found
        return found

    def _ordinary(self) -> Excess:
        return Excess(drop=self.program.depth is not None)

    def exponent(self, sized: Sized) -> Fraction | None:
        """The value of a size, as a fraction."""
        return None if sized is None else Fraction(sized[0]) / self.unit

    def form(self, sized: Sized) -> Form:
        """The form that attains a size."""
        assert sized is not None
        return self.program.leaves.written(sized[1])

    def _initial(self) -> None:
        for v in self.program.vectors:
            leaf = self.w_leaf.get(v.parameter)
            self.cells[v.slot] = EMPTY if leaf is None else ({v.letter: (self.values[leaf], leaf)}, {})

    def _pass(self, members: list[Member], record: bool, roles: bool = False) -> None:
        for m in members:
            if m.kind == "matmul":
                cell = self._matmul(m, record)
            else:
                cell = self._evaluated(m, m.op)
                if roles:
                    self._roles(m)
                    self._branches(m)
            self.cells[m.slot] = pruned(cell, self.cutoff, self.excess)
            if record:
                self.step.sizes[m.slot] = largest(cell[0]), largest(cell[1])

    def _evaluated(self, m: Member, op: Op) -> Cell:
        tick()
        state = State(self.cells, self.values, self.cutoff, self._summed, self.excess)
        if m.kind == "moment":
            return average(op, state, m.half)
        cell = value(op, state)
        if not m.vector:
            return tuple({NONE: best} if (best := largest(part)) else {} for part in cell)  # type: ignore[return-value]
        return cell

    def _roles(self, m: Member) -> None:
        """The part that each vector weight has in one instruction."""
        for slot in m.weights:
            name = self.parameter_of[slot]
            saved = [(s, self.cells[s]) for s in dict.fromkeys(m.op.slots())]
            own = self.cells[slot]
            for s, c in saved:
                self.cells[s] = own if s == slot else (union([(c[0], {}), (c[1], {})])[0], {})
            self._role("update", name, m, largest(self._evaluated(m, m.op)[1]))
            for s, c in saved:
                self.cells[s] = c
            if own[0] and m.kind == "moment":
                self._role("init", name, m, largest(self._only(m, slot)))
            if own[0] and m.kind == "nonlin":
                self._role("unit", name, m, self._unit(m, slot))

    def _unit(self, m: Member, slot: int) -> Sized:
        """What the initial weight in ``slot`` makes of the other arguments of ``m``, were they all Θ(1)."""
        saved = {s: self.cells[s] for s in m.op.slots()}
        for s, c in saved.items():
            if s != slot:
                self.cells[s] = dict.fromkeys(c[0], (0, 0)), {}
        base = self._evaluated(m, m.op)[0]
        for s, c in saved.items():
            self.cells[s] = c
        letter = next(iter(saved[slot][0]))[0]
        return largest({t: c for t, c in base.items() if not letter or (t[0] | t[1]) & letter})

    def _only(self, m: Member, slot: int) -> Part:
        """The perturbation of ``m`` through its other arguments, the weight in ``slot`` staying at its initial value."""
        saved = {s: self.cells[s] for s in m.op.slots()}
        for s, c in saved.items():
            keep = s == slot or s not in self.vector_slots
            self.cells[s] = (c[0], {}) if s == slot else c if keep else (c[0], {})
        part = self._evaluated(m, m.op)[1]
        for s, c in saved.items():
            self.cells[s] = c
        return part

    def _role(self, kind: str, parameter: str, m: Member, sized: Sized) -> None:
        role = Role(kind, parameter, m.slot)
        self.step.roles[role] = sized

    def first_order(self, point: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """The size of Δp x per weight where activations stay as they begin and only read-outs move: TP4's -r_l."""
        self.run(point, 0)
        self._pass(self.backward, record=False)
        self._update()
        readouts = {s for m in self.forward if m.kind == "moment" for s in m.weights}
        readouts -= {s for m in self.forward if m.kind == "nonlin" for s in m.weights}
        for v in self.program.vectors:
            if v.slot not in readouts:
                self.cells[v.slot] = (self.cells[v.slot][0], {})
        self.pairs = {}
        self._pass(self.backward, record=False)
        found: dict[str, Fraction] = {}
        self._update()
        for m in self.forward:
            if m.kind == "matmul" and m.x is not None:
                self._note(found, self.program.matrices[m.matrix].parameter, largest(self._updates(m, self.cells[m.x])))
        for v in self.program.vectors:
            if v.slot not in readouts:
                self._note(found, v.parameter, largest(self.cells[v.slot][1]))
        return found

    def _note(self, found: dict[str, Fraction], parameter: str, sized: Sized) -> None:
        size = self.exponent(sized)
        if size is not None:
            found[parameter] = max(size, found.get(parameter, size))

    # ------------------------------------------------------------ depth

    def _summed(self, cell: Cell, block: int) -> Cell:
        """A block's cell and the sum of the cells of the Θ(L) blocks that it stands for."""
        return union([cell, self._crowd(cell, block, 1, 2)])

    def _crowd(self, cell: Cell, block: int, odd: int, even: int) -> Cell:
        """The crowd's part, in letters of its own: √L^odd times where a block's own letter is odd, else √L^even times."""
        own = self._own(block)
        half, node = self.values[self.depth_half], self.depth_half
        made: Cell = ({}, {})
        for part, into in zip(cell, made, strict=True):
            for tag, (v, one) in part.items():
                k = odd if tag[0] & own else even
                put(into, (self._renamed(tag[0], own), self._renamed(tag[1], own)), v + k * half, (one, node, k))
        return made

    def _branches(self, m: Member) -> None:
        """At initialization: the sum over all blocks of each term that a block adds to its stream, in what they differ by."""
        terms = [t for t in m.op.args if isinstance(t, Op) and t.kind == "crowd"] if m.op.kind == "add" else []
        for term in terms if self.step.t == 0 else ():
            inside, block = term.args
            state = State(self.cells, self.values, self.cutoff, self._summed, self.excess)
            for added in inside.args if inside.kind == "add" else (inside,):
                name = self.program.last_weight(added.slots())
                base = value(added, state)[0]
                own = self._own(block)
                differing = {t: c for t, c in base.items() if (t[0] | t[1]) & own}
                made = self._crowd((differing, {}), block, 1, 1) if differing else self._crowd((base, {}), block, 2, 2)
                if name is not None and base:
                    self._role("branch", name, m, largest(made[0]))

    def alone(self, parameter: str) -> Sized:
        """The largest change of anything after a run's last step, by the updates of one weight alone."""
        saved = [(v, self.cells[v.slot]) for v in self.program.vectors], self.pairs
        for v, cell in saved[0]:
            self.cells[v.slot] = cell if v.parameter == parameter else (cell[0], {})
        self.pairs = {k: p for k, p in self.pairs.items() if self.program.matrices[k].parameter == parameter}
        self._pass(self.forward, record=False)
        changes = [best for m in self.forward if (best := largest(self.cells[m.slot][1])) is not None]
        for v, cell in saved[0]:
            self.cells[v.slot] = cell
        self.pairs = saved[1]
        return max(changes, key=lambda s: s[0], default=None)

    def _own(self, block: int) -> int:
        """The letters of one block: of its vectors, and of all products with its matrices."""
        item = self.program.blocks[block]
        own = item.letters
        for matrix in item.matrices:
            for letter in ((matrix, t, c) for t in (False, True) for c in (0, 1)):
                own |= self.bits.get(letter, 0)
        return own

    def _renamed(self, letters: int, own: int) -> int:
        mine = letters & own
        letters &= ~own
        while mine:
            bit = mine & -mine
            mine ^= bit
            if bit not in self.crowds:
                self.crowds[bit] = self._bit()
            letters |= self.crowds[bit]
        return letters

    # ------------------------------------------------------------ matrices

    def _matmul(self, m: Member, record: bool) -> Cell:
        matrix = self.program.matrices[m.matrix]
        x = self.cells[m.x] if m.x is not None else EMPTY
        initial = self._initial_product(m, x)
        update = self._updates(m, x)
        if record:
            self._role("update", matrix.parameter, m, largest(update))
            into, out = (matrix.rows, matrix.cols) if m.transpose else (matrix.cols, matrix.rows)
            if initial[0] and self.values[out] < self.values[into]:
                self._role("init", matrix.parameter, m, largest(initial[1]))
            elif initial[0]:
                leaf = self.w_leaf[matrix.parameter]
                self._role("unit", matrix.parameter, m, (self.values[leaf] + self.values[into], (leaf, into)))
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
        met: dict[Letter, list[tuple[int, Tag, int, Any]]] = {}
        for moved, part in enumerate(x):
            for tag, (v, node) in part.items():
                letter = self._letter(m.matrix, m.transpose, tag, bool(moved))
                met.setdefault(letter, []).append((moved, tag, v, node))
                put(made[moved], (self.bits[letter], 0), v + w + s_in, ((node, leaf), into))
                for argument, (less, node_) in self._dots(m, tag, bool(moved)):
                    put(made[moved], argument, v + w + 2 * s_in - s_out + less, ((((node, leaf), into, 2), out, -1), node_))
        for letter, arguments in met.items():
            self._remember(letter, arguments)
        return made

    def _remember(self, letter: Letter, arguments: list[tuple[int, Tag, int, Any]]) -> None:
        """What W met, for dot parts: each component's size over that of the largest, at its largest over all calls."""
        top, top_node = max(((v, node) for _, _, v, node in arguments), key=lambda s: s[0])
        for moved, tag, v, node in arguments:
            put(self.remembered[letter][moved], tag, v - top, 0 if v == top else (node, top_node, -1))

    def _letter(self, matrix: int, transpose: bool, tag: Tag, moved: bool) -> Letter:
        """The Gaussian part of W x, by whether x is correlated with what W met at initialization."""
        first = self.remembered.get((matrix, transpose, 0))
        if first is None and not moved:
            first = self.remembered[matrix, transpose, 0] = ({}, {})
            known = True
        else:
            known = first is not None and any(corr(tag, other) for other in first[0])
        letter = (matrix, transpose, 0 if known else 1)
        self.remembered.setdefault(letter, ({}, {}))[moved].setdefault(tag, (-FAR, 0))
        if letter not in self.bits:
            self.bits[letter] = self._bit()
        return letter

    def _bit(self) -> int:
        """A bit that no letter has yet."""
        return 1 << (self.program.letters + len(self.bits) + len(self.crowds))

    def _dots(self, m: Member, tag: Tag, moved: bool) -> list[tuple[Tag, tuple[int, Any]]]:
        """For letters of the opposite direction by which ``tag`` has a mean derivative: what was multiplied then."""
        found: list[tuple[Tag, tuple[int, Any]]] = []
        for kind in (0, 1):
            letter = (m.matrix, not m.transpose, kind)
            bit = self.bits.get(letter, 0)
            if letter not in self.remembered or not (tag[0] | tag[1]) & bit:
                continue
            if tag[0] & ~bit:
                continue
            for part in self.remembered[letter][: 2 if moved else 1]:
                found += part.items()
        return found

    def _updates(self, m: Member, x: Cell) -> Part:
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

    # ------------------------------------------------------------ updates

    def _update(self) -> None:
        normalised = self.optimizer.normalised
        fresh: dict[int, list[tuple[Cell, Cell]]] = {}
        for use in self.program.uses:
            out, x = self.cells[use.out], self.cells[use.x]
            if (out[0] or out[1]) and (x[0] or x[1]):
                found = [(out, x)]
                if use.block >= 0:  # all blocks use the matrix, and its gradient is the sum of theirs
                    found.append((self._crowd(out, use.block, 1, 2), self._crowd(x, use.block, -1, 0)))
                fresh.setdefault(use.matrix, []).extend((b, a) if use.transpose else (a, b) for a, b in found)
        for k, pairs in fresh.items():
            top = max((_joint(left, right) for left, right in pairs), key=lambda s: s[0])
            self._gradient(self.program.matrices[k].parameter, top)
            stored = self.pairs.setdefault(k, [])
            for left, right in pairs:
                stored.append((left, right, 0, 0) if normalised == "none" else self._normalised(k, left, right, top))
        for v in self.program.vectors:
            if v.gradient is None or v.parameter not in self.u_leaf:
                continue
            g = self.cells[v.gradient]
            best = _top(g)
            if best is None:
                continue
            self._gradient(v.parameter, best)
            leaf = self.u_leaf[v.parameter]
            change = shifted(g if normalised == "none" else divided(g, best), self.values[leaf], leaf)
            base, pert = self.cells[v.slot]
            self.cells[v.slot] = base, union([({}, pert), ({}, change[0]), ({}, change[1])])[1]

    def _normalised(self, k: int, left: Cell, right: Cell, top: tuple[int, Any]) -> tuple[Cell, Cell, int, Any]:
        """left rightᵀ over the size of the whole gradient: of its entries, or its spectral norm (of rank one, in effect)."""
        own = _joint(left, right)
        left, right = divided(left, _top(left)), divided(right, _top(right))
        size, node = (0, 0) if own[0] == top[0] else (own[0] - top[0], (own[1], top[1], -1))
        if self.optimizer.normalised == "spectral":
            rows, cols = self.program.matrices[k].rows, self.program.matrices[k].cols
            size, node = size - self.values[rows] - self.values[cols], ((node, rows, -1), cols, -1)
        return left, right, size, node

    def _gradient(self, parameter: str, sized: tuple[int, Any]) -> None:
        before = self.step.gradients.get(parameter)
        if before is None or sized[0] > before[0]:
            self.step.gradients[parameter] = sized


def _top(cell: Cell) -> tuple[int, Any] | None:
    """The largest component, initial or not."""
    return max([*cell[0].values(), *cell[1].values()], key=lambda s: s[0], default=None)


def _value(sized: Sized) -> int | None:
    return None if sized is None else sized[0]


def _joint(left: Cell, right: Cell) -> tuple[int, Any]:
    """The size of the entries of left rightᵀ."""
    (a, m), (b, n) = (max([*c[0].values(), *c[1].values()], key=lambda s: s[0]) for c in (left, right))
    return a + b, (m, n)
