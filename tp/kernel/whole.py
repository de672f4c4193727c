"""Machine code that numba keeps on disk, with a sum in front: a file that is damaged is as if it were not there.

numba takes what it finds, so that a file cut short by a full disk or a lost connection ends every later call. A sum tells
damage, no malice: the folder is for its owner alone. Nor does a call end where nothing can be kept.
"""

from __future__ import annotations

import hashlib
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import IndexDataCacheFile

from tp.kernel import bare
from tp.kernel.module import read

SIZE = hashlib.sha256().digest_size


class Whole(IndexDataCacheFile):
    """The index and the data of a function, under names of their own beside those of a numba that knows no sums."""

    def __init__(self, plain: Any) -> None:
        base = Path(plain._index_path).name.removesuffix(".nbi")
        super().__init__(plain._cache_path, f"{base}.whole", plain._source_stamp)

    def save(self, key: Any, data: Any) -> None:
        with suppress(OSError):
            super().save(key, data)

    def _load_index(self) -> dict[Any, str]:
        found = _read(self._index_path)
        return found[2] if found is not None and found[:2] == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        found = _read(self._data_path(name))
        if found is not None:
            bare.keep(Path(self._cache_path), found)
        return found

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)
        bare.keep(Path(self._cache_path), data)

    def _write(self, path: str, value: Any) -> None:
        data = self._dump(value)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(data).digest() + data)


def _read(path: str) -> Any:
    """What was written; None where it is not there, or not whole."""
    data = memoryview(read(path) or b"")
    return pickle.loads(data[SIZE:]) if hashlib.sha256(data[SIZE:]).digest() == data[:SIZE] else None
