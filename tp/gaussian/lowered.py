"""What :mod:`tp.gaussian.numeric` says of expectations that became functions: names, arguments, texts, and an error."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from tp.gaussian.easy import Easy


@dataclass(frozen=True, slots=True)
class Site:
    """Coefficients at one site: ``function(*args, out)``, of ``blocks`` factors one after the other.

    ``count(*args, eps)`` is what each of them takes of ``out``.

    ``squares(args[0], out)``: the part of the function's square that they hold, and of its derivative's; "" where vectors of
    other variances say nothing of this one's.
    """

    function: str
    count: str
    squares: str
    args: tuple[sp.Expr, ...]
    blocks: int = 1


@dataclass(frozen=True, slots=True)
class Lowered:
    """How to get the numbers of ``results`` expectations: see the module's text.

    ``double``: in double precision in any kernel, as rounded covariances are not good enough.
    """

    function: str
    args: tuple[sp.Expr, ...]
    results: int
    sources: tuple[tuple[str, str], ...]
    method: str
    rule: str
    bound: float
    sites: tuple[Site, ...] = ()
    with_sites: str = ""
    pair_args: tuple[sp.Expr, ...] = ()
    easy: Easy | None = None
    sums: str = ""
    spread: str = ""
    double: bool = False
