"""Generated text → imported module, kept in the user's cache folder under the hash of the text."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from tp.errors import NOWHERE, DataError, Message
from tp.forks import waited_for
from tp.kernel.apart import tell
from tp.kernel.quick import lighten

ROOM = 8 * 2**20
"""Bytes that a folder must have left: one kernel's text and machine code, several times over."""


def cache_folders() -> list[Path]:
    """``$TP_CACHE_DIR``, or ``tensor-programs/kernels`` in the user's cache folder; and another, where that cannot be written."""
    spare = Path(tempfile.gettempdir()) / f"tensor-programs-{_user()}"
    return [*_chosen(), *([spare] if _ours(spare) else [])]


def _chosen() -> list[Path]:
    """The folder that the user names or has; a user without a home has none."""
    if named := os.environ.get("TP_CACHE_DIR"):
        return [Path(named)]
    try:
        return [_user_cache() / "tensor-programs" / "kernels"]
    except RuntimeError:
        return []


def _ours(folder: Path) -> bool:
    """Whether a folder, in a place where everyone may make one, is not someone else's."""
    try:
        found = folder.lstat()
    except OSError:
        return True
    mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
    return mine and stat.S_ISDIR(found.st_mode)


def cache_folder() -> Path:
    """The first of the folders that can be written and has room, made if need be."""
    for folder in cache_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(folder).free >= ROOM:
                _tried(folder)
                return folder
        except OSError:
            continue
    tried = " and ".join(map(str, cache_folders())) or "a user without a home has none"
    reason = f"no folder to keep compiled kernels: {tried} cannot be written, or the disk is full"
    raise DataError(Message(NOWHERE, reason, "set TP_CACHE_DIR to a folder with room", "no cache folder"))


def _tried(folder: Path) -> None:
    """Raises ``OSError`` where no file can be made, or nothing be written to it: a quota may be used up, or all names."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 12))
        file.flush()


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def digest(text: str) -> str:
    """The name a text goes by."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class _Compiler:
    """numba's lock on its compiler, where numba is loaded."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def acquire(self) -> None:
        begun = sys.modules.get("numba.core.compiler_lock")  # perhaps no more than that, by another thread
        if (lock := getattr(begun, "global_compiler_lock", None)) is not None:
            lock.acquire()
            self.taken.append(lock)

    def release(self) -> None:
        while self.taken:
            self.taken.pop().release()


_compiler = waited_for(_Compiler())
_loading = waited_for(threading.RLock())


def load(text: str) -> ModuleType:
    """The module with this text; written once, never rewritten in place. Threads that ask at once get it whole."""
    with _loading:
        return _loaded(text)


def _loaded(text: str) -> ModuleType:
    name = f"tp_kernel_{digest(text)}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / f"{name}.py"
    if _text(path) != text:
        try:
            write(path, text)
        except OSError as error:
            reason = f"`{path.name}` cannot be kept in `{path.parent}`: {error.strerror or error}"
            remedy = "remove what is there under this name, or set TP_CACHE_DIR to another folder"
            raise DataError(Message(NOWHERE, reason, remedy, "no cache folder")) from error
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec"), vars(module))  # our own text, not what the file says by now
        lighten(module)
        tell(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_compiled(text: str) -> bool:
    """Whether any function of the module with this text was compiled before, unless numba was told to keep it elsewhere."""
    name = f"tp_kernel_{digest(text)}"
    return name in sys.modules or any((cache_folder() / "__pycache__").glob(f"{name}.*.nbi"))


def kept(name: str) -> str | None:
    """The text of the module that goes by the digest ``name``, where it is kept whole."""
    for folder in cache_folders():
        text = _text(folder / f"tp_kernel_{name}.py")
        if text is not None and digest(text) == name:
            return text
    return None


def _text(path: Path) -> str | None:
    """What a module's file says, where it is one."""
    try:
        return (read(path) or b"").decode("utf-8")
    except UnicodeDecodeError:
        return None


def read(path: str | Path, most: int = -1) -> bytes | None:
    """What is in a file, ``most`` bytes of it; None where there is none. A pipe of that name is no file, nor waited for."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None


def write(path: Path, content: str | bytes) -> None:
    """Whole or not at all: under a temporary name, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
