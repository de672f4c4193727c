"""Plans of kernels kept on disk, so that a kernel asked for a second time is neither parsed nor derived again.

A plan is a JSON file beside the generated modules, named by a hash of all it was made from: the text of the spec, the
values given, what was asked for, and the code of this library. What is found there is data from strangers. It is read
field by field into the shapes that :class:`Compiled` declares, its sum must agree, and the module it names must stay within
:mod:`tp.kernel.language`; else there is no plan, and one is made. Machine code is numba's to keep and to check.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tp.errors import DataError
from tp.kernel.module import cache_folder, cache_folders, digest, kept, read, write
from tp.kernel.plan import Compiled

FORMAT = 1

LARGEST = 1 << 26
"""Bytes of a plan at most."""

T = TypeVar("T")


# ------------------------------------------------------------ what a plan is made from


def spec_key(text: str, lets: Mapping[str, Any]) -> str | None:
    """A name for a spec with its values; None where these are no plain numbers."""
    try:
        return _hash("spec", text, lets)
    except (TypeError, OSError):
        return None


def plan_key(spec: str | None, *asked: Any) -> str | None:
    """A name for a kernel of a spec."""
    try:
        return None if spec is None else _hash("plan", spec, *asked)
    except TypeError:
        return None


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, code(), *map(_plain, parts)]).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """A value as JSON, types told apart. Raises ``TypeError`` where it is none of those that are kept."""
    if value is None or type(value) in (str, bool):
        return value
    if isinstance(value, dict):
        return {"named": [[_plain(name), _plain(value[name])] for name in sorted(value)]}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if type(value) in (int, float, Fraction):
        return {type(value).__name__: value.hex() if isinstance(value, float) else str(value)}
    raise TypeError(f"{value!r} cannot be part of a plan's name")


@cache
def code() -> str:
    """A hash that changes with the code of this library, and with the libraries and the Python that it runs on."""
    package = Path(__file__).resolve().parents[1]
    found = [(e.path, e.stat()) for e in _files(package) if e.name.endswith((".py", ".lark"))]
    for place in (package.parent / "grammar", *(_home(name) for name in ("sympy", "numba", "numpy"))):
        if place is not None and place.is_dir():
            found += [(e.path, e.stat()) for e in os.scandir(place) if e.name in ("spec.lark", "__init__.py", "_version.py")]
    listing = sorted((path, s.st_mtime_ns, s.st_size) for path, s in found)
    return hashlib.sha256(json.dumps([sys.version, listing]).encode()).hexdigest()


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(Path(entry.path))
        else:
            yield entry


def _home(name: str) -> Path | None:
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


# ------------------------------------------------------------ to and from disk


def known(spec: str | None) -> bool:
    """Whether a plan of this spec was kept: so it was found right."""
    return spec is not None and any(os.path.isfile(folder / f"tp_spec_{spec}.json") for folder in cache_folders())


def recall(key: str | None) -> Compiled | None:
    """The plan of this name, where it is there and whole."""
    for folder in cache_folders() if key is not None else ():
        try:
            return restored(read(folder / f"tp_plan_{key}.json", LARGEST) or b"")
        except (ValueError, RecursionError, MemoryError):
            continue
    return None


def remember(key: str | None, spec: str | None, made: Compiled) -> None:
    """Keep a plan, and its module. Where nothing can be written, nothing is kept."""
    if key is None or spec is None:
        return
    try:
        folder = cache_folder()
        write(folder / f"tp_kernel_{digest(made.text)}.py", made.text)
        write(folder / f"tp_plan_{key}.json", written(made))
        write(folder / f"tp_spec_{spec}.json", "{}\n")
    except (OSError, DataError):
        return


def written(made: Compiled) -> str:
    """A plan as JSON, with a sum; in the place of its module the module's name."""
    plan = {**_encoded(made), "text": digest(made.text)}
    return json.dumps({"sum": _sum(plan), "plan": plan})


def restored(data: bytes) -> Compiled:
    """A plan from JSON. Raises ``ValueError`` where it is not what :func:`written` gives, or its module is not at hand."""
    from tp.kernel.language import within

    outer = json.loads(data)
    if not isinstance(outer, dict) or outer.keys() != {"sum", "plan"} or not isinstance(outer["plan"], dict):
        raise ValueError("no plan")
    plan = outer["plan"]
    if outer["sum"] != _sum(plan):
        raise ValueError("its sum differs")
    text = kept(_decoded(str, plan.get("text")))
    if text is None or not within(text):
        raise ValueError("its module is not there")
    return _decoded(Compiled, {**plan, "text": text})


def _sum(plan: Any) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _encoded(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {k: _encoded(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_encoded(v) for v in value]
    return value.hex() if isinstance(value, float) else value


def _decoded(kind: type[T], value: Any) -> T:
    """``value`` as a ``kind``, whose declaration is the schema. Raises ``ValueError`` where it is none."""
    found: T = _as(kind, value)
    return found


def _as(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _as(next(k for k in inner if k is not types.NoneType), value)
    if origin is tuple and isinstance(value, list):
        if inner[-1] is Ellipsis:
            return tuple(_as(inner[0], v) for v in value)
        return tuple(_as(k, v) for k, v in zip(inner, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {_as(inner[0], k): _as(inner[1], v) for k, v in value.items()}
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        declared = _declared(kind)
        if value.keys() != declared.keys():
            raise ValueError(f"not the fields of {kind}")
        return kind(**{name: _as(declared[name], v) for name, v in value.items()})
    if kind is float and isinstance(value, str):
        return float.fromhex(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{value!r:.80} is no {kind}")


@cache
def _declared(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
