"""Arrays from outside: shapes, numbers and names checked before anything is computed."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message, Sizes, resized

if TYPE_CHECKING:
    import sympy as sp

    from tp.program.ir import Data

Array = NDArray[Any]
Samples = dict[str, Array]
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of one sample, by input."""
Names = Mapping[str, Sizes]
"""What the extents of an input are called in the spec, by input."""
NAMELESS: Names = {}

SEEN = 128
"""Words of a sample that tell most samples apart."""


def samples(wanted: Shapes, X: Any, dtype: Any, argument: str = "X", sizes: Names = NAMELESS) -> Samples:
    """One array [N, *indices, *finite axes] per input, contiguous and of the kernel's precision."""
    return {n: converted(n, a, dtype, argument) for n, a in arrays(wanted, X, argument, sizes).items()}


def arrays(wanted: Shapes, X: Any, argument: str = "X", sizes: Names = NAMELESS) -> Samples:
    """One array per input, as it was given (it may lie in a file): names, shapes and numbers of samples checked."""
    given = _by_name(wanted, X, argument)
    found = {name: _shaped(name, wanted[name], value, argument, sizes.get(name, ())) for name, value in given.items()}
    counts = {name: len(a) for name, a in found.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"`{n}` has {k}" for n, k in counts.items())
        raise _wrong("numbers of samples differ", f"inputs of one call hold the same samples, but {listing}", "")
    return found


def _wrong(title: str, reason: str, remedy: str) -> DataError:
    return DataError(Message(NOWHERE, reason, remedy, title))


def _by_name(wanted: Shapes, X: Any, argument: str) -> dict[str, Any]:
    if not wanted:
        raise _wrong("no input", f"the network has no input for {argument}", "its ranges are empty: make them longer")
    names = ", ".join(f"`{n}`" for n in wanted)
    if not isinstance(X, Mapping):
        if len(wanted) != 1:
            raise _wrong(
                "several inputs", f"the network has the inputs {names}, but {argument} is one array", "pass a dict: {name: array}"
            )
        return {next(iter(wanted)): X}
    for name in X:
        if name not in wanted:
            near = difflib.get_close_matches(str(name), wanted, 1)
            raise _wrong(
                "unknown input", f"the network has no input `{name}`", f"did you mean `{near[0]}`?" if near else f"it has {names}"
            )
    missing = [n for n in wanted if n not in X]
    if missing:
        raise _wrong("missing input", f"{argument} has no array for the input `{missing[0]}`", f"the network has {names}")
    return {n: X[n] for n in wanted}


def shape(data: Data, numbers: Mapping[sp.Symbol, sp.Expr]) -> tuple[int, ...]:
    """The shape of one sample of an input."""
    ranges = {r.index: r for r in data.domain}
    return tuple(int((ranges[e].hi - ranges[e].lo + 1).xreplace(dict(numbers))) if e in ranges else 1 for e in data.ref.index)


def _shaped(name: str, want: tuple[int, ...], value: Any, argument: str, sizes: Sizes) -> Array:
    if hasattr(value, "__cuda_array_interface__"):
        reason = f"{argument} for the input `{name}` lies in the memory of a device"
        raise _wrong("not in memory", reason, "pass a NumPy array, X.get() or X.cpu().numpy(): a kernel on CUDA sends it itself")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise _wrong("not an array", f"{argument} for the input `{name}` is no rectangular array of numbers", "") from error
    if "numpy.ma" in sys.modules and np.ma.is_masked(value):  # else there are none, and it takes time to load
        reason = f"{argument} for the input `{name}` is a masked array with masked numbers"
        raise _wrong("masked numbers", reason, "say what they are: X.filled(0)")
    if array.dtype.kind not in "fiub":
        reason = f"{argument} for the input `{name}` holds {array.dtype}, not real numbers"
        apart = "give real and imaginary parts as coordinates of their own: np.concatenate([X.real, X.imag], axis=-1)"
        remedy = apart if array.dtype.kind == "c" else "convert it with .astype(float)"
        raise _wrong("wrong dtype", reason, "a kernel takes dense arrays: X.toarray()" if hasattr(value, "toarray") else remedy)
    if array.ndim != len(want) + 1 or array.shape[1:] != want:
        full = f"[N{''.join(f', {k}' for k in want)}]"
        reason = f"the input `{name}` has shape {full}, but {argument} has shape {list(array.shape)}"
        raise DataError(Message(NOWHERE, reason, *_shape_help(array.shape, want, sizes)))
    if array.size == 0:
        raise _wrong("empty array", f"{argument} for the input `{name}` has shape {list(array.shape)}: no samples", "")
    return array


def converted(name: str, array: Array, dtype: Any, argument: str = "X", first: int = 0) -> Array:
    """Rows ``first …`` of an input, contiguous, finite and of the kernel's precision."""
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=dtype)
    rows = found.reshape(len(found), -1)
    if not _plain(rows):
        _finite(name, array, found, argument, first)
        _squares(name, array, rows, argument, first)
    return found if found.flags.writeable else found.copy()


def _plain(rows: Array) -> bool:
    """Whether squared norms tell, in one pass, that all is well; zeros, as much as what is wrong, make them say no."""
    if not rows.size:
        return True
    numbers = np.finfo(rows.dtype)
    with np.errstate(all="ignore"):
        norms = rows[:, None, :] @ rows[:, :, None]
    return bool(norms.min() >= rows.shape[1] * float(numbers.tiny) and norms.max() <= float(numbers.max) ** 0.98)


def _finite(name: str, array: Array, found: Array, argument: str, first: int) -> None:
    """Refuses what is no finite number, or is none any more in the kernel's precision."""
    if not np.isfinite(found).all():
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(found))[0])
        what = array[at] if not np.isfinite(array[at]) else f"{array[at]:g}, too large for {found.dtype},"
        index = [first + at[0], *at[1:]]
        raise _wrong("not a finite number", f"{argument} for the input `{name}` is {what} at index {index}", "")


def _squares(name: str, array: Array, rows: Array, argument: str, first: int) -> None:
    """Refuses samples whose squared norms the precision does not hold: kernels are made of them, and of ratios of them."""
    numbers = np.finfo(rows.dtype)
    largest = np.maximum(rows.max(1), -rows.min(1)).astype(np.float64)
    zero = np.flatnonzero(largest == 0.0)  # as they were given, or by rounding
    largest[zero] = np.abs(array[zero]).max(tuple(range(1, array.ndim)))
    beyond = (largest > float(numbers.max) ** 0.49) | ((largest > 0.0) & (largest < float(numbers.tiny) ** 0.5))
    if beyond.any():
        k = int(beyond.argmax())
        what = "large" if largest[k] > 1.0 else "small"
        of = f"{argument} for the input `{name}` has {largest[k]:.0e} as its largest entry in sample {first + k}"
        reason = f"{of}: squares are too {what} for {rows.dtype}"
        raise _wrong(f"samples too {what}", reason, "scale the samples, and the weights the other way")


def _shape_help(given: tuple[int, ...], want: tuple[int, ...], sizes: Sizes) -> tuple[str, str, str]:
    """The remedy, the heading and the remedy on the command line."""
    remedy = command = ""
    if given == want:
        remedy = "a single sample needs a leading axis: X[None]"
    elif sorted(given[1:]) == sorted(want) and len(want) > 1:
        remedy = "the axes are in another order: index ranges first, features last"
    elif len(given) > 1 and int(np.prod(given[1:])) == int(np.prod(want)):
        remedy = f"reshape it: X.reshape(-1{''.join(f', {k}' for k in want)})"
    elif len(given) == len(want) + 1:
        remedy, command = resized(given[1:], want, sizes)
    elif want:
        remedy = f"every sample is an array of shape {list(want)}: a value of each index first, features last"
    return remedy, "wrong shape", command


def groups(data: Samples) -> NDArray[np.int64]:
    """The first sample that is equal, bit by bit, by sample. Only samples with equal sums are compared."""
    count = len(next(iter(data.values())))
    rows = [np.ascontiguousarray(a).reshape(count, -1) for a in data.values()]
    sums = sum((_middle(r).sum(axis=1, dtype=np.int64) for r in rows), np.zeros(count, np.int64))
    found = np.arange(count)
    if len(set(sums.tolist())) == count:
        return found
    _, which, times = np.unique(sums, return_inverse=True, return_counts=True)
    seen: dict[Any, int] = {}
    for k in np.flatnonzero(times[which] > 1):
        key = rows[0][k].tobytes() if len(rows) == 1 else tuple(r[k].tobytes() for r in rows)
        found[k] = seen.setdefault(key, int(k))
    return found


def _middle(rows: Array) -> NDArray[Any]:
    """Some words of bits of each row, from its middle, where samples are least alike."""
    words = rows.view("i8" if rows.shape[1] * rows.itemsize % 8 == 0 else f"i{rows.itemsize}")
    start = max(0, (words.shape[1] - SEEN) // 2)
    return words[:, start : start + SEEN]
