"""What a user gives: arrays, constants, widths. Each is checked here, once, before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import product
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message, Sizes, Span, resized, with_values
from tp.program.ir import Data, Program, Space
from tp.readings.indexing import Env, Indexer, Key

Array = NDArray[np.float64]


def complain(span: Span, heading: str, reason: str, remedy: str = "", command: str = "") -> DataError:
    return DataError(Message(span, reason, remedy, heading, command))


# ---------------------------------------------------------------- constants and widths


def environment(
    program: Program, width: int | Mapping[str, int], constants: Mapping[str, Any], indexer: Indexer
) -> dict[str, Any]:
    """Numbers for every constant, free width and space of ``program``, by name."""
    env = numbers_of(program, constants)
    free = sorted({s.name for space in program.spaces for s in space.size.free_symbols} - set(env))
    env.update(_widths(width, free))
    env.update({space.name: size_of(space, env, indexer) for space in program.spaces})
    return env


def numbers_of(program: Program, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers for every constant of ``program``, by name: all that the shapes of data depend on."""
    families = {name for name, (_, rows) in program.tables.items() if rows is None}
    wanted = {s.name for s in program.constants}
    _reject_unknown(constants, wanted | families, "constant")
    missing = sorted(wanted - set(constants))
    if missing:
        raise complain(NOWHERE, "missing constant", f"`{missing[0]}` has no value in the spec", *with_values("give", missing))
    return {name: _constant(name, constants[name]) for name in wanted}


def generator(seed: Any) -> np.random.Generator:
    """Random numbers from a seed, a whole number that is not negative; a generator is taken as it is."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise complain(NOWHERE, "seed", f"the seed is {seed!r}", "give a whole number that is not negative") from None


def _constant(name: str, value: Any) -> int | float | Fraction:
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise complain(NOWHERE, "not a number", f"constant `{name}` is {type(value).__name__}")
    if isinstance(value, (int, Fraction)):
        return value
    number = float(value)
    if not isfinite(number):
        raise complain(NOWHERE, "not finite", f"constant `{name}` is {number}")
    return int(number) if number.is_integer() else number


def _widths(width: int | Mapping[str, int], free: list[str]) -> dict[str, int]:
    if not isinstance(width, Mapping):
        return {name: _width(name, width) for name in free}
    _reject_unknown(width, set(free), "width")
    missing = [name for name in free if name not in width]
    if missing:
        raise complain(NOWHERE, "missing width", f"width `{missing[0]}` has no size")
    return {name: _width(name, width[name]) for name in free}


def _width(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
        raise complain(NOWHERE, "not a width", f"width `{name}` is {value!r}", "give a positive integer")
    return int(value)


def size_of(space: Space, env: Env, indexer: Indexer) -> int:
    """The number of coordinates of ``space``."""
    try:
        size = indexer.integer(space.size, env)
    except DataError:
        size = 0
    if size < 1:
        raise complain(NOWHERE, "not a width", f"`{space} = {space.size}` is no positive integer here", "choose another width")
    return size


def _reject_unknown(given: Iterable[str], wanted: set[str], what: str) -> None:
    for name in given:
        if name not in wanted:
            near = difflib.get_close_matches(str(name), sorted(wanted), 1)
            listed = ", ".join(f"`{w}`" for w in sorted(wanted)) or "none"
            remedy = f"did you mean `{near[0]}`?" if near else f"this network has: {listed}"
            raise complain(NOWHERE, f"unknown {what}", f"`{name}` is no {what} of this network", remedy)


def table_members(
    program: Program, constants: Mapping[str, Any], env: Env, indexer: Indexer, number: Callable[[Any], float]
) -> dict[Key, Array]:
    """Every entry of the constant tables, and of the families of constants that were left symbolic, as [1]."""
    members: dict[Key, Array] = {}
    for name, (domain, rows) in program.tables.items():
        spans = [indexer.interval(r, env) for r in domain]
        if rows is None and name not in constants:
            remedy = f"give {name}=, an array {[len(span) for span in spans]}"
            command = f"write its entries into the spec, `let {name}[…] = [ … ]`"
            raise complain(NOWHERE, "missing constant", f"`{name}` has no values in the spec", remedy, command)
        given = None if rows is not None else checked_array(name, constants[name], tuple(map(len, spans)), NOWHERE, samples=False)
        for at in product(*(range(len(span)) for span in spans)):
            value = number(_entry(rows, at)) if given is None else given[at]
            members[name, *(span[k] for span, k in zip(spans, at, strict=True))] = np.array([value])
    return members


def _entry(rows: Any, at: tuple[int, ...]) -> Any:
    for k in at:
        rows = rows[k]
    return rows


# ---------------------------------------------------------------- data


def samples_of(program: Program, inputs: Mapping[str, Any], env: Env, indexer: Indexer) -> tuple[int, dict[Key, Array]]:
    """The number N of samples, and every scalar member of the data as [N].

    ``inputs[name]`` has shape [N, index ranges in order…, finite axes…].
    """
    families: dict[str, list[Data]] = {}
    for data in program.data:
        families.setdefault(data.ref.name, []).append(data)
    _reject_unknown(inputs, set(families), "input")
    members: dict[Key, Array] = {}
    counts: dict[str, int] = {}
    for name, clauses in families.items():
        if name not in inputs:
            raise complain(clauses[0].span, "missing input", f"no array was given for `{name}`")
        counts[name] = _split(name, clauses, inputs[name], env, indexer, members)
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"`{name}` has {n}" for name, n in counts.items())
        raise complain(NOWHERE, "unequal samples", f"the first axis counts samples, but {sizes}")
    return next(iter(counts.values()), 1), members


def _split(name: str, clauses: list[Data], given: Any, env: Env, indexer: Indexer, members: dict[Key, Array]) -> int:
    """Check the array of one input and cut it into members; returns its number of samples."""
    keys = [indexer.key(data.ref, point) for data in clauses for point in indexer.points(data.domain, env)]
    slots = [sorted({key[1 + k] for key in keys}) for k in range(len(clauses[0].ref.index))]
    open_slots = [k for k in range(len(slots)) if any(data.ref.index[k].free_symbols for data in clauses)]
    wanted = tuple(slots[k][-1] - slots[k][0] + 1 for k in open_slots)
    first = clauses[0]
    sizes = (("", 0),) * (len(slots) - len(first.sizes)) + first.sizes
    array = checked_array(name, given, wanted, first.span, sizes=tuple(sizes[k] for k in open_slots))
    for key in keys:
        at = tuple(key[1 + k] - slots[k][0] for k in open_slots)
        members[key] = array[(slice(None), *at)]
    return array.shape[0]


def checked_array(name: str, given: Any, wanted: tuple[int, ...], span: Span, samples: bool = True, sizes: Sizes = ()) -> Array:
    """``given`` as float64 of shape [N, *wanted], N ≥ 1 (``wanted`` alone without ``samples``), all finite.

    ``sizes`` say by what names of the spec the wanted extents are set.
    """
    try:
        array = np.asarray(given)
    except (ValueError, TypeError):
        raise complain(span, "not an array", f"`{name}` is a ragged list") from None
    if array.dtype.kind not in "fiub":
        raise complain(span, "wrong dtype", f"`{name}` has dtype {array.dtype}, not real numbers")
    shape = f"[{', '.join((['N'] if samples else []) + [str(k) for k in wanted])}]"
    if array.ndim != len(wanted) + samples or array.shape[int(samples) :] != wanted:
        remedy, command = (f"one sample: add its axis, `{name}[None]`" if array.shape == wanted else ""), ""
        if sizes and array.ndim == len(wanted) + samples:
            remedy, command = resized(array.shape[int(samples) :], wanted, sizes)
        raise complain(span, "wrong shape", f"`{name}` has shape {list(array.shape)}, wanted {shape}", remedy, command)
    if array.size == 0:
        raise complain(span, "empty input", f"`{name}` has shape {list(array.shape)}: no samples", f"wanted {shape}")
    array = np.ascontiguousarray(array, dtype=np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(k) for k in np.argwhere(bad)[0])
        raise complain(span, "not finite", f"`{name}[{', '.join(map(str, first))}]` is {array[first]}")
    return array
