"""OuterNonlin at infinite width: E_β[entry(z_α; Z_β) Z^x_β] at every node α, over nodes β of the other space.

The terms of an entry are taken one by one: an update's entries are a sum over steps. What a term reads of a space may be one
vector: it is a function of one number then, and a table stands for all nodes (an optimizer without memory, on one sample at a
time: a table of a table). A term of several vectors of both spaces (batches, memory) is evaluated at all nodes of the one
against a part of the nodes of the other, a band at a time.

Source: Yang & Littwin 2023, *Tensor Programs IVb*, rule ZOuterNonlin (section 2.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import Message
from tp.program.ir import OuterNonlin
from tp.readings.indexing import Key
from tp.readings.nodes import GridTooLarge
from tp.readings.steps import Entry, Updates
from tp.readings.tables import FINENESS, Table
from tp.readings.tape import Leaf, Tape

if TYPE_CHECKING:
    from tp.readings.evaluate import Evaluation

Array = NDArray[np.float64]
BAND = 2**15
"""Entries that are in memory at a time: few enough for a processor's cache."""
MATRICES = 2**28
"""Bytes for entries at pairs of nodes that are kept for later steps, of a run."""
PAIRS = 2**27
"""Pairs of nodes at most, of a grid."""
EXACT, LOOSE = 1e-9, 1e-6
"""Errors of a tabulated entry, relative to the largest: at which a table is fine enough, and above which one side has none."""
PROBES = 97
"""Nodes of each space at which tables are compared with the entry itself."""


def products(run: Evaluation, step: Updates) -> Array:
    """[members, *nodes]: the values of the step's members."""
    arguments = tuple(m.argument for m in step.members if m.argument is not None)
    product = _Product(run, step.ins, arguments)
    several = [entry for entry in step.entries if entry.several]
    parts = [product.times([entry]) for entry in step.entries if not entry.several]
    parts += [product.times(several)] if several else []
    total = np.zeros((len(arguments), *np.broadcast_shapes((1, 1), *(p.shape[1:] for p in parts))))
    for part in parts:
        total += part.reshape(len(part), *[1] * (total.ndim - part.ndim), *part.shape[1:])
    return total


Tables = tuple[Table | None, Table | None, float]
"""Of the output's space and of the argument's, and the error found at some nodes."""


@dataclass
class _Product:
    """Matrices of entries times the vectors ``arguments``."""

    run: Evaluation
    ins: OuterNonlin
    arguments: tuple[Key, ...]

    def times(self, found: Sequence[Entry]) -> Array:
        """[x, *nodes]: Σ_β of the terms' entries times x_β, at every node of the output's space."""
        own = list(dict.fromkeys(key for entry in found for key in entry.own))
        other = list(dict.fromkeys(key for entry in found for key in entry.other))
        across, weights, _ = self.run.nodes.quadrature([*other, *self.arguments], self.run.nodes.part if found[0].several else 0)
        right = (np.array(across[len(other) :]) * weights).T
        if not own:  # the same for all entries
            return np.asarray(self.number(found[0].factor) * self.number(found[0].tape) * right.sum(axis=0)).reshape(-1, 1, 1)
        flat, _, shape = self.run.nodes.quadrature(own, 0)
        mine, theirs = dict(zip(own, flat, strict=True)), dict(zip(other, across, strict=False))
        here, there, error = self.tables(found[0], mine, theirs)
        if here is not None and there is not None and error > LOOSE:
            here, there, error = self.one_table(found[0], mine, theirs, right)
        if here is not None or there is not None:
            self.run.tabulated.append(error)
        if there is not None:
            ((key, values),) = theirs.items()
            theirs, right = {key: there.points}, there.gathered(values, right)
        if here is not None:
            ((key, values),) = mine.items()
            result = here.interpolated(self.contracted(found, {key: here.points}, theirs, right), values)
        else:
            self.check(len(flat[0]), len(right))
            result = self.contracted(found, mine, theirs, right)
        return result.T.reshape(len(self.arguments), *shape)

    def tables(self, entry: Entry, own: Mapping[Key, Array], other: Mapping[Key, Array]) -> Tables:
        """Tables for the spaces of which one vector is read, fine enough at some nodes; None for several vectors."""
        sides = [next(iter(side.values())) if len(side) == 1 else None for side in (own, other)]
        if all(side is None for side in sides):
            return None, None, 0.0
        probes = [{key: a[:: max(1, len(a) // PROBES)] for key, a in side.items()} for side in (own, other)]
        exact, before = self.entries(entry, *probes), np.inf
        scale = float(np.abs(exact).max()) or 1.0
        best: Tables = (None, None, np.inf)
        for here, there in zip(*([None] * len(FINENESS) if a is None else Table.over(a) for a in sides), strict=True):
            points = [p if t is None else dict.fromkeys(p, t.points) for p, t in zip(probes, (here, there), strict=True)]
            table = self.entries(entry, *points)
            if here is not None:
                table = here.interpolated(table, next(iter(probes[0].values())))
            if there is not None:
                table = there.interpolated(table.T, next(iter(probes[1].values()))).T
            error = float(np.sqrt(np.mean((table - exact) ** 2))) / scale
            if error < before:
                best, before = (here, there, error), error
            if error <= EXACT:
                break
        return best

    def one_table(self, entry: Entry, own: Mapping[Key, Array], other: Mapping[Key, Array], right: Array) -> Tables:
        """An entry with kinks: a table of its averages over all nodes of the other space, which have none."""
        ((key, values),) = own.items()
        probes = {key: values[:: max(1, len(values) // PROBES)]}
        exact = self.contracted([entry], probes, other, right)
        scale = float(np.abs(exact).max()) or 1.0
        found: list[tuple[float, Table]] = []
        for table in list(Table.over(values))[1::2]:
            self.check(table.count, len(right))
            averages = self.contracted([entry], {key: table.points}, other, right)
            off = table.interpolated(averages, probes[key]) - exact
            found.append((float(np.sqrt(np.mean(off**2))) / scale, table))
        error, best = min(found, key=lambda pair: pair[0])
        return best, None, error

    def check(self, own: int, other: int) -> None:
        if own * other > PAIRS and self.run.nodes.part == 0:
            reason = f"an entrywise update needs {own:,} × {other:,} pairs of grid nodes"
            raise GridTooLarge(Message(self.ins.span, reason, 'use method="sobol"', "grid too large", "use --method sobol"))

    def entries(self, entry: Entry, own: Mapping[Key, Array], other: Mapping[Key, Array]) -> Array:
        """[α, β]: the entries at some nodes of both spaces."""
        rows, cols = (other, own) if self.ins.transpose else (own, other)

        def read(leaf: Leaf) -> Any:
            if not leaf.wide:
                return self.run.leaf(leaf)
            return np.array([c * rows[u] for c, u, _ in leaf.at]).T @ np.array([cols[v] for _, _, v in leaf.at])

        shape = tuple(len(next(iter(side.values()))) for side in (own, other))
        entries = np.asarray(entry.tape.run(read), dtype=np.float64)
        return np.broadcast_to(entries.T if self.ins.transpose else entries, shape)

    def contracted(self, found: Sequence[Entry], own: Mapping[Key, Array], other: Mapping[Key, Array], right: Array) -> Array:
        """Σ_β entry(own_α, other_β) right_β: [α, x], a band of α at a time."""
        count, factors = len(next(iter(own.values()))), [self.number(e.factor) for e in found]
        result, kept = np.empty((count, right.shape[1])), self.kept(found, count, len(right))
        band = max(1, BAND // len(right))
        for lo in range(0, count, band):
            mine = {key: a[lo : lo + band] for key, a in own.items()}
            block: Any = 0.0
            for entry, factor in zip(found, factors, strict=True):
                values = kept[entry.name][lo : lo + band] if entry.name in self.run.matrices else self.entries(entry, mine, other)
                if entry.name in kept and entry.name not in self.run.matrices:
                    kept[entry.name][lo : lo + band] = values
                block = block + factor * values
            result[lo : lo + band] = block @ right
        self.run.matrices.update(kept)
        return result

    def kept(self, found: Sequence[Entry], own: int, other: int) -> dict[Key, NDArray[np.float32]]:
        """Where the entries at pairs of Sobol nodes are, or will be, kept; single precision is far below their error."""
        kept, used = {}, sum(a.nbytes for a in self.run.matrices.values())
        for entry in found if self.run.nodes.part else ():
            if entry.name in self.run.matrices:
                kept[entry.name] = self.run.matrices[entry.name]
            elif entry.several and used + 4 * own * other <= MATRICES:
                kept[entry.name] = np.empty((own, other), np.float32)
                used += kept[entry.name].nbytes
        return kept

    def number(self, tape: Tape) -> float:
        return float(np.squeeze(tape.run(self.run.leaf)))
