"""``tp train``: files in, a table, a picture or JSON out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tp.cli import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,y\n1,0.5,1\n-0.6,0.8,-0.5\n")
    return path


def test_a_csv_with_targets_last(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "linear_mup", "--let", "d=2", "--data", str(rows), "--steps", "2", "--lr", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "exact"
    assert np.array(found["outputs"]).shape == (3, 2, 1)


def test_finite_widths_and_a_picture(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "run.png"
    command = ["train", "linear_mup", "--let", "d=2", "--data", str(rows), "--steps", "2", "--lr", "0.5", "--batch", "1"]
    assert main([*command, "--widths", "32,64", "--seeds", "2", "--plot", str(picture)]) == 0
    assert capsys.readouterr().out.count("step") == 3
    assert picture.stat().st_size > 1000


def test_exact_fractions_a_picture_and_json_at_once(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "run.png"
    command = ["train", "linear_mup", "--let", "d=2", "--data", str(rows), "--steps", "2", "--lr", "0.5", "--method", "exact"]
    assert main([*command, "--plot", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exact"][1] == [["27/40"], ["-7/20"]] and found["outputs"][1] == [[0.675], [-0.35]]
    assert picture.stat().st_size > 1000
    assert main(command) == 0
    assert "27/40" in capsys.readouterr().out


def test_entrywise_optimizers(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "adam.tp"
    spec.write_text(
        "network net\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] = 1 * N(0, 1)\n"
        "  weight v : [n] = 1/n * N(0, 1)\n  output f = v @ tanh(U @ x)\n"
    )
    command = [
        "train",
        str(spec),
        "--data",
        str(rows),
        "--steps",
        "2",
        "--lr",
        "0.1",
        "--batch",
        "1",
        "--json",
        "--method",
        "sobol",
    ]
    found = []
    for chosen in (["adam", "--eps", "0.5"], ["adam", "--eps", "0.5", "--betas", "0,0"], ["g/(abs(g) + 1/2)"]):
        assert main([*command, "--optimizer", *chosen]) == 0
        found.append(np.array(json.loads(capsys.readouterr().out)["outputs"]))
    assert found[1] == pytest.approx(found[2], abs=1e-9)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-9) and np.abs(found[0][2] - found[1][2]).max() > 1e-3
    assert main([*command, "--optimizer", "adamm"]) == 1
    assert "adamm" in capsys.readouterr().err


def test_the_lazy_curve_of_a_network_without_a_deterministic_limit(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "ntp.tp"
    spec.write_text(
        "network ntp\n  width n\n  dim d = 2\n  input x : [d]\n  weight U : [n, d] = 1 * N(0, 1)\n"
        "  weight v : [n] = n^(-1/2) * N(0, 1)\n  output f = v @ (U @ x)\n"
    )
    command = ["train", str(spec), "--data", str(rows), "--steps", "1", "--lr", "0.5"]
    assert main(command) == 1
    assert "random" in capsys.readouterr().err
    assert main([*command, "--method", "lazy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"][1] == [[pytest.approx(0.675)], [pytest.approx(-0.35)]]


def test_arrays_in_one_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.npz"
    np.savez(path, X=np.eye(2), y=np.array([1.0, -1.0]), X_test=np.ones((3, 2)))
    assert main(["train", "linear_mup", "--let", "d=2", "--data", str(path), "--steps", "1", "--lr", "0.5", "--json"]) == 0
    assert np.array(json.loads(capsys.readouterr().out)["outputs"]).shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("lr", ["--steps", "2"]),
        ("random", ["--steps", "2", "--lr", "1"]),
        ("unknown loss", ["--steps", "2", "--lr", "1", "--loss", "f +"]),
    ],
)
def test_mistakes_end_with_1_and_a_message(words: str, extra: list[str], rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "mlp" if words == "random" else "mup_mlp"
    assert main(["train", spec, "--let", "d=2", "--data", str(rows), *extra]) == 1
    captured = capsys.readouterr()
    assert words in captured.err and not captured.out


def test_targets_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "X.npy"
    np.save(path, np.eye(2))
    assert main(["train", "mup_mlp", "--let", "d=2", "--data", str(path), "--steps", "1", "--lr", "1"]) == 1
    assert "--targets" in capsys.readouterr().err


def test_a_picture_without_a_folder_is_refused_before_anything_is_computed(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tp.readings.training import TrainingRun

    monkeypatch.setattr(TrainingRun, "limit", lambda *_, **__: pytest.fail("it was computed"))
    command = ["train", "linear_mup", "--let", "d=2", "--data", str(rows), "--steps", "2", "--lr", "0.5"]
    assert main([*command, "--plot", str(rows.parent / "none" / "run.png")]) == 1
    assert "folder" in capsys.readouterr().err


def test_a_named_parametrization_gives_every_network_a_limit(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "mlp", "--let", "d=2", "--data", str(rows), "--steps", "2", "--lr", "0.1", "--json"]
    assert main(command) == 1
    message = capsys.readouterr().err
    assert "--parametrization mup" in message and "net." not in message
    assert main([*command, "--method", "lazy"]) == 1
    assert "--parametrization ntp" in capsys.readouterr().err
    assert main([*command, "--method", "lazy", "--parametrization", "ntp"]) == 0
    lazy = np.array(json.loads(capsys.readouterr().out)["outputs"])
    assert (lazy[0] == 0).all() and (lazy[2] != 0).all()


@pytest.mark.parametrize(
    ("options", "spelled"),
    [
        (["--loss", "xent"], "--loss logistic"),
        (["--loss", "none such"], "--loss mse"),
        (["--optimizer", "foo"], "--optimizer sgd"),
        (["--optimizer", "sign", "--momentum", "0.5"], "--momentum"),
        (["--optimizer", "sign", "--eps", "0.1"], "--eps"),
        (["--method", "sobol", "--memory", "1000"], "--memory"),
        (["--method", "exact"], "--method auto"),
        (["--method", "grid", "--tol", "1e-9", "--steps", "5"], "--method sobol"),
    ],
)
def test_remedies_are_spelled_as_options(
    rows: Path, options: list[str], spelled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "mup_mlp", "--let", "d=2", "--data", str(rows), "--steps", "2", "--lr", "0.5"]
    assert main([*command, *options]) == 1
    message = capsys.readouterr().err
    assert spelled in message and "=" not in message.rpartition("help:")[2]


def test_the_derivation_in_symbols(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "step.tex"
    command = ["train", "linear_mup", "--let", "d=2", "--data", str(rows), "--steps", "1", "--lr", "0.5"]
    assert main([*command, "--symbols"]) == 0
    assert "the Z of every vector" in capsys.readouterr().out
    assert main([*command, "--latex", str(page)]) == 0
    assert capsys.readouterr().out == "" and page.read_text().startswith(r"\documentclass")


def test_a_dim_that_does_not_fit_the_data_is_named(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mup_mlp", "--data", str(rows), "--steps", "2", "--lr", "0.5"]) == 1
    assert "give --let d=2" in capsys.readouterr().err
