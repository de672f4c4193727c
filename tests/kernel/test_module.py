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


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_folder_with_room_that_takes_no_file_is_passed_over(tmp_path, monkeypatch, spare):
    """As where a quota is used up: files are made, and nothing can be written to them."""
    import resource

    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path / "quota"))
    plain, before = module._tried, resource.getrlimit(resource.RLIMIT_FSIZE)

    def tried(folder):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if folder.name == "quota" else before[0], before[1]))
        plain(folder)

    monkeypatch.setattr(module, "_tried", tried)
    try:
        assert module.cache_folder() == spare
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_what_is_no_file_is_neither_waited_for_nor_overwritten(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    text = "VALUE = 43\n"
    path = tmp_path / f"tp_kernel_{module.digest(text)}.py"
    os.mkfifo(path)
    assert module.kept(module.digest(text)) is None and module.read(path) is None
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="cannot be kept"):
        module.load(text)
    assert path.is_dir() and not list(tmp_path.glob("*.tmp"))


def test_a_user_without_a_home(monkeypatch, spare):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TP_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert module.cache_folder() == spare
