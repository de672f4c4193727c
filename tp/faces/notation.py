"""Notation shared by every face: how the names, indices and random variables of a limit are written.

A kernel is written ``K_h^l(x_p, x'_q)``. An index on which both variables of every kernel entry agree (a layer) goes
up, next to the name; an index that may differ (a position, a time) goes to the sample it belongs to. What each
printer does with this is its own business; nothing here knows LaTeX.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import sympy as sp

from tp.limit.equations import Entry, Limit
from tp.program.ir import Domain, Instruction, Loop, Program, Ref, Simple

GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi",
    "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma",
    "Upsilon", "Phi", "Psi", "Omega",
)  # fmt: skip


def ascii_name(name: str) -> str:
    """A name with Greek letters spelled out and anything else beyond ASCII folded or given by code point."""
    return "".join(_ascii_char(c) for c in name)


def _ascii_char(char: str) -> str:
    if char.isascii():
        return char
    words = unicodedata.name(char, "").split()
    if words[:1] == ["GREEK"] and words[-1].lower() in {g.lower() for g in GREEK}:
        return words[-1].capitalize() if "CAPITAL" in words else words[-1].lower()
    folded = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return folded or f"U{ord(char):04X}"


@dataclass(frozen=True, slots=True)
class NameParts:
    """A user's name taken apart: ``sw2`` is base sigma, subscript w, power 2; ``h1`` is h with subscript 1."""

    base: str
    sub: str = ""
    power: str = ""
    primes: int = 0
    literal: bool = False  # print the base as it is: another name has the customary reading


def name_parts(name: str) -> NameParts:
    """The customary reading of a name; ``NameParts(name)`` when there is none."""
    name = ascii_name(name)
    bare = re.sub(r"(?<=[A-Za-z])_$", "'", name).rstrip("'")  # `s_`, bound beside a free `s`, is s'
    primes = len(name) - len(bare)
    if match := re.fullmatch(r"s([a-z])2", bare):  # sw2: the house's name for a variance
        return NameParts("sigma", match[1], "2", primes)
    letter = rf"[A-Za-z]|{'|'.join(GREEK)}"
    if match := re.fullmatch(rf"({letter})_?([0-9]+)", bare) or re.fullmatch(r"([A-Za-z0-9]+)_([A-Za-z0-9]+)", bare):
        return NameParts(match[1], match[2], "", primes)
    return NameParts(bare, "", "", primes)


# ---------------------------------------------------------------- which index stands where


@dataclass(frozen=True)
class Notation:
    """Where the indices of each family are written, and what the two samples are called.

    ``paired`` holds, per family, which index slots may differ between the two sides of an entry. ``up`` are the
    names of indices that stand above a name: layers.
    """

    paired: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    up: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()
    sample: str = "x"
    letter: str = "u"
    shorts: tuple[str, str, str] = ("q", "c", "D")
    literal: frozenset[str] = frozenset()

    def parts(self, name: str) -> NameParts:
        """How a name is printed: no two names of a limit print alike."""
        bare = name.rstrip("'")
        return NameParts(bare, primes=len(name) - len(bare), literal=True) if bare in self.literal else name_parts(name)

    def split(self, ref: Ref) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
        """The index expressions of ``ref`` written above the name, and those written below it or on the sample."""
        slots = self.paired.get(ref.name, ())
        above: list[sp.Expr] = []
        below: list[sp.Expr] = []
        for k, index in enumerate(ref.index):
            is_below = slots[k] if k < len(slots) else not self._rises(index)
            (below if is_below else above).append(index)
        return tuple(above), tuple(below)

    def _rises(self, index: sp.Expr) -> bool:
        names = {str(s) for s in index.free_symbols}
        return bool(names) and not names & self.down and bool(names & self.up)


_SHORTS = "qrswgQR", "ckbeaCP", "DEFBGHM"
"""Letters for two variances, their covariance, and what recurs of them: the first that is no one's name."""


def notation(limit: Limit) -> Notation:
    """Read off the notation that fits a limit."""
    program = limit.program
    paired = _paired_slots(limit)
    up, down = _directions(limit, paired)
    _follow(program, paired, up - down)
    names = _all_names(limit)
    inputs = [d.ref.name for d in program.data]
    sample = inputs[0] if len(inputs) == 1 and (len(inputs[0]) == 1 or inputs[0] in GREEK) else "x"
    if len(inputs) > 1 or (sample == "x" and inputs != ["x"] and "x" in names):
        sample = next(s for s in ("xi", "zeta", "chi", "omega", "xi_0") if s not in names)
    bases = {name_parts(name).base for name in names} | {sample}
    letter = next((s for s in ("u", "z", "zeta", "omega", "y") if s not in bases), "u")
    q, c, d = (next((s for s in choice if s not in bases), choice[0]) for choice in _SHORTS)
    return Notation(paired, frozenset(up), frozenset(down), sample, letter, (q, c, d), _ambiguous(names))


def _paired_slots(limit: Limit) -> dict[str, tuple[bool, ...]]:
    """Per family, the slots whose index is not shared by the two sides of the defining equations."""
    found: dict[str, list[bool]] = {}
    for equation in limit.equations:
        if not isinstance(equation.lhs, Entry):
            continue
        a, b = equation.lhs.a, equation.lhs.b
        common = a.free_symbols & b.free_symbols
        for ref, other in ((a, b), (b, a)):
            slots = found.setdefault(ref.name, [False] * len(ref.index))
            for k, index in enumerate(ref.index[: len(slots)]):
                differs = a.name == b.name and len(other.index) > k and other.index[k] != index
                slots[k] = slots[k] or (not _is_coordinate(index) and (differs or bool(index.free_symbols - common)))
    return {name: tuple(slots) for name, slots in found.items()}


def _directions(limit: Limit, paired: dict[str, tuple[bool, ...]]) -> tuple[set[str], set[str]]:
    """Names of the indices that stand above, and of those that stand below."""
    up: set[str] = set()
    down: set[str] = set()
    for equation in limit.equations:
        refs = (equation.lhs.a, equation.lhs.b) if isinstance(equation.lhs, Entry) else ()
        for ref in refs:
            for index, is_paired in zip(ref.index, paired[ref.name], strict=False):
                if not _is_coordinate(index):
                    (down if is_paired else up).update(str(s) for s in index.free_symbols)
    return up, down


def _is_coordinate(index: sp.Expr) -> bool:
    """Whether an index counts coordinates of a finite axis: no site of a sample, and no layer."""
    return bool(index.is_Symbol) and str(index).startswith("j_")


def _follow(program: Program, paired: dict[str, tuple[bool, ...]], up: set[str]) -> None:
    """Weights and scalars, which have no kernel entry, follow the names of their indices."""
    members: dict[str, list[Ref]] = {}
    for ref in _defined(program):
        if ref.name not in paired:
            members.setdefault(ref.name, []).append(ref)
    for name, refs in members.items():
        slots = max(len(ref.index) for ref in refs)
        rises = [any(k < len(r.index) and {str(s) for s in r.index[k].free_symbols} & up for r in refs) for k in range(slots)]
        paired[name] = tuple(not up_here for up_here in rises)


def _defined(program: Program) -> Iterator[Ref]:
    """The left side of every family member the program defines."""
    for weight in program.weights:
        yield weight.ref
    for data in program.data:
        yield data.ref
    for instruction in instructions(program.body):
        yield instruction.out


def instructions(body: Iterable[Instruction], outer: Domain = ()) -> Iterator[Simple]:
    """The straight-line instructions of a body, loops opened: their range joins the domain."""
    for instruction in body:
        if isinstance(instruction, Loop):
            yield from instructions(instruction.body, (*outer, instruction.range))
        else:
            yield replace(instruction, domain=_join(outer, instruction.domain)) if outer else instruction


def _join(outer: Domain, inner: Domain) -> Domain:
    own = {r.index for r in inner}
    return (*(r for r in outer if r.index not in own), *inner)


def _ambiguous(names: set[str]) -> frozenset[str]:
    """Names whose customary reading another name has already: ``h_1`` beside ``h1``."""
    readings: set[NameParts] = set()
    found = set()
    for name in sorted(names, key=lambda n: (len(n), n)):
        if name_parts(name) in readings:
            found.add(name)
        readings.add(name_parts(name))
    return frozenset(found)


def _all_names(limit: Limit) -> set[str]:
    """Every name the reader may meet: variables, constants, spaces, tables, indices."""
    program = limit.program
    names = {ref.name for ref in _defined(program)} | {s.name for s in program.spaces} | set(program.tables)
    names |= {str(c) for c in program.constants}
    for equation in limit.equations:
        names |= {str(s) for e in (equation.lhs, equation.rhs) for s in e.atoms(sp.Symbol)}
    return names
