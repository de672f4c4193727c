"""Where generated text and compiled code are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tp.errors import DataError
from tp.kernel import module


@pytest.fixture
def spare(tmp_path, monkeypatch):
    """A folder for temporary files that is this test's own; what is returned is the one that kernels take there."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    return tmp_path / "temporary" / f"tensor-programs-{os.getuid()}"


def test_generated_modules_are_kept_under_their_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    text = "VALUE = 41\n"
    made = module.load(text)
    (path,) = tmp_path.glob("tp_kernel_*.py")
    assert made.VALUE == 41 and module.digest(text) in path.name and path.read_text() == text
    path.write_text("VALUE = 13\n")
    del sys.modules[made.__name__]
    assert module.load(text).VALUE == 41
    assert [p.suffix for p in tmp_path.iterdir() if p.is_file()] == [".py"]


def test_a_folder_that_cannot_be_made_or_is_full_is_passed_over(tmp_path, monkeypatch, spare):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path / "file"))
    assert module.cache_folder() == spare
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path / "full"))
    free = {"full": 2**20}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free.get(Path(path).name, 2**40)))
    assert module.cache_folder() == spare
    free[spare.name] = 0
    with pytest.raises(DataError, match="disk is full"):
        module.cache_folder()


def test_a_user_without_a_home(monkeypatch, spare):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TP_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert module.cache_folder() == spare
