"""Where compiled kernels are kept: object code in the user's cache folder, under the hash of what it was made from."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

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


def write(path: Path, text: bytes) -> None:
    """Whole or not at all: under a temporary name, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
