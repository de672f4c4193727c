"""``z_limit``: a program's Z-variables, and ``ZLimit``, which holds them line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sympy as sp

from tp.errors import NOWHERE, DataError, Message
from tp.limit.equations import I, Value, Z
from tp.limit.independence import gradient_dependence
from tp.limit.zcalculus.atoms import Cov, Image, Slope
from tp.limit.zcalculus.calculus import Calculus
from tp.limit.zcalculus.families import family_lines
from tp.limit.zcalculus.lines import Line
from tp.limit.zcalculus.members import Members
from tp.limit.zcalculus.ratios import leading
from tp.limit.zcalculus.readout import Readouts
from tp.program.ir import Program, Ref

if TYPE_CHECKING:
    from tp.limit.zcalculus.numbers import Numbers


@dataclass(frozen=True)
class ZLimit:
    """Every vector's Z, every scalar's limit: ``lines``, each using earlier ones only.

    ``outputs`` are the scalars the program returns; ``sampled`` the names of what depends on an input; ``dependence``
    says why gradient independence fails, where it does; ``decimals`` that decimal fractions print as decimals.
    """

    program: Program
    lines: tuple[Line, ...]
    outputs: tuple[Ref, ...]
    sampled: frozenset[str]
    dependence: str = ""
    decimals: bool = False

    def __getitem__(self, name: str | tuple[Any, ...]) -> sp.Expr:
        """The right side for a vector's Z or a scalar: ``z["y"]``, ``z["h", 2]``, ``z["f"]``."""
        parts = name if isinstance(name, tuple) else (name,)
        ref = Ref(*parts)
        for line in self.lines:
            if isinstance(line.lhs, (Z, Value)) and line.lhs.a == ref:
                return line.rhs
        raise KeyError(name)

    def closed(self) -> ZLimit:
        """Expectations by their closed forms where a rule knows one; numbers put in where they are used."""
        from tp.limit.zcalculus.closing import close

        return close(self)

    def numbers(
        self, X: Mapping[str, Any] | Any = None, method: str = "auto", tol: float | None = None, seed: int = 0, **constants: Any
    ) -> Numbers:
        """A number for every covariance, expected derivative and scalar, at one sample ``X`` of the input; ``.errors`` likewise.

        ``method``: "grid", "sobol", or "auto", which takes Sobol points (``seed``) only where no grid fits. ``tol`` is the
        error aimed at; ``LimitError`` where it is out of reach.
        """
        from tp.limit.zcalculus.numbers import numbers

        return numbers(self, X, constants, method, tol, seed)

    def value(self, name: str, *index: int, X: Any = None, **constants: Any) -> float:
        """The limit of a scalar as a number."""
        wanted = Value("theta", Ref(name, *index), I)
        behind = self._behind(wanted)
        lines = tuple(line for line in self.lines if _named(line.lhs) in behind)
        return replace(self, lines=lines).numbers(X, **constants)[wanted]

    def _behind(self, wanted: sp.Expr) -> set[sp.Basic]:
        """The named values and functions that ``wanted`` is made of, itself included."""
        found: set[sp.Basic] = {wanted}
        for line in reversed(self.lines):
            if _named(line.lhs) in found:
                found |= {_named(a) for a in line.rhs.atoms(Cov, Slope, Value, Image)}
        return found

    # The faces are drawn elsewhere; a limit only knows where.

    def text(self, width: int = 100) -> str:
        """The derivation for a terminal: each line with its rule, and the line of the spec."""
        from tp.limit.zcalculus.printers import text

        return text(self, width)

    def latex(self, document: bool = False) -> str:
        """The derivation in LaTeX: aligned equations with their rules, or a whole ``document``."""
        from tp.limit.zcalculus.printers import latex

        return latex(self, document)

    def to_json(self) -> str:
        """The lines as data: left side, right side, LaTeX, rule, source and spec line."""
        from tp.limit.zcalculus.printers import to_json

        return to_json(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<tp.ZLimit {self.program.name}, {len(self.lines)} lines>"

    def _repr_latex_(self) -> str:
        from tp.limit.zcalculus.printers import display

        return display(self)


FEW = 60
"""Members up to which a program without transposes is written out; beyond, and for symbolic ranges, families stay families."""


def _named(e: sp.Expr) -> sp.Basic:
    """What a line is looked up by: an image, whatever its arguments, by the function that it is."""
    return e.function if isinstance(e, Image) else e


def z_limit(program: Program, constants: Mapping[str, Any] | None = None, naive: bool = False) -> ZLimit:
    """The Z of every vector and the limit of every scalar of ``program``.

    Where no matrix meets its transpose, large families and symbolic ranges stay what they are, one line for all indices;
    elsewhere ``constants`` have to give symbolic ranges their numbers. ``naive`` takes every transpose as an independent
    copy, which is wrong where a matrix and its transpose meet: for comparison. Raises ``LimitError`` where there is no
    such limit.
    Source: Yang 2020, *Tensor Programs III*, Definition E.3 (Netsor⊤⁺).
    """
    wanted = sorted(s.name for s in program.constants)
    if unknown := sorted({*(constants or {})} - {*wanted}):
        known = f"it has {', '.join(wanted)}" if wanted else "all of them have values: give another when loading"
        raise DataError(
            Message(NOWHERE, f"`{unknown[0]}` is no constant that this network leaves open", known, "unknown constant")
        )
    at_one = leading(program)
    members = Members(at_one, constants or {})
    readouts = Readouts(program, members)
    reason = gradient_dependence(program)
    if reason is None and not members.few(FEW):
        return ZLimit(program, family_lines(members, readouts.names), program.outputs, members.sampled)
    calculus = Calculus(members, readouts.names, naive)
    for ref in members:
        if ref.name in readouts.names:
            continue
        if members.families.is_vector(ref):
            calculus.vector(ref, I)
            continue
        calculus.scalar(ref, I)
    readouts.write(calculus)
    hats = {hat.a: hat for hat in reversed(calculus.calls)}
    for ref in members:  # variances complete the law of each hat, used or not
        if ref in hats:
            calculus.cov(hats[ref], hats[ref])
    lines = tuple(calculus.lines.values())
    return ZLimit(program, lines, program.outputs, members.sampled, reason.reason if reason else "")
