"""Conjugate gradients for (K + λI) X = Y, where N is too large for N³ operations: passes over K, in memory or on disk.

Preconditioned by P = L Lᵀ + λI, with L [N, r] from greedy pivoted Cholesky, which reads r rows of K. The rest E = K − L Lᵀ is
positive semidefinite, so the eigenvalues of P⁻¹(K + λI) lie between 1 and 1 + tr E / λ.
Sources: Gardner, Pleiss, Bindel, Weinberger, Wilson 2018, *GPyTorch: Blackbox Matrix-Matrix Gaussian Process Inference with GPU
Acceleration* (this preconditioner); Harbrecht, Peters, Schneider 2012, *On the low-rank approximation by the pivoted Cholesky
decomposition*; Frangella, Tropp, Udell 2023, *Randomized Nyström Preconditioning* (low rank plus λI, and what it does to the
condition number).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.kernel.disk.store import part
from tp.kernel.disk.tiles import size_text
from tp.progress import bar
from tp.regression import chunks

Array = NDArray[np.float64]

METHODS = ("auto", "cholesky", "cg")
TOLERANCE = 1e-8
SMALLEST = 1e-14
"""Pivots below this fraction of the largest diagonal entry are rounding."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Conjugate gradients with these settings; ``rank`` None is 4√N, or what memory holds."""

    tol: float = TOLERANCE
    rank: int | None = None


def wish(method: str, tol: float | None, rank: int | None) -> Wish | None:
    """None for the Cholesky factor, which "auto" is too. Raises ``DataError`` for settings that would mean nothing."""
    if method not in METHODS:
        raise _wrong(f"there is no method {method!r}", 'choose "auto", "cholesky" or "cg"', "unknown method")
    if method != "cg":
        if tol is not None or rank is not None:
            raise _wrong("`tol` and `rank` are for conjugate gradients", 'give method="cg", or leave them out', "wrong method")
        return None
    if tol is not None and not (isinstance(tol, (int, float, np.floating)) and isfinite(tol) and 0 < tol < 1):
        raise _wrong(f"the tolerance is {tol!r}", "give a residual relative to the targets, such as 1e-8", "wrong tolerance")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or rank < 0):
        raise _wrong(f"the rank is {rank!r}", "give a whole number; 0 is no preconditioner", "wrong rank")
    return Wish(TOLERANCE if tol is None else float(tol), None if rank is None else int(rank))


# ---------------------------------------------------------------- solving


@dataclass(frozen=True, slots=True)
class Solved:
    """X [N, k], what is left, ``rest`` = B − (K + λI) X, computed anew, and the largest ‖rest‖ / ‖B‖ of a column."""

    x: Array
    rest: Array
    residual: float
    iterations: int


@dataclass(frozen=True, slots=True, eq=False)
class ConjugateGradients:
    """(K + λI)⁻¹ as a linear map, to a relative residual of ``tol``; ``matrix`` is K [N, N], an array or on disk."""

    matrix: Any
    ridge: float
    tol: float
    memory: int
    basis: Array  # Q [N, r] with P⁻¹ = (I − Q Qᵀ) / λ
    jitter: float = 0.0
    progress: bool | None = None

    @property
    def limit(self) -> int:
        """Iterations at most: N/6 of 2N² operations are the N³/3 of a Cholesky factor, which is exact; 1000 in any case."""
        return max(1000, self.matrix.shape[0] // 6)

    def solve(self, right: Array) -> Array:
        return self.solved(right).x

    def solved(self, right: Array) -> Solved:
        """Columns a few at a time, as memory allows; those share every pass over K. Raises ``DataError`` short of ``tol``."""
        step = self.memory // (128 * self.matrix.shape[0])
        few = [self._few(right[:, columns]) for columns in chunks(right.shape[1], step)]
        x, rest = (np.concatenate(arrays, axis=1) for arrays in ([f.x for f in few], [f.rest for f in few]))
        return Solved(x, rest, max(f.residual for f in few), sum(f.iterations for f in few))

    def _few(self, right: Array) -> Solved:
        """Runs until what is left, computed anew after each, is small: the recursion for it drifts by rounding."""
        from scipy.linalg.blas import dnrm2

        norms = np.array([dnrm2(column) for column in right.T])  # which neither overflows nor vanishes where squares do
        scale = np.where(norms > 0, norms, 1.0)
        rest = right / scale
        x, taken, worst = np.zeros_like(rest), 0, float(np.any(norms > 0))
        while worst > self.tol and taken < self.limit:
            step, count = self._run(rest, self.limit - taken)
            taken += count
            left = right / scale - self.times(x + step)
            now = float(np.linalg.norm(left, axis=0).max())
            if not now < worst:
                break
            stuck, x, rest, worst = now > worst / 2, x + step, left, now
            if stuck:
                break
        if worst > self.tol:
            raise self._short(worst, taken)
        return Solved(x * scale, rest * scale, worst, taken)

    def _run(self, right: Array, limit: int) -> tuple[Array, int]:
        """One run of the method on all columns as one vector, of I ⊗ (K + λI)."""
        from scipy.sparse.linalg import LinearOperator, cg

        shape, counted = (right.size, right.size), []
        system = LinearOperator(shape, lambda v: self.times(v.reshape(right.shape)).ravel(), dtype=np.float64)
        inverse = LinearOperator(shape, lambda v: self._precondition(v.reshape(right.shape)).ravel(), dtype=np.float64)
        with (
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),  # what comes of it is measured
            bar("conjugate gradients", progress=self.progress) as advance,
        ):

            def count(_: Array) -> None:
                counted.append(1)
                advance(1)

            found, _ = cg(system, right.ravel(), rtol=0.0, atol=self.tol / 2, maxiter=limit, M=inverse, callback=count)
        return np.asarray(found, dtype=np.float64).reshape(right.shape), len(counted)

    def times(self, right: Array) -> Array:
        """(K + λI) @ right; of a matrix on disk the half on and below the diagonal is read."""
        if isinstance(self.matrix, np.ndarray) and not isinstance(self.matrix, np.memmap):
            return self.matrix @ right + self.ridge * right
        found = self.ridge * right
        for rows in chunks(len(right), self.memory // (64 * len(right))):
            strip = part(self.matrix, rows, slice(0, rows.stop))
            found[rows] += strip @ right[: rows.stop]
            found[: rows.start] += strip[:, : rows.start].T @ right[rows]
        return found

    def _precondition(self, right: Array) -> Array:
        return (right - self.basis @ (self.basis.T @ right)) / self.ridge

    def _short(self, residual: float, taken: int) -> DataError:
        rank = self.basis.shape[1]
        reason = f"after {taken} iterations of conjugate gradients the residual is {residual:.1e} of the right-hand side,"
        reason += f" not {self.tol:.1e}"
        remedy = f'raise rank= (it was {rank}), ridge= or tol=, or take method="cholesky"'
        return _wrong(reason, remedy, "not converged")


def conjugate_gradients(
    matrix: Any, diagonal: Array, ridge: float, wished: Wish, memory: int, progress: bool | None = None
) -> ConjugateGradients:
    """The inverse of ``matrix`` + ridge I, [N, N] with this ``diagonal``; ``memory`` is for what is held beside the matrix."""
    if not ridge > 0:
        raise _wrong("conjugate gradients take a ridge", 'give ridge=, or take method="cholesky"', "no ridge")
    count = len(diagonal)
    most = min(count, memory // (64 * count))
    rank = min(count, 4 * isqrt(count), most) if wished.rank is None else min(count, wished.rank)
    if rank > most or memory < 256 * count:
        reason = f"a preconditioner of rank {rank} for {count} samples does not fit {size_text(memory)}"
        raise _wrong(reason, "lower rank=, or raise memory=", "over the memory limit")
    basis = _basis(pivoted(matrix, diagonal, rank, ridge), ridge)
    return ConjugateGradients(matrix, float(ridge), wished.tol, memory, basis, progress=progress)


# ---------------------------------------------------------------- the preconditioner


def pivoted(matrix: Any, diagonal: Array, rank: int, enough: float) -> Array:
    """Lᵀ [≤ rank, N] with K ≈ L Lᵀ: always the row with the largest diagonal entry left, until those sum to ``enough``."""
    found, left = np.empty((rank, len(diagonal))), np.array(diagonal, dtype=np.float64)
    for k in range(rank):
        at = int(np.argmax(left))
        if left.sum() <= enough:
            return found[:k]
        row = part(matrix, slice(at, at + 1), slice(None))[0] - found[:k, at] @ found[:k]
        if row[at] <= SMALLEST * diagonal.max():
            return found[:k]
        found[k] = row / np.sqrt(row[at])
        left = np.maximum(left - found[k] ** 2, 0.0)
        left[at] = 0.0
    return found


def _basis(transposed: Array, ridge: float) -> Array:
    """Q [N, r] with (L Lᵀ + λI)⁻¹ = (I − Q Qᵀ) / λ: the upper rows of the orthogonal factor of [L; √λ I].

    Woodbury's identity, (L Lᵀ + λI)⁻¹ = (I − L (LᵀL + λI)⁻¹ Lᵀ) / λ, without squaring what is in L.
    """
    from scipy.linalg import qr

    rank, count = transposed.shape
    if not rank:
        return np.zeros((count, 0))
    stacked = np.concatenate([transposed.T, np.sqrt(ridge) * np.eye(rank)])
    orthogonal = qr(stacked, mode="economic", overwrite_a=True, check_finite=False)[0]
    return np.ascontiguousarray(orthogonal[:count])


def _wrong(reason: str, remedy: str, heading: str) -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, heading))
