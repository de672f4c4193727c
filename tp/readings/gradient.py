"""The reverse pass: ∂f/∂(every weight), for every sample, by walking the instructions backwards.

One output, all weights. A matrix gradient is kept as its uses, Σ_u dy_u ⊗ x_u, and formed only on request:
the tangent kernel needs nothing but ⟨dy_u, dy_u'⟩⟨x_u, x_u'⟩.

    y = W x            dx += Wᵀ dy             (dy, x) is a use of W
    y = Wᵀ x           dx += W dy              (x, dy) is a use of W
    y = φ(x; θ)        dx += ∂_x φ dy          dθ += Σ_α ∂_θ φ dy
    θ = c/n Σ_α ψ(x)   dx += c/n ∂_x ψ dθ
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Ref
from tp.program.reads import plain
from tp.readings.indexing import Env, Key, resolve, show
from tp.readings.ops import Frame
from tp.readings.simulate import Run, uses

Array = NDArray[np.float64]


@dataclass(repr=False)
class Gradient:
    """∂f/∂W for the weights W of a run, per sample; W is the weight as the network uses it, ``multiplier * w``.

    ``dense``: vectors [N, n] and scalars [N]. ``factors``: per matrix [m, n], its uses (left [N, m], right [N, n]).
    A weight that f does not depend on is in neither.
    """

    run: Run
    output: Key
    dense: dict[Key, Array] = field(default_factory=dict)
    factors: dict[Key, list[tuple[Array, Array]]] = field(default_factory=dict)

    def __getitem__(self, which: str | Ref | Key) -> Array:
        """[N, m, n], [N, n] or [N]."""
        key = self.run.key(which)
        if key in self.dense:
            return self.dense[key]
        shape = (self.run.samples, *self.run[key].shape)
        return sum((np.einsum("ia,ib->iab", left, right) for left, right in self.factors.get(key, ())), np.zeros(shape))

    def inner(self, other: Gradient, key: Key) -> Array:
        """⟨∂f(i)/∂W, ∂g(j)/∂W⟩ as [N, N], W the weight ``key``: over all pairs of its uses when it is a matrix."""
        samples = self.run.samples
        if key in self.dense and key in other.dense:
            a, b = (g.dense[key].reshape(samples, -1) for g in (self, other))
            return np.asarray(a @ b.T)
        if key not in self.factors or key not in other.factors:
            return np.zeros((samples, samples))
        (left, right), (left2, right2) = (_stacked(g.factors[key]) for g in (self, other))
        pairs = (left @ left2.T) * (right @ right2.T)
        return np.asarray(pairs.reshape(-1, samples, pairs.shape[1] // samples, samples).sum(axis=(0, 2)))


def _stacked(factors: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The uses of a matrix one below the other: [U·N, m], [U·N, n]."""
    lefts, rights = zip(*factors, strict=True)
    return np.concatenate(lefts), np.concatenate(rights)


@dataclass
class Tape:
    """Adjoints on their way back. An adjoint is taken off when its instruction is reversed."""

    run: Run
    adjoints: dict[Key, Array]
    factors: dict[Key, list[tuple[Array, Array]]] = field(default_factory=dict)

    def add(self, key: Key, adjoint: Array) -> None:
        """Add to ∂f/∂(member); what a scalar passes to all coordinates of a vector comes back as their sum."""
        run = self.run
        found = resolve(key, run.values, run.edges.get(key[0], ()))
        if found is None or found in run.given:
            return
        if run.values[found].ndim == 1 and adjoint.ndim == 2:
            adjoint = adjoint.sum(axis=1)
        before = self.adjoints.get(found)
        self.adjoints[found] = adjoint if before is None else before + adjoint

    def take(self, key: Key) -> Array | None:
        return self.adjoints.pop(key, None)


def gradient(run: Run, output: str | Ref | Key) -> Gradient:
    """The gradient of the scalar ``output`` of ``run`` in every weight, for each sample by itself."""
    key = run.key(output)
    if run.values[key].ndim != 1:
        raise DataError(Message(NOWHERE, f"`{show(key)}` is no scalar", "name an output", "no gradient"))
    return pullback(run, {key: np.ones(run.samples)})


def pullback(run: Run, cotangents: Mapping[Key, Array]) -> Gradient:
    """The gradient of ``Σ cotangent · member`` over several scalar members, for each sample by itself."""
    tape = Tape(run, dict(cotangents))
    with np.errstate(all="ignore"):
        _reverse(tape, run.program.body, run.env)
    dense = {k: v for k, v in tape.adjoints.items() if k in run.weights}
    return Gradient(run, next(iter(cotangents)), dense, tape.factors)


def _reverse(tape: Tape, body: Sequence[Instruction], env: Env) -> None:
    compiler = tape.run.compiler
    for ins in reversed(body):
        match ins:
            case Loop(range=r, body=inner, reverse=downwards):
                values = compiler.interval(r, env)
                for value in values if downwards else reversed(values):
                    _reverse(tape, inner, {**env, r.index.name: value})
            case MatMul():
                _reverse_matmul(tape, ins, env)
            case Nonlin(out=out, expr=expr, space=space):
                for point in compiler.points(ins.domain, env):
                    adjoint = tape.take(compiler.key(out, point))
                    if adjoint is not None:
                        compiler.op(expr).pull(Frame(point, tape.run, space is not None), adjoint, tape.add)
            case Moment(out=out, expr=expr, coeff=coeff, space=space):
                for point in compiler.points(ins.domain, env):
                    adjoint = tape.take(compiler.key(out, point))
                    if adjoint is not None:
                        n = tape.run.env[space.name]
                        everywhere = np.broadcast_to(adjoint[:, None] / n, (len(adjoint), n))
                        compiler.op(coeff * expr).pull(Frame(point, tape.run, vector=True), everywhere, tape.add)
            case OuterNonlin():
                plain(ins, "a gradient")
            case _:
                assert_never(ins)


def _reverse_matmul(tape: Tape, ins: MatMul, env: Env) -> None:
    """All products with one matrix at once, as in the forward pass."""
    run = tape.run
    for W, pairs in uses(run, ins, env).items():
        live = [(x, dy) for out, x in pairs if (dy := tape.take(out)) is not None and x is not None]
        if not live:
            continue
        matrix = run.values[W]
        back = np.concatenate([dy for _, dy in live]) @ (matrix.T if ins.transpose else matrix)
        for (x, dy), dx in zip(live, np.split(back, len(live)), strict=True):
            tape.add(x, dx)
            argument = np.broadcast_to(run.values[x], dx.shape)
            tape.factors.setdefault(W, []).append((argument, dy) if ins.transpose else (dy, argument))
