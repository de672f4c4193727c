"""Where results go is checked before they are made."""

import io
import os
from pathlib import Path

import pytest

import tp
from tp.target import picture, target


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (3, "3 is no file name"),
        ("a\0.npy", "is no file name"),
        ("x" * 300, "is no file name"),
        ("missing/K.npy", "help: make it first"),
        ("~/no/K.npy", "expanduser"),
        ("text/K.npy", "there is no folder"),
        ("shut/K.npy", "you may not write to the folder"),
    ],
)
def test_what_is_no_place_is_refused(tmp_path, monkeypatch, path, said):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("mine")
    Path("shut").mkdir()
    monkeypatch.setattr(os, "access", lambda folder, _: Path(folder).name != "shut")  # as for anyone but an administrator
    with pytest.raises(tp.DataError, match=said):
        target(path)
    assert sorted(os.listdir()) == ["shut", "text"] and Path("text").read_text() == "mine"


def test_links_are_names_like_others(tmp_path):
    (tmp_path / "link.npy").symlink_to("nowhere")
    assert target(tmp_path / "link.npy").name == "link.npy"


@pytest.mark.parametrize(
    ("name", "said"), [("folder.png", "is a folder"), ("x", "what kind of picture"), ("x.docx", "in .png, .pdf")]
)
def test_pictures_say_what_they_are(tmp_path, name, said):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(tp.DataError, match=said):
        picture(tmp_path / name)
    assert picture(tmp_path / "x.PNG") and picture(None) is None and picture(stream := io.BytesIO()) is stream


def test_training_asks_first(tmp_path):
    run = tp.zoo("mup_mlp", d=2).train([[1.0, 0.5]], [1.0], steps=1, lr=0.5)
    with pytest.raises(tp.DataError, match="make it first"):
        run.limit("sobol", checkpoint=tmp_path / "missing" / "run.npz")
