"""``Posterior``: what infinitely wide networks predict after they have seen data.

*nngp*: Bayesian inference, the posterior of the Gaussian process with noise variance λ. For x, x' with k = K(x, X):
    mean k (K + λI)⁻¹ Y,  covariance K(x, x') − k (K + λI)⁻¹ k'ᵀ.
    Source: Lee et al. 2018, *Deep Neural Networks as Gaussian Processes*; Rasmussen & Williams 2006, eq. (2.25)–(2.26).
*ntk*: networks trained by gradient flow on the squared error, from random weights. With A = (1 − e^{−Θt/N}) Θ⁻¹, θ = Θ(x, X):
    mean θ A Y,  covariance K(x, x') + θ A K A θ'ᵀ − θ A k'ᵀ − k A θ'ᵀ.
    Source: Lee et al. 2019, *Wide Neural Networks of Any Depth Evolve as Linear Models*, Corollary 1.
    The loss is the mean over samples of ½(f − y)², hence t/N. A ridge λ, Θ + λI for Θ in A, is weight decay towards the initial
    weights; without it, at t = ∞, the networks interpolate.

By conjugate gradients (``method="cg"``) residuals are left, r of a column of Y and s of kᵀ, at most ``tol`` of their norms. The
mean at x errs by at most √(K(x, x)/λ) ‖r‖, with Θ for K where networks are trained. The variance of the Gaussian process is taken
as K(x, x) − k z − sᵀz, z the solution found: but for rounding never too small, and too large by sᵀ (K + λI)⁻¹ s ≤ ‖s‖²/λ.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.asked import asked
from tp.errors import NOWHERE, DataError, Message
from tp.kernel import inputs
from tp.kernel.conjugate import ConjugateGradients, Wish, conjugate_gradients
from tp.kernel.disk.store import part
from tp.kernel.disk.tiles import bytes_of
from tp.kernel.tiled import KINDS, Tiled
from tp.regression import FINE, Factor, Inverse, cholesky, chunks, flow, left_out, log_marginal_likelihood, told_of_classes

Array = NDArray[np.float64]

LEFT_OUT = "loo"
"""The ridge that is to be found."""

HUGE = 1e150
"""Targets at most; likelihoods and residuals are made of their squares."""


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """Predictions at new inputs. ``jitter`` was added to the diagonal on top of ``ridge`` (0 unless K + λI is singular).

    ``log_marginal_likelihood`` is that of the Gaussian process, summed over outputs; None for the tangent kernel, which is
    the covariance of no prior, and by conjugate gradients, which find no determinant. Those say in ``residual`` the largest
    ‖y − (K + λI) α‖ / ‖y‖ of an output's targets, and their ``iterations``; both None from a factor.
    """

    kernel: Tiled = field(repr=False)
    X: inputs.Samples = field(repr=False)
    kind: str
    alpha: Array = field(repr=False)  # [N, outputs]
    ridge: float
    time: float
    log_marginal_likelihood: float | None
    memory: int = field(repr=False)
    inverse: Inverse = field(repr=False)
    prior: Any = field(repr=False)  # K [N, N] of the training samples, in memory or on disk; None where it is not needed or known
    flat: bool = field(repr=False)  # whether the targets had one axis
    residual: float | None = None
    iterations: int | None = None

    def __repr__(self) -> str:
        what = {"nngp": "Gaussian process", "ntk": "networks trained by gradient flow"}[self.kind]
        count, outputs = self.alpha.shape
        seen = f"{count} samples, {outputs} output{'s' if outputs > 1 else ''}, ridge {self.ridge:.3g}"
        told = [f"time {self.time:.3g}"] if self.time != inf else []
        told += [f"jitter {self.jitter:.1e}"] if self.jitter else []
        if self.log_marginal_likelihood is not None:
            told.append(f"log marginal likelihood {self.log_marginal_likelihood:.6g}")
        told += [f"residual {self.residual:.1e} after {self.iterations} iterations"] if self.residual is not None else []
        return f"<Posterior of {self.kernel.network}, {what}: {', '.join([seen, *told])}; .mean(X), .variance(X), .predict(X)>"

    @property
    def jitter(self) -> float:
        return self.inverse.jitter

    def mean(self, X: Any) -> Array:
        """[M, outputs], or [M] for targets of one axis."""
        found = np.concatenate([cross[self.kind] @ self.alpha for _, cross in self._crossed(X)])
        return found[:, 0] if self.flat else found

    def variance(self, X: Any) -> Array:
        """[M]: of each output's function, noise not included."""
        parts = []
        for samples, cross in self._crossed(X):
            own = self._named(self.kernel.diag(samples))["nngp"] if self._knows_prior() else np.zeros(0)
            parts.append(np.maximum(own + self._change(cross, diagonal=True), 0.0))
        return np.concatenate(parts)

    def covariance(self, X: Any) -> Array:
        """[M, M], jointly."""
        self._knows_prior()
        samples = self._arrays(X)
        cross = self._named(self.kernel(samples, self.X))
        return self._named(self.kernel(samples))["nngp"] + self._change(cross, diagonal=False)

    @asked
    def predict(self, X: Any) -> tuple[Array, Array]:
        """Mean and variance."""
        return self.mean(X), self.variance(X)

    # ------------------------------------------------------------ within

    def _change(self, cross: dict[str, Array], diagonal: bool) -> Array:
        """What the data change in the prior's covariance: its diagonal [M], or all of it [M, M]."""

        def product(a: Array, b: Array) -> Array:  # aᵀ b
            return np.einsum("nm,nm->m", a, b) if diagonal else a.T @ b

        k = cross["nngp"].T
        if self.kind == "nngp" and isinstance(self.inverse, ConjugateGradients):
            found = self.inverse.solved(k)
            return -product(found.x, k) - product(found.rest, found.x)
        if self.kind == "nngp":
            half = self.inverse.half(k)  # type: ignore[attr-defined]
            return -product(half, half)
        weights = self.inverse.solve(cross["ntk"].T)
        mixed = product(weights, k)
        return product(weights, self._prior_times(weights)) - mixed - (mixed if diagonal else mixed.T)

    def _prior_times(self, right: Array) -> Array:
        step = max(1, self.memory // (32 * len(right)))
        return np.concatenate([part(self.prior, rows, slice(None)) @ right for rows in chunks(len(right), step)])

    def _knows_prior(self) -> bool:
        if "K" not in self.kernel.kinds:
            remedy = 'solve with both: net.kernel("nngp", "ntk").solve(X, y, kind="ntk")'
            raise DataError(
                Message(NOWHERE, "the variance of trained networks takes the NNGP kernel too", remedy, "no NNGP kernel")
            )
        return True

    def _arrays(self, X: Any) -> inputs.Samples:
        return inputs.arrays(self.kernel.shapes, X, sizes=self.kernel.sizes)

    def _crossed(self, X: Any) -> Iterator[tuple[inputs.Samples, dict[str, Array]]]:
        """Rows of X, a few at a time, with their kernels to the training samples."""
        samples, count = self._arrays(X), len(self.alpha)
        total = len(next(iter(samples.values())))
        step = total
        while step > 1 and self.kernel.working(step, count) + 24 * step * count > self.memory * 7 // 8:  # the rest: strips
            step = -(-step // 2)
        for rows in chunks(total, step):
            few = {name: array[rows] for name, array in samples.items()}
            yield few, self._named(self.kernel(few, self.X))

    def _named(self, found: Any) -> dict[str, Array]:
        return _named(self.kernel, found)


def solve(
    kernel: Tiled,
    X: Any,
    y: Any,
    ridge: float | str,
    kind: str | None,
    time: float,
    out: str | os.PathLike[str] | None,
    memory: int | str | None,
    executor: Any,
    wished: Wish | None,
    progress: bool | None,
) -> Posterior:
    """See ``Matrices.solve``."""
    samples = inputs.samples(kernel.shapes, X, kernel.dtype, sizes=kernel.sizes)
    count = len(next(iter(samples.values())))
    targets = _targets(y, count)
    chosen = _kind(kernel, kind)
    _check(kernel, ridge, time, chosen, out, wished)
    time = float(time)
    columns = targets[:, None] if targets.ndim == 1 else targets
    budget = kernel.memory if memory is None else bytes_of(memory)
    inverse: Inverse
    if out is None:
        matrices = _in_memory(kernel, samples, count, budget, ridge)
        matrix = matrices[chosen]
        ridge = left_out(matrix, columns, FINE)[0] * float(np.mean(np.diag(matrix))) if ridge == LEFT_OUT else float(ridge)
        if wished:
            inverse = conjugate_gradients(matrix, np.diag(matrix), ridge, wished, budget, progress)
        else:
            inverse = cholesky(matrix, ridge) if time == inf else flow(matrix, ridge, time / count)
    else:
        ridge = float(ridge)
        matrices, inverse = _on_disk(kernel, samples, chosen, ridge, Path(out), budget, executor, wished, progress)
    residual, iterations, likelihood = None, None, None
    if isinstance(inverse, ConjugateGradients):
        found = inverse.solved(columns)
        alpha, residual, iterations = found.x, found.residual, found.iterations
    else:
        alpha = inverse.solve(columns)
        likelihood = log_marginal_likelihood(_factor(inverse), columns, alpha) if chosen == "nngp" else None
    prior = matrices.get("nngp") if chosen == "ntk" else None
    flat = targets.ndim == 1
    about = (kernel, samples, chosen, alpha, ridge, time, likelihood, budget, inverse, prior, flat)
    return Posterior(*about, residual, iterations)


def _in_memory(kernel: Tiled, samples: inputs.Samples, count: int, budget: int, ridge: float | str) -> dict[str, Any]:
    """The matrices, where there is room for them and for what is made of them."""
    if kernel.working(count, count) + (48 if ridge == LEFT_OUT else 16) * count * count > budget:
        reason = f"solving for {count} samples in memory takes more than {budget / 1e9:.3g} GB"
        raise DataError(Message(NOWHERE, reason, 'give out="K.npy" to do it on disk, or raise memory=', "over the memory limit"))
    return _named(kernel, kernel(samples))


def _on_disk(
    kernel: Tiled,
    samples: inputs.Samples,
    kind: str,
    ridge: float,
    out: Path,
    budget: int,
    executor: Any,
    wished: Wish | None,
    progress: bool | None,
) -> tuple[dict[str, Any], Inverse]:
    from tp.kernel.disk.cholesky import disk_cholesky
    from tp.kernel.disk.run import write

    gram = write(kernel, samples, None, out, budget, executor, progress)
    diagonal = _named(kernel, kernel.diag(samples))[kind]
    if wished:
        return dict(gram.arrays), conjugate_gradients(gram[kind], diagonal, ridge, wished, budget, progress)
    path = out.absolute().with_name(f"{out.stem}.{kind}.cholesky.npy")
    scale = float(np.mean(diagonal))
    made = f"{gram.metadata['fingerprint']} {kind}"
    return dict(gram.arrays), disk_cholesky(gram[kind], ridge, scale, path, budget, made, progress)


def _factor(inverse: Any) -> Factor:
    return inverse


def _named(kernel: Tiled, found: Any) -> dict[str, Array]:
    arrays = found if isinstance(found, tuple) else (found,)
    return {KINDS[k]: np.asarray(a, dtype=np.float64) for k, a in zip(kernel.kinds, arrays, strict=True)}


# ---------------------------------------------------------------- what is asked


def _targets(y: Any, count: int) -> Array:
    if np.ma.is_masked(y):
        raise _wrong("the targets are a masked array with masked numbers", "leave these samples out", "wrong targets")
    try:
        found = np.asarray(y)
    except ValueError as error:
        raise _wrong("the targets are no rectangular array of numbers", "", "wrong targets") from error
    if found.dtype.kind not in "fiub":
        remedy = "classes one-hot: codes = np.unique(labels, return_inverse=True)[1]; np.eye(codes.max() + 1)[codes]"
        raise _wrong(f"the targets are {found.dtype}, not real numbers", remedy, "wrong targets")
    if found.ndim not in (1, 2) or len(found) != count or not found.size:
        reason = f"the targets of {count} samples have shape [{count}] or [{count}, outputs], not {list(found.shape)}"
        raise _wrong(reason, "", "wrong targets")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        at = [int(k) for k in np.argwhere(~np.isfinite(found))[0]]
        raise _wrong(f"the targets are {found[tuple(at)]} at index {at}", "", "wrong targets")
    if np.abs(found).max() > HUGE:
        raise _wrong(f"the targets are larger than {HUGE:.0e}: their squares have no number", "divide them", "wrong targets")
    told_of_classes(np.asarray(y))
    return found


def _kind(kernel: Tiled, kind: str | None) -> str:
    names = [KINDS[k] for k in kernel.kinds]
    if kind is None:
        return "ntk" if "ntk" in names else "nngp"
    if kind not in names:
        raise _wrong(
            f"this kernel is {' and '.join(names)}, not {kind!r}", "compile what you need: net.kernel(…)", "no such kernel"
        )
    return kind


def _check(kernel: Tiled, ridge: Any, time: float, kind: str, out: Any, wished: Wish | None) -> None:
    found = isinstance(ridge, str) and ridge == LEFT_OUT
    if not found and not (_is_number(ridge) and 0 <= ridge < inf):
        remedy = f'give one finite number that is not negative, or "{LEFT_OUT}" to find it by leaving one sample out'
        raise _wrong(f"the ridge is {reprlib.repr(ridge)}", remedy, "wrong ridge")
    if found and (out is not None or wished or time != inf):
        reason = "a ridge found by leaving one sample out takes all eigenvalues, in memory, and t = ∞"
        raise _wrong(reason, "leave out out=, method= and time=, or find the ridge on some of the samples", "wrong ridge")
    if not (_is_number(time) and time > 0):
        raise _wrong(f"the time is {reprlib.repr(time)}", "give a positive number, or leave it out for t = ∞", "wrong time")
    if time != inf and kind != "ntk":
        raise _wrong("a Bayesian posterior has no time", 'leave out time=, or solve with kind="ntk"', "wrong time")
    if time != inf and out is not None:
        raise _wrong("a finite time takes all eigenvalues, in memory", "leave out out=, or time= for t = ∞", "wrong time")
    if time != inf and wished:
        raise _wrong("a finite time takes all eigenvalues", "leave out method=, or time= for t = ∞", "wrong time")
    if kernel.axes:
        remedy = "give a network whose output has no index"
        raise _wrong("the kernel has a matrix per index of the output; regression takes one", remedy, "several outputs")


def _is_number(x: Any) -> bool:
    """Whether ``x`` is a real number that a float can hold."""
    try:
        return isinstance(x, (int, float, np.floating, np.integer)) and not isinstance(x, bool) and float(x) == x
    except OverflowError:
        return False


def _wrong(reason: str, remedy: str, heading: str) -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, heading))
