"""A line of a spec over its indices, and what it reads."""

from __future__ import annotations

from dataclasses import dataclass

from tp.network.affine import Affine, Span1
from tp.network.names import Clause
from tp.network.tree import Name


@dataclass(frozen=True, slots=True)
class Read:
    """A family read at affine indices, by a line that runs over ``box`` there."""

    name: Name
    index: tuple[Affine, ...]
    box: tuple[Span1, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A clause with all its ranges written out and its functions put in, its box, and what it reads."""

    written: Clause
    clause: Clause
    box: tuple[Span1, ...]
    slots: tuple[Affine, ...]
    reads: tuple[Read, ...]
    sound: bool = True  # False: something in it was reported, only its left side counts

    @property
    def empty(self) -> bool:
        """Whether its range is known to be empty."""
        return any(not (s.hi - s.lo).terms and (s.hi - s.lo).const < 0 for s in self.box)


class Failed(Exception):
    """The line cannot be understood further; why has been reported."""
