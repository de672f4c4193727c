"""Arrays in .npz files, which are data from strangers: nothing is unpickled, and no more is unpacked than can be held."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 8 * 2**30
"""Bytes that an archive unpacks to at most."""


def arrays_in(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name. Raises ``OSError`` where it cannot be opened, ``ValueError`` where it is none."""
    import numpy as np

    try:
        with zipfile.ZipFile(Path(path)) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"it unpacks to {size} bytes; the limit is {LARGEST}")
        with np.load(path, allow_pickle=False) as loaded:
            found = {name: loaded[name] for name in loaded.files}
    except OSError:
        raise
    except Exception as error:  # what is no archive of arrays fails in a dozen ways: in headers, in what is compressed, in sizes
        raise ValueError(reason(error)) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"`{name}` in it is no array")
    return found


def reason(error: Exception) -> str:
    """What an error says, in some 200 characters: messages quote what they complain of."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    return said if len(said) <= 200 else f"{said[:200]}…"
