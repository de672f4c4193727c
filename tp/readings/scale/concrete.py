"""A program written out at representatives, as data: members, matrices, vector weights, uses and blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tp.errors import Span
from tp.program.ir import Weight
from tp.readings.scale.expressions import ZERO, Op
from tp.readings.scale.forms import Leaves
from tp.readings.scale.tags import Tag

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One instruction at one point. ``op`` is what a Nonlin or Moment averages; a MatMul has ``matrix`` and reads ``x``."""

    slot: int
    out: Key
    kind: str  # "matmul" | "nonlin" | "moment"
    span: Span
    forward: bool
    vector: bool
    op: Op = ZERO
    matrix: int = -1
    transpose: bool = False
    x: int | None = None
    half: int = 0  # leaf of half the exponent of the space averaged over
    weights: tuple[int, ...] = ()  # slots of vector weights that it reads
    text: str = ""
    parallel: tuple[int, ...] = ()  # slots of ``out`` whose index nothing recurs over: their members are alike
    name: str = ""  # as people would write it: ``h[L]`` at a bound that is a symbol
    last: tuple[int, ...] = ()  # slots of ``out`` that are at such a bound
    inner: str = ""  # ``h[l]``, where an index with such a bound is not at it
    place: str = ""  # the ``text`` at its indices


@dataclass(frozen=True, slots=True)
class Standing:
    """A representative ``value`` of an index of ``families`` and the values it stands for; a bound that is a symbol as such."""

    index: str
    value: str
    first: str
    last: str
    families: frozenset[str]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A random matrix: its parameter, and half the exponents of its sides."""

    key: Key
    parameter: str
    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class VectorWeight:
    """A vector or scalar weight: the slot of its value, its parameter, the slot of its gradient."""

    key: Key
    parameter: str
    slot: int
    letter: Tag
    gradient: int | None
    half: int = 0


@dataclass(frozen=True, slots=True)
class MatrixUse:
    """The outer product ``out xᵀ`` that an update of ``matrix`` adds to."""

    matrix: int
    out: int
    x: int
    transpose: bool
    block: int = -1  # one block's use of a matrix that all blocks share


@dataclass(frozen=True, slots=True)
class Block:
    """What is one block's own: its matrices, and the letters of its vectors."""

    matrices: tuple[int, ...]
    letters: int


@dataclass
class Concrete:
    """A program and its gradients, written out at representatives."""

    leaves: Leaves
    members: list[Member] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    vectors: list[VectorWeight] = field(default_factory=list)
    uses: list[MatrixUse] = field(default_factory=list)
    parameters: dict[str, Weight] = field(default_factory=dict)
    outputs: set[int] = field(default_factory=set)
    constants: tuple[str, ...] = ()
    letters: int = 0
    slots: int = 0
    depth: str | None = None
    deep_constants: tuple[str, ...] = ()
    blocks: list[Block] = field(default_factory=list)
    standing: tuple[Standing, ...] = ()
    passing: frozenset[int] = frozenset()  # averages that nobody has named, as within a norm
    divisors: frozenset[int] = frozenset()  # members that others divide by
    inside: frozenset[str] = frozenset()  # parameters that blocks use, their own or shared ones
    ways: frozenset[str] = frozenset()  # families that are streams, or between a stream and itself

    def last_weight(self, slots: Iterable[int]) -> str | None:
        """The weight that acts last on the way to ``slots``."""
        members = {m.slot: m for m in self.members}
        weights = {v.slot: v.parameter for v in self.vectors}
        front = list(dict.fromkeys(slots))
        seen = set(front)
        while front:
            here = [members[s] for s in front if s in members]
            found = [self.matrices[m.matrix].parameter for m in here if m.matrix >= 0]
            found += [weights[s] for s in front if s in weights]
            if found:
                return found[0]
            front = [s for m in here for s in m.op.slots() if s not in seen]
            seen.update(front)
        return None

    def ends(self) -> frozenset[str]:
        """Parameters of blocks that enter streams as they are: only the product with their multiplier has a meaning."""
        forward = [m for m in self.members if m.forward]
        terms = [t for m in forward if m.op.kind == "add" for t in m.op.args if t.kind == "crowd"]
        straight = {s for t in terms for s in t.args[0].linear()}
        for m in forward:
            reads = set(m.op.slots()) if m.x is None else {m.x}
            straight -= reads - m.op.linear() if m.out[0] in self.ways else reads
        made = [(m.slot, self.matrices[m.matrix].parameter) for m in forward if m.matrix >= 0]
        made += [(v.slot, v.parameter) for v in self.vectors]
        return self.inside - {p for slot, p in made if slot not in straight}

    def block_depth(self) -> int:
        """The largest number of matrices between a stream and itself."""
        count: dict[int, int] = {}
        deepest = 0
        for m in self.members:
            if not m.forward:
                continue
            reads = m.op.slots() if m.x is None else (m.x,)
            own = m.matrix >= 0 and self.matrices[m.matrix].parameter in self.inside
            count[m.slot] = max((count.get(s, 0) for s in reads), default=0) + own
            if any(isinstance(t, Op) and t.kind == "crowd" for t in m.op.args):
                deepest, count[m.slot] = max(deepest, count[m.slot]), 0
        return deepest
