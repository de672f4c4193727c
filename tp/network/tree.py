"""The tree of a spec: what was written, every node with its place.

Nodes are frozen, small and without behaviour. ``span`` travels along but is no part of identity, so
``parse(show(network)) == network``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from tp.errors import NOWHERE, Source, Span

# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Num:
    """A literal; exact (``0.1`` is 1/10)."""

    value: Fraction
    text: str = field(default="", compare=False)
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name:
    """``h`` or ``h[l-1, t]``: anything that has a name, at an index."""

    name: str
    index: tuple[Expr, ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Neg:
    """``-arg``."""

    arg: Expr
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """``left op right`` with op one of ``+ - * / ^`` (coordinatewise) or ``@`` (matrix or inner product)."""

    op: str
    left: Expr
    right: Expr
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Transpose:
    """``arg.T``."""

    arg: Expr
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Range:
    """``k in lo..hi`` (inclusive), or a bare ``k``: the whole range ``k`` was declared with (lo = hi = None)."""

    index: str
    lo: Expr | None = None
    hi: Expr | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """``fn(args…)``; with ``over`` for ``softmax(a[t,s] over s in 1..t)``; ``avg`` and ``dot`` act over width."""

    fn: str
    args: tuple[Expr, ...]
    over: Range | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reduce:
    """``sum(body for k in a..b, …)`` or ``mean(…)`` over finite indices."""

    kind: str  # "sum" | "mean"
    body: Expr
    ranges: tuple[Range, ...]
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Table:
    """A constant table, ``[[0, 1], [1, 0]]``, e.g. a graph's adjacency."""

    rows: tuple[Expr, ...]  # Table or scalar expressions
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Expr = Num | Name | Neg | Binary | Transpose | Call | Reduce | Table

# ---------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Width:
    """``width n`` (free) or ``width m = 4*n`` (fixed ratio)."""

    name: str
    value: Expr | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dim:
    """``dim d = 10``: an axis that stays finite."""

    name: str
    value: Expr | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Let:
    """``let sw2 = 2``; ``let sw2`` stays a symbol; ``let A[u, v] = [[…]]`` is a table over declared indices.

    ``index`` names declared indices: the table's first row belongs to the first value of ``u``. Without a value
    ``let a[l]`` is a family of symbols.
    """

    name: str
    value: Expr | None = None
    index: tuple[str, ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Function:
    """``let swish(z) = z/(1 + exp(-z))``; ``let centred(z over i) = z - mean(z for i)`` acts along an index.

    ``over`` is the name the body gives to that index; a call is ``centred(h[p] over p)``.
    """

    name: str
    params: tuple[str, ...]
    body: Expr
    span: Span = field(default=NOWHERE, compare=False, repr=False)
    over: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """``index t, s in 1..T boundary zero``; one node per statement, ``names`` in order."""

    names: tuple[str, ...]
    lo: Expr
    hi: Expr
    boundary: str | None = None  # None | "zero" | "circular" | "valid" | "reflect"
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Input:
    """``input x[p] : [c]``."""

    name: str
    index: tuple[Expr, ...]
    axes: tuple[str, ...]
    ranges: tuple[Range, ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Weight:
    """``weight W[l] : [n, n] = M * N(0, V), lr R  for l in 2..L``, or ``~ N(0, V)``, or ``~ 1``.

    ``short`` is True for the ``~`` form. ``mean`` is the first argument of N; a constant initialisation
    ``~ c`` is mean ``c`` with ``variance`` None.
    """

    name: str
    index: tuple[Expr, ...]
    axes: tuple[str, ...]
    multiplier: Expr | None
    mean: Expr
    variance: Expr | None
    rate: Expr | None = None
    frozen: bool = False
    short: bool = True
    ranges: tuple[Range, ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Define:
    """``h[l] = W[l] @ relu(h[l-1]) + b[l]  for l in 2..L``; ``output f = …`` when ``output``."""

    name: str
    index: tuple[Expr, ...]
    body: Expr
    ranges: tuple[Range, ...] = ()
    output: bool = False
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Train:
    """``train sgd, loss = mse, steps = 10, lr = eta``: the optional training block; options in written order."""

    optimizer: str
    options: tuple[tuple[str, Expr], ...] = ()
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Statement = Width | Dim | Let | Function | Index | Input | Weight | Define | Train


@dataclass(frozen=True, slots=True)
class Network:
    """A network as written: its name and its statements in order."""

    name: str
    statements: tuple[Statement, ...]
    source: Source = field(default=Source("<text>", ""), compare=False, repr=False)
