"""Arrays in, whole files out."""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tp import archive
from tp.cli import files
from tp.errors import DataError

X = np.arange(6.0).reshape(3, 2)


def test_npy_npz_and_csv_come_back(tmp_path):
    for suffix in files.ARRAYS:
        path = tmp_path / f"K{suffix}"
        files.write_array(path, X / 7)
        assert np.array_equal(files.read_arrays(path), X / 7), suffix
    assert sorted(p.name for p in tmp_path.iterdir()) == ["K.csv", "K.npy", "K.npz"]


def test_arrays_of_an_archive_keep_their_names(tmp_path):
    np.savez(tmp_path / "X.npz", x=X, y=2 * X)
    arrays = files.read_arrays(tmp_path / "X.npz")
    assert set(arrays) == {"x", "y"} and np.array_equal(arrays["y"], 2 * X)


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "a,b\n1,2\n3,4\n", "\n1,2\n\n3,4", "\ufeff1,2\r\n3,4\r\n"])
def test_csv_with_and_without_heading(tmp_path, text):
    path = tmp_path / "X.csv"
    path.write_bytes(text.encode())
    assert np.array_equal(files.read_arrays(path), [[1, 2], [3, 4]])


def test_one_column_and_one_row_stay_two_dimensional(tmp_path):
    path = tmp_path / "X.csv"
    path.write_text("1\n2\n")
    assert files.read_arrays(path).shape == (2, 1)
    path.write_text("1,2\n")
    assert files.read_arrays(path).shape == (1, 2)


def header(shape: str, descr: str = "'<f8'") -> bytes:
    """A .npy file with this written in its header, and 64 bytes of numbers."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


def zipped(content: bytes, *, at: int = 0, put: bytes = b"", name: str = "x.npy") -> bytes:
    """An .npz file with one member, some bytes of it overwritten."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, content)
    found = stream.getvalue()
    return found[:at] + put + found[at + len(put) :]


BAD = {
    "words.csv": b"1,2\n3,four\n",
    "ragged.csv": b"1,2\n3\n",
    "empty.csv": b"",
    "heading.csv": b"a,b\n",
    "latin.csv": b"\xff\xfe,2\n",
    "text.npy": b"not an array",
    "empty.npy": b"",
    "text.npz": b"not an archive",
    "empty.npz": b"PK\x05\x06" + bytes(18),
    "negative.npy": header("(-3, 64)"),
    "endless.npy": header(f"({'9' * 100}, 64)"),
    "truth.npy": header("(True, 8)"),
    "deep.npy": header("(" * 3000 + "1" + ")" * 3000),
    "archive.npy": zipped(header("(1, 8)")),
    "endless.npz": zipped(header(f"({'9' * 100}, 64)")),
    "terabytes.npz": zipped(header("(1000000000000000, 64)")),
    "text in it.npz": zipped(b"not an array", name="x.txt"),
    "not deflated.npz": zipped(header("(1, 8)"), at=40, put=b"\xff" * 9),
    "encrypted.npz": zipped(header("(1, 8)"), at=6, put=b"\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_not_arrays(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(DataError, match=f"cannot read `{name}`") as caught:
        files.read_arrays(path)
    assert len(str(caught.value)) < 400


def test_pickles_are_not_opened(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError):
        files.read_arrays(path)
    np.savez(tmp_path / "X.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError):
        files.read_arrays(tmp_path / "X.npz")


def test_a_header_that_promises_more_than_is_there(tmp_path):
    path = tmp_path / "X.npy"
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**3)})
        stream.write(bytes(64))
    with pytest.raises(DataError):
        files.read_arrays(path)


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "X.npz", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", bytes(10_000))
    with pytest.raises(DataError, match="unpacks to 10000 bytes"):
        files.read_arrays(tmp_path / "X.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "F.tex"
    files.write_text(path, "old")

    def fail():
        with files.whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_say_how_arrays_are_stored():
    assert files.array_path("a/K.npy") == Path("a/K.npy")
    with pytest.raises(argparse.ArgumentTypeError, match=r"\.npz"):
        files.array_path("K.mat")


@pytest.mark.parametrize("check, right, wrong", [(files.page_path, "a.pdf", "a.txt"), (files.graph_path, "a.svg", "a.png")])
def test_a_suffix_says_what_is_written(check, right, wrong):
    assert str(check(right)) == right
    with pytest.raises(argparse.ArgumentTypeError, match="must end in"):
        check(wrong)
