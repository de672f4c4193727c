"""Files of the command line: arrays in, and results out that are whole or not there."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tp.archive import arrays_in, reason
from tp.errors import NOWHERE, DataError, Message
from tp.target import PICTURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 2**30  # bytes of a text that is read as a whole
ARRAYS = (".npy", ".npz", ".csv")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary neighbour of ``path`` to write to; it takes the name only when the block succeeds."""
    writable(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def writable(*paths: Path | None) -> None:
    """Raise an ``OSError`` for a path that cannot be written to; ask before long work."""
    for path in filter(None, paths):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "No such folder", str(path.parent))
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "No permission to write", str(path.parent))


def write_text(path: Path, text: str) -> None:
    """``text`` in ``path``, or nothing."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """``content`` in ``path``, or nothing."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """``array`` as .npy, .npz (under the name ``K``) or .csv, by the suffix of ``path``."""
    import numpy as np

    with whole(path) as temporary, temporary.open("wb") as stream:
        if path.suffix == ".npz":
            np.savez_compressed(stream, K=array)
        elif path.suffix == ".csv":
            np.savetxt(stream, np.atleast_2d(array), delimiter=",", fmt="%.17g")
        else:
            np.save(stream, array, allow_pickle=False)


def array_path(text: str) -> Path:
    """A path whose suffix says how an array is stored."""
    return _ending(text, ARRAYS)


def matrix_path(text: str) -> Path:
    """A path whose suffix says how a matrix is stored, which may be larger than memory."""
    return _ending(text, (*ARRAYS, ".zarr"))


def picture_path(text: str) -> Path:
    """A path whose suffix says how a figure is drawn."""
    return _ending(text, PICTURES)


def page_path(text: str) -> Path:
    """A path for a typeset page."""
    return _ending(text, (".pdf",))


def graph_path(text: str) -> Path | str:
    """A path for a drawing, or ``-`` for standard output."""
    return text if text == "-" else _ending(text, (".svg",))


def _ending(text: str, suffixes: tuple[str, ...]) -> Path:
    path = Path(text)
    if path.suffix not in suffixes:
        raise argparse.ArgumentTypeError(f"{text!r}: the name must end in {', '.join(suffixes)}")
    return path


def read_arrays(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The array of a .npy or .csv file, or the arrays of an .npz file by name (one array comes without its name).

    Nothing is unpickled. A file that is not what its suffix says is a ``DataError``.
    """
    import numpy as np

    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        if path.suffix == ".npy":
            return np.lib.format.open_memmap(path, mode="r")  # mapped: the header cannot promise more than is there
        arrays = arrays_in(path)
    except (OSError, DataError):
        raise
    except Exception as error:  # of headers, NumPy complains in a dozen ways
        raise _unreadable(path, reason(error)) from None
    if not arrays:
        raise _unreadable(path, "there is no array in it")
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _read_csv(path: Path) -> NDArray[Any]:
    """Rows of numbers; a first row that is not numbers is a heading."""
    import numpy as np

    size = path.stat().st_size
    if size > LARGEST:
        raise _unreadable(path, f"it has {size} bytes; the limit for text is {LARGEST}")
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if lines and not _is_number(lines[0].split(",")[0]):
        del lines[0]
    if not lines:
        raise _unreadable(path, "there are no numbers in it")
    return np.loadtxt(lines, delimiter=",", ndmin=2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unreadable(path: Path, why: str) -> DataError:
    remedy = "arrays come as .npy, .npz or .csv, numbers only"
    return DataError(Message(NOWHERE, f"cannot read `{path.name}`: {why}", remedy, "data file"))
