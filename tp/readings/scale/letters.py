"""Which Gaussian parts of W x, W x′, … share a letter: those whose arguments are correlated.

What W meets first has a letter with all that is correlated with it, and all else, updates included, has another. Two components
of arguments that are not correlated get letters of their own where this is not enough: where one argument has the one without
the other, and another argument the other without the one, and averages of products are taken, in which the two may meet. That is
seen while a program is walked through, and the walk then begins again: letters are few wherever arguments have their components
together, as in residual streams. So it is where two updates are correlated, but each has a letter with another initial component:
then all updates share one besides.

Source: Yang 2020, *Tensor Programs III*, Definition E.3: Cov(Ẑ^{Wx}, Ẑ^{Wx′}) = σ² E[Z^x Z^x′].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tp.errors import LimitError, Message, Span
from tp.readings.scale.tags import Part, Tag, corr

Way = tuple[int, bool]  # a matrix, transposed
Letter = tuple[int, bool, int]  # the same, and a class: one of the following, or OWN + k
FIRST, OTHER, LATER, OWN = range(4)
FAR = 1 << 60
MANY = 64  # components with letters of their own, of one matrix in one direction, at most


@dataclass
class Alphabet:
    """The letters of a program, whichever run they are met in; ``count`` are taken.

    ``own[way]``: components of arguments that have a letter each. ``parted``: ways in which arguments are told apart at all.
    ``joint``: ways in which all updates share a letter, beside those that they have with initial components.
    """

    count: int
    bits: dict[Way, dict[int, int]] = field(default_factory=dict)
    own: dict[Way, list[Tag]] = field(default_factory=dict)
    parted: set[Way] = field(default_factory=set)
    joint: set[Way] = field(default_factory=set)
    seen: set[Any] = field(default_factory=set)

    def fresh(self) -> int:
        """A bit that no letter has yet."""
        self.count += 1
        return 1 << (self.count - 1)

    def bit(self, letter: Letter) -> int:
        """The bit of a letter."""
        known = self.bits.setdefault(letter[:2], {})
        if letter[2] not in known:
            known[letter[2]] = self.fresh()
        return known[letter[2]]

    def of(self, way: Way) -> Iterator[tuple[Letter, int]]:
        """The letters of a matrix in one direction, with their bits."""
        return (((*way, kind), bit) for kind, bit in sorted(self.bits.get(way, {}).items()))


@dataclass
class Letters:
    """What matrices have met in one run: per letter the components of arguments, initial ones and updates, and their sizes.

    ``deep``: initial parts of one block are small, so that what came later has a letter of its own. ``stale``: components turned
    out to need letters of their own, or one that they share, and the run has to begin again.
    """

    alphabet: Alphabet
    deep: bool
    remembered: dict[Letter, tuple[Part, Part]] = field(default_factory=dict)
    arguments: dict[Way, dict[int, tuple[Tag, ...]]] = field(default_factory=dict)
    updates: dict[Way, dict[Tag, frozenset[Letter]]] = field(default_factory=dict)
    stale: bool = False

    def of(self, way: Way, tag: Tag, moved: bool) -> list[Letter]:
        """The letters of the Gaussian part of W x by a component of x."""
        own = self.alphabet.own.get(way, [])
        found = [(*way, OWN + k) for k, other in enumerate(own) if corr(tag, other)]
        if moved or tag not in own:
            found += [(*way, kind) for kind in self._classes(way, tag, moved)]
        for letter in found:
            self.remembered.setdefault(letter, ({}, {}))[moved].setdefault(tag, (-FAR, 0))
        if moved:
            self._compare(way, tag, frozenset(found))
        return found

    def _compare(self, way: Way, tag: Tag, letters: frozenset[Letter]) -> None:
        """Look at an update: those that are correlated, each with another initial component, have to share a letter."""
        known = self.updates.setdefault(way, {})
        if way not in self.alphabet.joint and tag not in known:
            if any(corr(tag, other) and letters.isdisjoint(theirs) for other, theirs in known.items()):
                self.alphabet.joint.add(way)
                self.stale = True
            known[tag] = letters

    def _classes(self, way: Way, tag: Tag, moved: bool) -> list[int]:
        """Of a component beside those that have letters of their own."""
        known = [(kind, self.remembered[*way, kind][0]) for kind in (FIRST, OTHER) if (*way, kind) in self.remembered]
        found = [kind for kind, tags in known if any(corr(tag, other) for other in tags)]
        if moved and way in self.alphabet.joint:
            return [*found, LATER]
        if found:
            return found
        if moved:
            return [LATER if self.deep or way in self.alphabet.parted else OTHER]
        return [OTHER if known else FIRST]

    def meet(self, way: Way, slot: int, tags: tuple[Tag, ...], span: Span) -> None:
        """Look at the initial argument in ``slot``: are its components, with the letters they have, to be told from others?

        Raises ``LimitError`` at ``span`` where too many are.
        """
        arguments = self.arguments.setdefault(way, {})
        arguments[slot] = tags
        own = self.alphabet.own.setdefault(way, [])
        key = way, len(own), tuple(arguments.items())
        if self.stale or len(arguments) < 2 or key in self.alphabet.seen:
            return
        self.alphabet.seen.add(key)
        classes = [list(self.remembered.get((*way, kind), ({}, {}))[0]) for kind in (FIRST, OTHER)]
        for members in classes:
            for one, other in combinations(members, 2):
                if self._apart(way, one, other):
                    if len(own) == MANY:
                        reason = f"one matrix meets more than {MANY} independent vectors"
                        raise LimitError(Message(span, reason, "give some of them a matrix of their own", "too many parts"))
                    own.append(other)
                    self.stale = True
                    return
        if own or any(self._apart(way, one, other) for one in classes[0] for other in classes[1]):
            self.alphabet.parted.add(way)

    def _apart(self, way: Way, one: Tag, other: Tag) -> bool:
        """Whether some argument has ``one`` and nothing that is correlated with ``other``, and some the other way round."""
        if corr(one, other):
            return False
        arguments = self.arguments[way].values()

        def alone(a: Tag, b: Tag) -> bool:
            return any(a in tags and not any(corr(b, tag) for tag in tags) for tags in arguments)

        return alone(one, other) and alone(other, one)
