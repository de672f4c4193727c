"""Finite networks in training: the sizes of everything initially, and of its change after every update, by width.

Four choices remove noise and leave all sizes as they are. The targets of a run are its own initial outputs + 1, so that the
first residuals are -1 at every width and seed. The initial size of a scalar is a mean over many draws of the weights that only
averages read. Narrow networks, which cost little and fluctuate most, are run more often than wide ones. And for what all
networks share in a scalar the same draw is trained with signs of its weights flipped, which are as likely: in the mean over
2^(k+1) such runs whatever is odd in one weight, or in two or three, is gone (a fractional factorial design of resolution IV:
Box & Hunter 1961), and with it most of what fluctuates.

The steps are small where changes are power series in the rate, which ± the rate takes apart. A normalised update has none:
where a gradient of size n^(-1/2) gives way to one of size 1, as in the logits of attention, its direction turns at a rate
of n^(-1/2). There steps are large, so that this is over at the widths of interest.

Source: Yang et al. 2022, *Tensor Programs V*, appendix D.1 (coordinate checking).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import DataError
from tp.program.ir import Program
from tp.readings.indexing import Key
from tp.readings.scale import classify
from tp.readings.scale.concrete import Member
from tp.readings.scale.infer import Engine
from tp.readings.scale.optimizers import Optimizer
from tp.readings.simulate import Run, replay, simulate
from tp.readings.updates import trained
from tp.transform.parametrize import parameters

Array = NDArray[np.float64]
Name = tuple[str, int, str]  # a quantity, a step (0: its initial size, t: its change after t updates), a part
Sizes = dict[Name, Array]  # of one network, or of one set with flipped signs: a scalar's entries, a root mean square of others
REDRAWN = 32  # draws of the read-out for the initial size of a scalar
SMALL = 0.125  # how far training moves things at most, in units of their initial size
LARGE = 2.0  # the same for optimizers that normalise, in units of the initial size or of 1
PLENTY = 1024  # wide enough to tell which weight it was
MORE = 8  # narrow networks are run at most this many times more often than the widest
SETS = 10**6  # seeds of networks whose signs are flipped


@dataclass
class Experiment:
    """A parametrized program, an optimizer and data: everything but the width, the learning rate and the seed."""

    engine: Engine
    program: Program
    optimizer: Optimizer
    steps: int
    data: dict[str, Array]
    constants: Mapping[str, Any]
    seed: int

    def __post_init__(self) -> None:
        temps = self.engine.program.temps
        named: dict[str, Member] = {}
        for m in self.engine.concrete.members:
            if m.forward and (m.out[0] not in temps or m.text):
                named.setdefault(classify.label(m, temps), m)
                named.setdefault(m.place or m.name, m)
        self.named = named
        self.smooth = self.optimizer.normalised == "none"
        kinds = self.engine.roles
        weights = parameters(self.program).items()
        self.readouts = {w.ref.name for p, w in weights if kinds.get(p) == "output" and w.cols is None and w.variance != 0}

    def sizes(self, width: int, seed: int, lr: float) -> Sizes:
        """What one network is and becomes; without the steps that diverge."""
        return dict(self._sizes(width, seed, lr))

    def shared(self, width: int, index: int, lr: float) -> Sizes:
        """The changes of all scalars, entry by entry, in the mean over flipped signs of one draw's weights."""
        run = self.run(width, SETS + index)
        scalars = {name: found for name, m in self.named.items() if not m.vector and (found := self._alike(run, m))}
        total: Sizes = {}
        signs = flips(run)
        for flipped in signs:
            again = _copy(replay(run, {k: -run[k] for k in flipped}))
            first = {k: again[k] for keys in scalars.values() for k in keys}
            for name, change in self._parts(again, first, lr):
                for scalar, keys in scalars.items():
                    entries = np.concatenate([np.ravel(change[k]) for k in keys]) / len(signs)
                    total[scalar, *name] = total.get((scalar, *name), 0) + entries
        return total

    def _alike(self, run: Run, m: Member) -> list[Key]:
        return alike(run, m, self.engine.concrete.members)

    def run(self, width: int, seed: int) -> Run:
        """One draw at initialization."""
        return simulate(
            self.program, self.data, self._widths(width), np.random.default_rng([self.seed, width, seed]), self.constants
        )

    def _widths(self, width: int) -> dict[str, int]:
        return {n: max(2, round(width ** float(g))) for n, g in self.engine.growth.items()}

    def narrowest(self, width: int) -> int:
        """The narrowest of the free widths."""
        return min(self._widths(width).values())

    def targets(self, run: Run) -> dict[Key, Array]:
        """The initial outputs + 1."""
        keys = [k for ref in self.program.outputs for k in run.members(ref)]
        return {k: run[k] + 1.0 for k in keys}

    def _sizes(self, width: int, seed: int, lr: float) -> Iterator[tuple[Name, Array]]:
        """Initial sizes, then those of the parts of all changes, as long as these are finite."""
        run = self.run(width, seed)
        keys = {name: found for name, m in self.named.items() if (found := self._alike(run, m))}
        first = {k: run[k] for found in keys.values() for k in found}
        scalars = [k for name in keys if not self.named[name].vector for k in keys[name]]
        spread = self._spread(run, scalars, np.random.default_rng([self.seed, width, seed, REDRAWN]))
        for name, found in keys.items():
            yield (name, 0, "initial"), np.sqrt([np.mean([spread.get(k) or np.mean(first[k] ** 2) for k in found])])
        try:
            for part, change in self._parts(run, first, lr):
                for name, found in keys.items():
                    yield (name, *part), np.sqrt([np.mean([np.mean(change[k] ** 2) for k in found])])
        except DataError:  # diverged: what was measured before counts
            return

    def _parts(self, run: Run, first: dict[Key, Array], lr: float) -> Iterator[tuple[tuple[int, str], dict[Key, Array]]]:
        """The parts of all changes, by step; from the second on also what the last step ``added``."""
        before: dict[str, dict[Key, Array]] = {}
        for step, parts in enumerate(self.changes(run, first, lr), 1):
            for part, change in parts.items():
                yield (step, part), change
                if part in before:
                    yield (step, f"{part} added"), {k: x - before[part][k] for k, x in change.items()}
            before = parts

    def changes(self, run: Run, first: dict[Key, Array], lr: float) -> Iterator[dict[str, dict[Key, Array]]]:
        """What has changed after 1, 2, … updates: its parts that are odd and even in the rate, or all of it."""
        targets = self.targets(run)
        runs = [trained(run, self.optimizer, targets, lr, self.steps)]
        if self.smooth:
            runs.append(trained(_copy(run), self.optimizer, targets, -lr, self.steps))
        for step, now in enumerate(zip(*runs, strict=True)):
            if step and self.smooth:
                odd = {k: (now[0][k] - now[1][k]) / 2 for k in first}
                yield {"odd": odd, "even": {k: (now[0][k] + now[1][k]) / 2 - x for k, x in first.items()}}
            elif step:
                yield {"change": {k: now[0][k] - x for k, x in first.items()}}

    def _spread(self, run: Run, scalars: list[Key], generator: np.random.Generator) -> dict[Key, float]:
        """Mean squares of those scalars at initialization that read-outs make, over fresh draws of these."""
        weights = [(k, d) for k, d in run.weights.items() if d.weight.ref.name in self.readouts]
        if not weights or not scalars:
            return {}
        total = {k: float(np.mean(run[k] ** 2)) for k in scalars}
        for _ in range(REDRAWN):
            drawn = {
                k: d.multiplier * (d.mean + np.sqrt(d.variance) * generator.standard_normal(run[k].shape)) for k, d in weights
            }
            again = replay(run, drawn)
            for k in scalars:
                total[k] += float(np.mean(again[k] ** 2))
        return {k: x / (REDRAWN + 1) for k, x in total.items()}

    # ------------------------------------------------------------ whose doing it is

    def culprit(self, widths: Sequence[int], quantity: str, step: int, lr: float) -> str | None:
        """The weight whose updates alone move ``quantity`` most by ``step``; at step 0 the weight that makes it."""
        member = self.named[quantity]
        if step == 0:
            if member.kind == "matmul":
                return self.engine.concrete.matrices[member.matrix].parameter
            owners = {v.slot: v.parameter for v in self.engine.concrete.vectors}
            return next((owners[slot] for slot in member.weights), None)
        run = self.run(max([n for n in widths if n <= PLENTY] or [widths[0]]), 0)
        first = _copy(run)
        for _ in trained(run, self.optimizer, self.targets(run), lr, step):
            pass
        moved: dict[str, float] = {}
        for name, weight in parameters(self.program).items():
            own = {k: run.values[k] for k in run.weights if run.weights[k].weight is weight}
            now = replay(first, own)
            moved[name] = float(np.mean([np.mean((now[k] - first[k]) ** 2) for k in self._alike(run, member)]))
        return max(moved, key=lambda p: moved[p]) if any(moved.values()) else None

    # ------------------------------------------------------------ learning rate

    def rate(self, widths: Sequence[int], growth: float) -> float:
        """The largest power of 2 at which training moves nothing by more than ``SMALL`` or ``LARGE``, at any of the widths.

        Measured at the narrowest; the largest derived exponent ``growth`` of a change says what becomes of it at the widest.
        """
        bound = (SMALL if self.smooth else LARGE) * (widths[0] / widths[-1]) ** max(growth, 0.0)
        lr = 1.0
        while lr > 2.0**-60 and self._moves(widths[0], lr) > bound:
            lr /= 2
        while lr < 2.0**20 and self._moves(widths[0], 2 * lr) <= bound:
            lr *= 2
        return lr

    def _moves(self, width: int, lr: float) -> float:
        """The largest change of anything, in units of its initial size; of 1 for smaller scalars (or all), and for what is 0."""
        sizes: dict[str, float] = {}
        worst, last = 0.0, 0
        for (name, step, part), root in self._sizes(width, 0, lr):
            last, square = step, float(root[0]) ** 2
            if part == "initial":
                own = self.smooth and self.named[name].vector
                sizes[name] = (square if own else max(square, 1.0)) or 1.0
            elif not part.endswith(" added") and not square <= worst * sizes[name]:
                worst = square / sizes[name]
        return float(np.sqrt(worst)) if last == self.steps else float("inf")


def _copy(run: Run) -> Run:
    """The same values, with weights of its own."""
    return replace(run, values={k: v.copy() if k in run.weights else v for k, v in run.values.items()})


def flips(run: Run) -> list[list[Key]]:
    """Sets of weights whose signs are flipped: 2^(k+1) for up to 2^k families of centred weights.

    Over the sets all products of one, two or three families' signs sum to 0.
    """
    families = sorted({str(k[0]) for k, d in run.weights.items() if d.mean == 0 and d.variance > 0})
    top = 1 << max(len(families) - 1, 1).bit_length()
    mask = {name: top + j for j, name in enumerate(families)}
    return [[k for k in run.weights if (row & mask.get(str(k[0]), 0)).bit_count() % 2] for row in range(2 * top)]


def repeats(seeds: int, width: int, widest: int) -> int:
    """How many networks of this width are run."""
    return seeds * min(MORE, max(1, widest // width))


def alike(run: Run, m: Member, members: Iterable[Member]) -> list[Key]:
    """The members of a family that a representative stands for: all positions, tokens, coordinates, of its layer.

    Of those that are written apart another of the ``members`` is the representative.
    """
    apart = [o for o in members if o.out[0] == m.out[0] and len(o.parallel) < len(m.parallel)]
    return [k for k in run.values if _stands(m, k) and not any(_stands(o, k) for o in apart)]


def _stands(m: Member, k: Key) -> bool:
    fixed = (slot for slot in range(len(m.out)) if slot - 1 not in m.parallel)
    return len(k) == len(m.out) and all(k[slot] == m.out[slot] for slot in fixed)
