"""What is recorded of a training run in exponents: sizes of variables, of the parts weights play, and of gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Sized = tuple[int, Any] | None  # a value and its node; None where there is nothing


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
