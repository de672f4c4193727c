"""Generated text → imported module, kept in the user's cache folder under the hash of the text."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType

from tp.errors import NOWHERE, DataError, Message


def cache_folder() -> Path:
    """``$TP_CACHE_DIR``, or ``tensor-programs/kernels`` in the user's cache folder; else a temporary folder."""
    named = os.environ.get("TP_CACHE_DIR")
    base = Path(named) if named else _user_cache() / "tensor-programs" / "kernels"
    for folder in (base, Path(tempfile.gettempdir()) / f"tensor-programs-{_user()}"):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise DataError(
        Message(NOWHERE, f"no folder to keep compiled kernels: {base} cannot be written", "set TP_CACHE_DIR", "no cache folder")
    )


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


_loading = threading.RLock()


def load(text: str) -> ModuleType:
    """The module with this text; written once, never rewritten in place. Threads that ask at once get it whole."""
    with _loading:
        return _loaded(text)


def _loaded(text: str) -> ModuleType:
    name = f"tp_kernel_{digest(text)}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / f"{name}.py"
    if not _holds(path, text):
        _write(path, text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _write(path: Path, text: str) -> None:
    """Whole or not at all: under a temporary name, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
