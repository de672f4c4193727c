"""Generated text → machine code: translated, optimised by LLVM and kept as object code in the cache folder.

An entry is compiled when it is first called, for the types of its arguments; the object code goes by the hash of the
text, the types, the processor and the versions of compiler and translation.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tp.kernel.native.translation import Translation
from tp.kernel.native.values import F32, F64, I64

VERSION = "1"
"""Of the translation: other code from the same text has another name."""

_lock = threading.RLock()
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Native:
    """The entries of a generated module as attributes; plain Python gives the same numbers from the same text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._entries: dict[tuple[Any, ...], Callable[[int], None]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self._call(name, args)

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        kinds: list[str] = []
        words: list[int] = []
        for a in args:
            if isinstance(a, np.ndarray):
                size = a.itemsize
                if a.ndim and a.strides[-1] != size and a.shape[-1] > 1:
                    raise ValueError(f"{name}: an array whose last axis is not contiguous")
                kinds.append(f"{a.dtype.kind}{8 * size}x{a.ndim}")
                words += [a.ctypes.data, *a.shape, *(s // size for s in a.strides[:-1])]
            elif isinstance(a, (bool, np.bool_)):
                kinds.append("b")
                words.append(int(a))
            elif isinstance(a, (int, np.integer)):
                kinds.append("i")
                words.append(int(a))
            else:
                kinds.append("f")
                words.append(int(np.float64(a).view(np.int64)))
        key = (name, *kinds)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entry(key)
        packed = (ctypes.c_int64 * max(1, len(words)))(*words)
        entry(ctypes.addressof(packed))
        return packed[0]

    def _entry(self, key: tuple[Any, ...]) -> Callable[[int], None]:
        with _lock:
            if key not in self._entries:
                self._entries[key] = _FUNCTION(_address(self._text, key[0], key[1:]))
            return self._entries[key]


def _kind(code: str) -> Any:
    if code in ("b", "i", "f"):
        return {"b": I64, "i": I64, "f": F64}[code]
    number, _, axes = code.partition("x")
    return ("array", {"f64": F64, "f32": F32, "i64": I64}[number], int(axes))


def _address(text: str, name: str, kinds: tuple[str, ...]) -> int:
    from tp.kernel.module import cache_folder, digest, write

    host = _host()
    path = cache_folder() / f"tp_kernel_{digest(chr(0).join([text, name, *kinds, host.name, VERSION]))}.o"
    code = _kept(path)
    if code is None:
        code = host.machine_code(Translation(text, name, [_kind(k) for k in kinds]).text())
        write(path, sha256(code).digest() + code)
    return host.load(code, name)


def _kept(path: Path) -> bytes | None:
    """Object code whose checksum, the file's first 32 bytes, is right."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    return stored[32:] if sha256(stored[32:]).digest() == stored[:32] else None


class _Host:
    """This processor."""

    def __init__(self) -> None:
        import llvmlite
        from llvmlite import binding

        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        self.binding = binding
        target = binding.Target.from_default_triple()
        features = binding.get_host_cpu_features().flatten()
        cpu = binding.get_host_cpu_name()
        self.machine = target.create_target_machine(
            cpu=cpu, features=features, opt=3, reloc="static", codemodel="jitdefault", jit=True
        )
        self.name = f"{binding.get_default_triple()} {cpu} {features} llvmlite {llvmlite.__version__}"
        self.engines: list[Any] = []

    def machine_code(self, text: str) -> bytes:
        """Optimised object code."""
        module = self.binding.parse_assembly(text)
        options = self.binding.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = True
        passes = self.binding.create_pass_builder(self.machine, options)
        passes.getModulePassManager().run(module, passes)
        return bytes(self.machine.emit_object(module))

    def load(self, code: bytes, name: str) -> int:
        """The address of a function in object code."""
        empty = self.binding.parse_assembly("")
        engine = self.binding.create_mcjit_compiler(empty, self.machine)
        engine.add_object_file(self.binding.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self.engines.append(engine)
        return int(engine.get_function_address(name))


@cache
def _host() -> _Host:
    return _Host()
