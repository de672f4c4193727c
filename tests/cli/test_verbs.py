"""The verbs end to end: what they print, what they write, how they fail."""

import io
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tp
from tp.cli import main
from tp.cli.screen import columns

SMALL = """\
network small
  width n
  dim   d = 3
  let   s = 2
  input  x : [d]
  weight U : [n, d] ~ N(0, s/d)
  weight v : [n]    ~ N(0, 1/n)
  h = U @ x
  output f = v @ relu(h)
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.tp"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def samples(tmp_path):
    X = np.random.default_rng(0).standard_normal((5, 3))
    np.save(tmp_path / "X.npy", X)
    return str(tmp_path / "X.npy"), X


@pytest.fixture
def run(capsys):
    """Run a command line; its exit code, stdout and stderr."""

    def call(*argv):
        code = main([str(a) for a in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


# ---------------------------------------------------------------- show, zoo, plot


def test_show_prints_the_network_and_its_program(run, small):
    code, out, err = run("show", small)
    assert code == 0 and err == ""
    assert tp.parse(out.split("\nprogram small")[0]).network == tp.parse(SMALL).network
    assert "Moment n" in out


def test_show_json_and_only(run, small):
    _, out, _ = run("show", small, "--json")
    data = json.loads(out)
    assert data["name"] == "small" and set(data) == {"name", "spec", "program"}
    assert "program small" not in run("show", small, "--only", "spec")[1]
    assert run("show", small, "--only", "program")[1].startswith("program small")


def test_show_reads_standard_input(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(SMALL))
    code, out, _ = run("show", "-", "--only", "spec")
    assert code == 0 and out.startswith("network small")


def test_let_changes_a_constant(run, small):
    assert "N(0, 2/3)" in run("show", small)[1]
    assert "N(0, 5/3)" in run("show", small, "--let", "s=5")[1]
    assert "N(0, s/3)" in run("show", small, "--let", "s=")[1]


def test_zoo_lists_and_prints(run, monkeypatch):
    code, out, _ = run("zoo")
    assert code == 0 and {line.split()[0] for line in out.splitlines()} == set(tp.zoo())
    code, out, _ = run("zoo", "mlp")
    assert code == 0 and tp.parse(out).network == tp.zoo("mlp").network
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "72")
    lines = run("zoo")[1].splitlines()
    assert len(lines) > len(tp.zoo()) and max(map(len, lines)) <= 72
    entries = json.loads(run("zoo", "--json")[1])
    assert [e["name"] for e in entries] == tp.zoo() and all(e["summary"] for e in entries)


def test_plot_writes_svg(run, small, tmp_path):
    code, out, _ = run("plot", small, "--out", tmp_path / "g.svg")
    assert code == 0 and out.strip().endswith("g.svg")
    assert ET.fromstring((tmp_path / "g.svg").read_text("utf-8")).tag.endswith("svg")
    assert run("plot", small, "--out", "-")[1].lstrip().startswith("<svg")


# ---------------------------------------------------------------- derive


def test_derive_prints_equations(run, small):
    code, out, _ = run("derive", small, "--closed")
    assert code == 0 and "arccos" in out and "Θ_f(x, x′)" in out
    code, out, _ = run("derive", small, "--limit", "nngp")
    assert code == 0 and "Θ" not in out


def test_derive_json_carries_rules_and_lines(run, small):
    data = json.loads(run("derive", small, "--json")[1])
    text = json.dumps(data)
    assert "Yang" in text and "Theta" in text


def test_derive_as_written_says_the_power(run, small):
    code, out, _ = run("derive", small, "--mode", "as-written")
    assert code == 0 and out != run("derive", small)[1]


def test_derive_writes_latex(run, small, tmp_path):
    code, out, _ = run("derive", small, "--latex", tmp_path / "f.tex")
    assert code == 0 and out == ""
    text = (tmp_path / "f.tex").read_text("utf-8")
    assert text.startswith("\\documentclass") and text.rstrip().endswith("\\end{document}")


def test_without_pdflatex_the_latex_is_written_and_the_remedy_told(run, small, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, err = run("derive", small, "--pdf", tmp_path / "f.pdf")
    assert code == 1 and out == "" and "pdflatex is not installed" in err and "--latex F.tex" in err.partition("help:")[2]
    assert not list(tmp_path.glob("f.*"))
    code, out, err = run("derive", small, "--pdf", tmp_path / "f.pdf", "--latex", tmp_path / "f.tex")
    assert code == 1 and out == "" and "pdflatex is not installed" in err and "help:" in err
    assert (tmp_path / "f.tex").read_text("utf-8").startswith("\\documentclass") and not (tmp_path / "f.pdf").exists()


def test_derive_pdf(run, small, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    code, _, err = run("derive", small, "--closed", "--pdf", tmp_path / "f.pdf")
    assert code == 0, err
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")


# ---------------------------------------------------------------- gram


def test_gram_writes_the_kernel(run, small, samples, tmp_path):
    path, X = samples
    expected = tp.parse(SMALL).kernel("ntk")(X)
    for suffix in ("npy", "npz", "csv"):
        code, out, err = run("gram", small, "--data", path, "--out", tmp_path / f"K.{suffix}")
        assert code == 0 and "5×5" in out, err
    np.testing.assert_array_equal(np.load(tmp_path / "K.npy"), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "K.npz")["K"], expected)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "K.csv", delimiter=","), expected)


def test_gram_of_gates_says_that_its_errors_are_chance(run, tmp_path, monkeypatch):
    """In memory and by tiles, to the same numbers."""
    monkeypatch.setattr("tp.limit.nodes.kernel.POINTS", 9)
    monkeypatch.setattr("tp.limit.nodes.kernel.BOUND", 0.5)
    np.save(tmp_path / "X.npy", np.random.default_rng(0).standard_normal((2, 2, 8)))
    common = ["gram", "gru", "--let", "T=2", "--limit", "nngp", "--data", str(tmp_path / "X.npy"), "--out"]
    for name, more in (("K.npy", ()), ("L.npy", ("--memory", "1GB"))):
        code, _, err = run(*common, str(tmp_path / name), *more)
        assert code == 0 and "means over nodes: two standard errors are below 5e-01" in err
    np.testing.assert_allclose(np.load(tmp_path / "K.npy"), np.load(tmp_path / "L.npy"), atol=1e-12)


def test_gram_of_a_tied_program_by_tiles(run, tmp_path):
    path, out = tmp_path / "X.npy", tmp_path / "K.npy"
    np.save(path, np.random.default_rng(0).standard_normal((3, 4)))
    code, said, err = run("gram", "hopfield", "--limit", "nngp", "--data", path, "--out", out, "--memory", "1GB")
    assert code == 0 and "3×3" in said, err
    np.testing.assert_allclose(np.load(out), tp.zoo("hopfield").kernel("nngp")(np.load(path)), rtol=1e-9)


def test_gram_takes_a_number_of_nodes(run, small, samples):
    """Of a network with formulas, too."""
    path, X = samples
    code, out, err = run("gram", small, "--data", path, "--nodes", "2^9", "--json")
    found, kernel = json.loads(out)["matrix"], tp.parse(SMALL).kernel("ntk", nodes=2**9)
    assert code == 0 and "means over nodes" in err and found == kernel(X).tolist()
    assert run("gram", small, "--data", path, "--nodes", "512", "--json")[1] == out
    assert "give --nodes 2^15, or more" in run("gram", small, "--data", path, "--nodes", "500")[2]
    assert "leave out --nodes" in run("gram", "hopfield", "--data", path, "--nodes", "2^9")[2]


def test_gram_between_two_sets_and_as_json(run, small, samples, tmp_path):
    path, X = samples
    np.savetxt(tmp_path / "Y.csv", X[:2], delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    code, out, err = run("gram", small, "--data", path, "--data2", tmp_path / "Y.csv", "--limit", "nngp", "--json")
    assert code == 0, err
    np.testing.assert_allclose(json.loads(out)["matrix"], tp.parse(SMALL).kernel("nngp")(X, X[:2]), rtol=1e-12)


@pytest.mark.usefixtures("quick")
def test_rows_of_a_csv_take_the_shape_of_the_input(run, tmp_path):
    X = np.random.default_rng(1).standard_normal((3, 4, 2))
    np.savetxt(tmp_path / "X.csv", X.reshape(3, 8), delimiter=",", fmt="%.17g")
    network = "network seq\n  width n\n  dim d = 2\n  index t in 1..4\n  input x[t] : [d]\n"
    network += "  weight U : [n, d] ~ N(0, 1/d)\n  weight v : [n] ~ N(0, 1/n)\n  output f = v @ mean(relu(U @ x[t]) for t)\n"
    (tmp_path / "seq.tp").write_text(network)
    code, out, err = run("gram", tmp_path / "seq.tp", "--data", tmp_path / "X.csv", "--json")
    assert code == 0, err
    np.testing.assert_allclose(json.loads(out)["matrix"], tp.parse(network).kernel("ntk")(X), rtol=1e-12)
    assert run("gram", tmp_path / "seq.tp", "--data", tmp_path / "X.csv", "--let", "d=3")[0] == 1


def test_gram_prints_without_out_and_takes_float32(run, small, samples):
    _, out, _ = run("gram", small, "--data", samples[0], "--dtype", "float32")
    assert len(out.splitlines()) == 5 and len(out.splitlines()[0].split()) == 5
    assert json.loads(run("gram", small, "--data", samples[0], "--dtype", "float32", "--json")[1])["dtype"] == "float32"


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((4, 2)), "3"),
        (np.array([[1.0, np.nan, 0.0]]), "nan"),
        (np.ones((0, 3)), ""),
        (np.array([["a", "b", "c"]]), ""),
    ],
)
def test_gram_refuses_wrong_data_and_writes_nothing(run, small, tmp_path, array, said):
    np.save(tmp_path / "X.npy", array)
    code, out, err = run("gram", small, "--data", tmp_path / "X.npy", "--out", tmp_path / "K.npy")
    assert code == 1 and out == "" and said in err.lower() and "Traceback" not in err
    assert not list(tmp_path.glob("*K*"))


# ---------------------------------------------------------------- verify


def test_verify_tables_json_and_plots(run, small, tmp_path):
    argv = ("verify", small, "--widths", "64,256,1024", "--seeds", "6")
    code, out, err = run(*argv, "--plot", tmp_path / "e.png")
    assert code == 0 and "n = 256" in out and "ntk" in out, (out, err)
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads(run(*argv, "--json")[1])
    assert data["widths"] == [64, 256, 1024] and set(data["kernels"]) == {"nngp", "ntk"}
    assert -0.8 < data["kernels"]["ntk"]["exponent"] < -0.2


# ---------------------------------------------------------------- failures

WRONG = {
    "axis": (SMALL.replace("U @ x", "v @ x"), ":8:"),
    "name": (SMALL.replace("relu(h)", "relu(g)"), ":9:"),
    "keyword": (SMALL.replace("input", "inpt"), ":5:"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("verb", ["show", "derive", "verify", "plot"])
def test_wrong_specs_exit_1_with_a_caret(run, tmp_path, name, verb):
    text, place = WRONG[name]
    path = tmp_path / "bad.tp"
    path.write_text(text)
    code, out, err = run(verb, path)
    assert code == 1 and out == ""
    assert place in err and "^" in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_without_gradient_independence_goes_through_the_z_calculus(run):
    code, out, err = run("derive", "hopfield", "--limit", "nngp")
    assert code == 0 and "ZDot" in out and not err


def test_a_network_without_a_limit_is_refused(run, tmp_path):
    (tmp_path / "sign.tp").write_text(SMALL.replace("relu", "sign"))
    code, out, err = run("derive", tmp_path / "sign.tp", "--latex", tmp_path / "f.tex")
    assert code == 1 and out == "" and "sign.tp:" in err and "^" in err and "help:" in err
    assert not (tmp_path / "f.tex").exists()
    assert run("derive", tmp_path / "sign.tp", "--limit", "nngp")[0] == 0


def test_derive_z_shows_dot_parts(run):
    code, out, err = run("derive", "hopfield", "--limit", "z")
    assert code == 0 and "Ż_z(x)" in out, err
    json.loads(run("derive", "hopfield", "--limit", "z", "--json")[1])


@pytest.mark.parametrize("spec", ["nowhere.tp", "./nowhere", "mpl"])
def test_specs_that_are_not_there(run, spec):
    code, out, err = run("show", spec)
    assert code == 1 and out == "" and err.strip()
    assert spec != "mpl" or "did you mean `mlp`?" in err


def test_a_file_beside_is_told_and_shipped_networks_stay(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mlp", "mpl"):
        (tmp_path / f"{name}.tp").write_text(SMALL)
    code, out, err = run("show", "mpl")
    assert code == 1 and out == "" and "no network `mpl`" in err and "did you mean the file `mpl.tp`?" in err
    code, out, _ = run("show", "mlp")
    assert code == 0 and "network mlp" in out


def test_an_output_folder_that_is_not_there(run, small, tmp_path):
    code, _, err = run("derive", small, "--latex", tmp_path / "no" / "f.tex")
    assert code == 1 and "No such folder" in err and "Traceback" not in err
    folder = tmp_path / "folder.svg"
    folder.mkdir()
    code, _, err = run("plot", small, "--out", folder)
    assert code == 1 and f"Is a directory: {folder}\n" in err


def test_a_let_the_spec_does_not_have(run, small):
    code, _, err = run("show", small, "--let", "depth=4")
    assert code == 1 and "depth" in err


def test_the_installed_command_in_a_fresh_process(small):
    done = subprocess.run([sys.executable, "-m", "tp", "zoo", "nothing"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and done.stdout == "" and "no network `nothing`" in done.stderr
    done = subprocess.run([sys.executable, "-m", "tp", "derive"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and "usage: tp derive" in done.stderr


@pytest.mark.parametrize("verb", [["coord-check", "--widths", "8,16"], ["verify", "--widths", "8,16"]])
def test_remedies_are_spelled_as_options(run, tmp_path, verb):
    """Python says `give s=…`; the command line has to say which option that is."""
    spec = tmp_path / "symbolic.tp"
    spec.write_text(SMALL.replace("let   s = 2", "let   s"))
    code, _, err = run(verb[0], spec, *verb[1:])
    assert code == 1 and "--let s=…" in err and "give s=…" not in err
    with pytest.raises(tp.DataError, match="give s=…"):
        tp.load(spec).verify(widths=(8, 16))
    code, _, err = run(verb[0], spec, *verb[1:], "--let", "s=2")
    assert not err


def test_derivations_are_broken_for_the_terminal(run, small, monkeypatch):
    assert columns() == 100  # no terminal
    wide = run("derive", small, "--closed")[1]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "72")
    narrow = run("derive", small, "--closed")[1]
    assert max(map(len, narrow.splitlines())) <= 72 < max(map(len, wide.splitlines()))
    monkeypatch.setenv("COLUMNS", "900")
    assert columns() == 140


def test_samples_of_another_number_of_axes_are_told_the_shape(run, tmp_path):
    np.save(tmp_path / "X.npy", np.ones((3, 10)))
    code, _, err = run("gram", "rnn", "--data", tmp_path / "X.npy")
    assert code == 1 and "help: every sample is an array of shape [5, 8]" in err
