"""Samples beyond expansions over two Gaussians, whose kernels are taken by nodes: which they are, and that it is said."""

from __future__ import annotations

import warnings

import numpy as np

from tp.errors import StatisticalWarning
from tp.kernel.call import Array


def unreached(wrong: Array) -> str:
    """Samples without a number, of [N] or [N1, N2] pairs."""
    sides = [("sample", wrong)] if wrong.ndim == 1 else [("row", np.all(wrong, axis=1)), ("column", np.all(wrong, axis=0))]
    told = [
        f"{name} {', '.join(map(str, at[:3]))}{' …' if len(at) > 3 else ''} ({len(at)} of {np.size(side)})"
        for name, side in sides
        if len(at := np.flatnonzero(side))
    ]
    return " and ".join(told) or "some pairs"


def warn(told: str, bound: float) -> None:
    """Warns that samples are beyond expansions, and of what is returned in their place."""
    text = (
        f"expansions of functions of two correlated vectors, such as tanh(g*h), do not converge for {told}: variances are too "
        f"large. All is by nodes, two standard errors below {bound:.0e} √(k(x, x) k(x', x')); kernel.by_nodes.measured(X) tells "
        "those of every entry"
    )
    warnings.warn(text, StatisticalWarning, stacklevel=5)
