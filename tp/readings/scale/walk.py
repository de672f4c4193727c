"""A training run in exponents: forward, backward, update, at a point of the space of parametrizations.

Every variable is a cell of components, each with its correlations (a tag) and its size (a linear form in the unknowns and its
value at the point). One sample stands for all, for their components are generically correlated. What is recorded per step:
the sizes of all variables, and the part of each parameter in the instructions that use it.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 7 (the program of training) and appendix H (sizes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tp.errors import LimitError, Message
from tp.progress import tick
from tp.readings.scale.concrete import Member
from tp.readings.scale.expressions import Op, State, average, value
from tp.readings.scale.forms import Form
from tp.readings.scale.products import Products
from tp.readings.scale.sizes import Sized, Step
from tp.readings.scale.tags import (
    EMPTY,
    LIMIT,
    NONE,
    Cell,
    Excess,
    Part,
    divided,
    largest,
    pruned,
    shifted,
    union,
)

MANY = 160  # perturbations in the second of two runs with a depth
OF_A_RUN = ("excess", "unit", "values", "cutoff", "cells", "letters", "pairs", "step")  # what a walk knows of its last run


@dataclass
class Walk(Products):
    """Evaluates a concretised program, step by step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.forward = [m for m in self.program.members if m.forward]
        self.backward = [m for m in self.program.members if not m.forward]
        self.vector_slots = {v.slot for v in self.program.vectors}
        self.parameter_of = {v.slot: v.parameter for v in self.program.vectors}

    # ------------------------------------------------------------ a run

    def run(self, point: Mapping[str, Fraction], steps: int, roles: int | None = None) -> list[Step]:
        """The sizes at steps 0…``steps``, and the roles; ``roles``: those of vector weights up to this step only."""
        self._beginning(point, roles is None or roles >= 0, steps > 0)
        found = [self.step]
        for t in range(1, steps + 1):
            self._update()
            self.step = Step(t)
            self._pass(self.forward, record=True, roles=roles is None or t <= roles)
            if t < steps:
                self._pass(self.backward, record=False)
            if self.letters.stale:
                return self.run(point, steps, roles)
            found.append(self.step)
        return found

    def _beginning(self, point: Mapping[str, Fraction], roles: bool, backward: bool) -> None:
        """Initialization, with gradients or without; once more where components turn out to need letters of their own."""
        self.begin(point)
        self._initial()
        self.step = Step(0)
        self._pass(self.forward, record=True, roles=roles)
        if backward and not self.letters.stale:
            self._pass(self.backward, record=False)
        if self.letters.stale:
            self._beginning(point, roles, backward)

    def certified(self, point: Mapping[str, Fraction], steps: int) -> list[Step]:
        """A run whose sizes do not depend on what becomes of excess perturbations; ``LimitError`` where one does.

        Of the width, upper and lower bounds are compared, which proves the sizes up to the first that grows. With a depth, where
        upper bounds are too coarse, lower bounds with few and with many perturbations are: of all that lasts as the width grows.
        An average without a name, as within a norm, has only to be bounded: what is made of it is compared itself. Not so one
        that is divided by and is not Θ(1) at first: an upper bound of it is a lower one of what is made of it.
        """
        self.excess = self.ordinary()
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
                bounded = m.slot in self.program.passing and self._bounded(m.slot, sizes)
                if not bounded and not all(self._agree(a, b, point) for a, b in zip(sizes, again.sizes[m.slot], strict=True)):
                    reason = f"`{m.name}` has more than {LIMIT} perturbations; its size is known between bounds only"
                    remedy = "ask for fewer {}, or for a network with fewer different layers"
                    ways = remedy.format("steps=…"), remedy.format("--steps")
                    raise LimitError(Message(m.span, reason, ways[0], "too many parts", ways[1]))
                if any(size is not None and size[0] > 0 for size in sizes):
                    return found
        return found

    def _bounded(self, slot: int, sizes: tuple[Sized, Sized]) -> bool:
        first = sizes[0]
        whole = slot not in self.program.divisors or (first is not None and first[0] == 0)
        return whole and all(size is None or size[0] <= 0 for size in sizes)

    def _agree(self, one: Sized, other: Sized, point: Mapping[str, Fraction]) -> bool:
        """Whether two sizes are equal; with a depth, also where both vanish as the width grows."""
        if one is None or other is None or one[0] == other[0]:
            return (one is None) == (other is None)
        return self.program.depth is not None and all(self.form(s).width().at(point) < 0 for s in (one, other))

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
                cell = self.product(m, record)
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
            self.role("update", name, m, largest(self._evaluated(m, m.op)[1]))
            for s, c in saved:
                self.cells[s] = c
            if own[0] and m.kind == "moment":
                self.role("init", name, m, largest(self._only(m, slot)))
            if own[0] and m.kind == "nonlin":
                self.role("unit", name, m, self._unit(m, slot))

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

    def first_order(self, point: Mapping[str, Fraction]) -> dict[str, Fraction]:
        """The size of Δp x per weight where activations stay as they begin and only read-outs move: TP4's -r_l."""
        self._beginning(point, roles=False, backward=True)
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
                self._note(found, self.program.matrices[m.matrix].parameter, largest(self.updates(m, self.cells[m.x])))
        for v in self.program.vectors:
            if v.slot not in readouts:
                self._note(found, v.parameter, largest(self.cells[v.slot][1]))
        return self.first_order(point) if self.letters.stale else found

    def _note(self, found: dict[str, Fraction], parameter: str, sized: Sized) -> None:
        size = self.exponent(sized)
        if size is not None:
            found[parameter] = max(size, found.get(parameter, size))

    # ------------------------------------------------------------ depth

    def _summed(self, cell: Cell, block: int) -> Cell:
        """A block's cell and the sum of the cells of the Θ(L) blocks that it stands for."""
        return union([cell, self.crowd(cell, block, 1, 2)])

    def _branches(self, m: Member) -> None:
        """At initialization: the sum over all blocks of each term that a block adds to its stream, in what they differ by."""
        terms = [t for t in m.op.args if isinstance(t, Op) and t.kind == "crowd"] if m.op.kind == "add" else []
        for term in terms if self.step.t == 0 else ():
            inside, block = term.args
            state = State(self.cells, self.values, self.cutoff, self._summed, self.excess)
            for added in inside.args if inside.kind == "add" else (inside,):
                name = self.program.last_weight(added.slots())
                base = value(added, state)[0]
                own = self.own(block)
                differing = {t: c for t, c in base.items() if (t[0] | t[1]) & own}
                made = self.crowd((differing, {}), block, 1, 1) if differing else self.crowd((base, {}), block, 2, 2)
                if name is not None and base:
                    self.role("branch", name, m, largest(made[0]))

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

    # ------------------------------------------------------------ updates

    def _update(self) -> None:
        normalised = self.optimizer.normalised
        fresh: dict[int, list[tuple[Cell, Cell]]] = {}
        for use in self.program.uses:
            out, x = self.cells[use.out], self.cells[use.x]
            if (out[0] or out[1]) and (x[0] or x[1]):
                found = [(out, x)]
                if use.block >= 0:  # all blocks use the matrix, and its gradient is the sum of theirs
                    found.append((self.crowd(out, use.block, 1, 2), self.crowd(x, use.block, -1, 0)))
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


def _joint(left: Cell, right: Cell) -> tuple[int, Any]:
    """The size of the entries of left rightᵀ."""
    (a, m), (b, n) = (max([*c[0].values(), *c[1].values()], key=lambda s: s[0]) for c in (left, right))
    return a + b, (m, n)
