"""Machine code on disk that is damaged is compiled again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from tp.kernel.module import load
from tp.kernel.quick import CHECKED
from tp.kernel.text import HEAD
from tp.kernel.whole import Whole


def kept(folder: Path, stamp: object = (1.0, 2)) -> Whole:
    return Whole(SimpleNamespace(_cache_path=str(folder), _index_path=str(folder / "f-1.py3.nbi"), _source_stamp=stamp))


def damages(data: bytes) -> list[bytes]:
    return [b"", data[:20], data[: len(data) // 2], data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b"garbage" + data]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_what_is_damaged_is_not_there(suffix, tmp_path):
    code = {"machine": b"code" * 100}
    kept(tmp_path).save("signature", code)
    assert kept(tmp_path).load("signature") == code
    assert kept(tmp_path).load("another") is None and kept(tmp_path, (1.5, 2)).load("signature") is None
    (path,) = tmp_path.glob(f"*{suffix}")
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        assert kept(tmp_path).load("signature") is None
        kept(tmp_path).save("signature", code)
        assert kept(tmp_path).load("signature") == code


def test_where_nothing_can_be_kept_nothing_is(tmp_path):
    kept(tmp_path / "none").save("signature", 1)
    assert kept(tmp_path / "none").load("signature") is None and not os.listdir(tmp_path)


@pytest.mark.skipif(not numba.__version__.startswith(CHECKED), reason="another numba keeps its files itself")
def test_generated_modules_keep_their_functions_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    text = HEAD + "\n\n\n@njit(cache=True)\ndef third(x):\n    return x / 3.0\n"
    assert load(text).third(np.float64(6.0)) == 2.0
    files = sorted(p.suffix for p in (tmp_path / "__pycache__").glob("*.whole*"))
    assert files == [".nbc", ".nbi"]
