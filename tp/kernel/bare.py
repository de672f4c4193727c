"""Machine code that numba made, called without numba: to load that takes longer than a call of few samples.

What numba keeps of a function has its machine code, and that is kept here once more: an object file, for LLVM to link. Its
functions take numbers, and addresses and extents of arrays, by numba's calling convention. What they take from elsewhere is C's
mathematics and numba's memory for arrays, which here is C's own; what their wrappers for Python take, which nobody calls here, is
not there. A function of which this cannot be said is numba's alone, and so is a call that fails, one with arguments of other
kinds, and every call where numba was told something; and all once that is loaded, or was worth loading. Like numba's own files
these are for another processor, or another compiler, not there; a sum tells damage, no malice.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from time import process_time
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from tp.forks import waited_for
from tp.kernel import sizes
from tp.kernel.aside import Kind, kind
from tp.kernel.module import cache_folder, digest, load, read, write
from tp.kernel.objects import taken

T = TypeVar("T")

FORMAT = 1

SIZE = hashlib.sha256().digest_size

LOADING = 0.3
"""Seconds that functions of a module are called so; by then numba, whose calls cost less, would have been loaded."""

SHORT = 18_000
"""Characters of text that Python has read, and run for few numbers, before LLVM is loaded."""

HARMLESS = frozenset({"NUMBA_NUM_THREADS"})
"""What numba may be told without machine code being another."""

NUMBERS = {"int64": ctypes.c_int64, "float64": ctypes.c_double, "float32": ctypes.c_float, "boolean": ctypes.c_int8}
"""Numbers as arguments and as what is returned."""

_MATH = "sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh"
_OTHERS = "erf erfc pow fmod hypot floor ceil trunc rint round fabs copysign ldexp"
LIBRARY = frozenset({"memset", "memcpy", "memmove"} | {f"{n}{s}" for n in f"{_MATH} {_OTHERS}".split() for s in ("", "f")})
"""What functions may take of C."""

MEMORY = """
declare ptr @malloc(i64)
declare void @free(ptr)
declare void @llvm.trap()

define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %a = zext i32 %align to i64
  %more = add i64 %a, 48
  %all = add i64 %size, %more
  %over = icmp ult i64 %all, %size
  br i1 %over, label %none, label %some
some:
  %p = call ptr @malloc(i64 %all)
  %failed = icmp eq ptr %p, null
  br i1 %failed, label %none, label %fill
fill:
  %base = ptrtoint ptr %p to i64
  %end = add i64 %base, %more
  %up = sub i64 %end, 1
  %mask = sub i64 0, %a
  %data = and i64 %up, %mask
  store i64 1, ptr %p
  %at = getelementptr i8, ptr %p, i64 24
  store i64 %data, ptr %at
  %sized = getelementptr i8, ptr %p, i64 32
  store i64 %size, ptr %sized
  ret ptr %p
none:
  ret ptr null
}

define void @NRT_MemInfo_call_dtor(ptr %p) {
  call void @free(ptr %p)
  ret void
}
"""
"""numba's memory for arrays (``nrt.h``): a count of references, two pointers, the data and their size, and one pointer more."""

GIVEN = frozenset({"NRT_MemInfo_alloc_aligned", "NRT_MemInfo_call_dtor"})


# ------------------------------------------------------------ files


def keep(folder: Path, made: Any) -> None:
    """What numba keeps of a function also as an object file beside it, where it can be called by itself."""
    if not isinstance(made, tuple) or not _is_plain():
        return
    (_, how, code), about, *_ = made
    if how != "object" or not about.modname.startswith("tp_kernel_"):
        return
    with suppress(ValueError, OSError):
        kinds = [_kind(t) for t in about.argtypes]
        path = folder / _file(about.modname, about.qualname, kinds)
        if any(isinstance(k, str) and k not in NUMBERS for k in kinds) or _kept(path) is not None:
            return
        own, others = taken(code[0], about.llvm_cpython_wrapper_name)
        result = _kind(about.restype)
        if own <= LIBRARY | GIVEN and (result in NUMBERS or result == "none"):
            head = {"name": about.llvm_func_name, "result": result, "others": sorted(others - LIBRARY - GIVEN)}
            data = json.dumps(head).encode() + b"\n" + code[0]
            write(path, hashlib.sha256(data).digest() + data)


def _kind(t: Any) -> Kind:
    """One of numba's types, as :func:`tp.kernel.aside.kind` says it."""
    if hasattr(t, "layout"):
        return str(_kind(t.dtype)), t.ndim, t.layout, not t.mutable, t.aligned
    return "boolean" if str(t) == "bool" else str(t)


def _file(module: str, function: str, kinds: Sequence[Kind]) -> str:
    about = json.dumps([machine(), kinds])
    return f"{module}.{function}.{hashlib.sha256(about.encode()).hexdigest()[:24]}.bare"


def _kept(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """What is said of a function, and its machine code; None where that is not there, or not whole."""
    data = read(path) or b""
    if hashlib.sha256(data[SIZE:]).digest() != data[:SIZE]:
        return None
    head, _, code = data[SIZE:].partition(b"\n")
    return json.loads(head), code


@cache
def machine() -> str:
    """What machine code is for, and by which compiler: the processor and the releases of numba and of LLVM."""
    from llvmlite import __version__, binding  # type: ignore[import-untyped]

    binding.initialize_native_target()
    processor = binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    numba = find_spec("numba")
    release = read(Path(numba.origin).with_name("_version.py")) if numba is not None and numba.origin else None
    about = [FORMAT, *processor, __version__, hashlib.sha256(release or b"").hexdigest()]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _is_plain() -> bool:
    """Whether numba was told nothing, by the environment or by a file in the current folder."""
    told = any(name.startswith("NUMBA_") and name not in HARMLESS for name in os.environ)
    return not told and not os.path.exists(".numba_config.yaml")


# ------------------------------------------------------------ functions


_spent: dict[str, float] = {}


def carried_out(
    text: str, numbers: int, calls: Callable[[], Mapping[str, Sequence[Kind]]], work: Callable[[ModuleType], T]
) -> T | None:
    """``work`` on so many numbers with machine code called so, of functions that take what ``calls`` says.

    None where it is not kept, where numba is loaded, or was worth loading by now, and where Python is sooner done.
    """
    name = digest(text)
    if "numba" in sys.modules or (len(text) < SHORT and numbers <= sizes.FEW):
        return None
    if _spent.get(name, 0.0) >= LOADING or not is_kept(text):
        return None
    start = process_time()
    try:
        made = module(text, calls())
        return None if made is None else work(made)
    finally:
        _spent[name] = _spent.get(name, 0.0) + process_time() - start


def is_kept(text: str) -> bool:
    """Whether any function of the module with this text is kept so."""
    name = f"tp_kernel_{digest(text)}"
    return _is_plain() and any((cache_folder() / "__pycache__").glob(f"{name}.*.bare"))


def module(text: str, calls: Mapping[str, Sequence[Kind]]) -> ModuleType | None:
    """The module with this text, whose functions are called without numba; None where one of ``calls`` is not kept."""
    name = f"tp_kernel_{digest(text)}"
    linked = _linked([_file(name, function, kinds) for function, kinds in calls.items()])
    if linked is None:
        return None
    made = _Module(name)
    made.text = text
    for (function, kinds), found in zip(calls.items(), linked, strict=True):
        setattr(made, function, _Function(found, kinds, partial(_compiled, text, function)))
    return made


class _Module(ModuleType):
    """Some functions of a module. It is seen whether others are kept when they are called; those that are not are numba's."""

    text: str

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            found = module(self.text, {name: tuple(map(kind, arguments))})
            return _compiled(self.text, name, *arguments) if found is None else getattr(found, name)(*arguments)

        return call


def _compiled(text: str, name: str, *arguments: Any) -> Any:
    return getattr(load(text), name)(*arguments)


@dataclass(frozen=True, slots=True)
class _Linked:
    address: int
    result: str


_links: dict[str, _Linked] = {}
_linking = waited_for(Lock())


def _linked(files: Sequence[str]) -> list[_Linked] | None:
    """What is kept in files of these names; None where one is not there, or not whole."""
    with _linking:
        missing = [file for file in files if file not in _links]
        folder = cache_folder() / "__pycache__" if missing else Path()
        kept = {file: _kept(folder / file) for file in missing}
        whole = {file: found for file, found in kept.items() if found is not None}
        if len(whole) < len(kept):
            return None
        if whole:
            _links.update(_link(whole))
        return [_links[file] for file in files]


def _link(kept: Mapping[str, tuple[dict[str, Any], bytes]]) -> dict[str, _Linked]:
    """Machine code with all that it takes at its place."""
    from llvmlite import binding

    trap = "{\n  call void @llvm.trap()\n  unreachable\n}\n"
    others = {name for head, _ in kept.values() for name in head["others"]}
    text = MEMORY + "".join(f"define void @{json.dumps(name)}() {trap}" for name in sorted(others))
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(opt=0, codemodel="jitdefault", jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(text), machine)
    for _, code in kept.values():
        engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    found = {f: _Linked(engine.get_function_address(head["name"]), head["result"]) for f, (head, _) in kept.items()}
    engine.detach()  # it stays as long as the process: machine code may be at work when that ends
    return found


class _Function:
    """A function at an address, by numba's calling convention: a place for what it returns, one for errors, the arguments."""

    def __init__(self, linked: _Linked, kinds: Sequence[Kind], compiled: Callable[..., Any]) -> None:
        self.kinds, self.compiled, self.result = kinds, compiled, NUMBERS.get(linked.result)
        types: list[Any] = [ctypes.c_void_p, ctypes.c_void_p]
        for k in self.kinds:
            types += [NUMBERS[k]] if isinstance(k, str) else _types(k[1])
        self.function = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(linked.address)
        self.last: list[tuple[Any, tuple[Any, ...] | None]] = [(None, None)] * len(self.kinds)

    def __call__(self, *arguments: Any) -> Any:
        place: Any = (self.result or ctypes.c_int64)()
        error = ctypes.c_void_p()
        given: list[Any] = [ctypes.addressof(place), ctypes.addressof(error)]
        for at, argument in enumerate(arguments):
            values = self._given(at, argument)
            if values is None:
                return self.compiled(*arguments)
            given += values
        if self.function(*given) != 0:
            return self.compiled(*arguments)  # it says what is wrong
        return None if self.result is None else place.value

    def _given(self, at: int, argument: Any) -> tuple[Any, ...] | None:
        """What is passed on of an argument, None of one of another kind; most arrays are those of the call before."""
        before, values = self.last[at]
        if before is argument and values is not None:
            return values
        if kind(argument) != self.kinds[at]:
            return None
        if not isinstance(argument, np.ndarray):
            return (float(argument) if str(self.kinds[at]).startswith("float") else int(argument),)
        values = _values(argument)
        self.last[at] = argument, values
        return values


def _types(axes: int) -> list[Any]:
    """What is passed on of an array: its two owners, none here, how many numbers, of how many bytes, where; extents and steps."""
    return [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] + [ctypes.c_int64] * (2 * axes)


def _values(array: Any) -> tuple[Any, ...]:
    return None, None, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides
