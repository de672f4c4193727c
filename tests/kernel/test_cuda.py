"""Kernels on CUDA devices: in numba's simulator, compiled without a device, and refused where there is none."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tp
import tp.kernel.compile as compiler
from tests.kernel import test_rows
from tests.kernel.plain import data, kernel
from tests.kernel.specs import mlp
from tp.kernel.build import planned
from tp.kernel.cuda import blocks, products
from tp.kernel.cuda.device import has_device
from tp.kernel.cuda.kernel import CudaKernel
from tp.kernel.cuda.pinned import Pool
from tp.kernel.cuda.text import device_text
from tp.kernel.kernel import Kernel
from tp.kernel.sites import prepare

SCRIPTS = Path(__file__).parent / "scripts"
ROOT = Path(__file__).parents[2]


def script(name: str, *arguments: str, **settings: str) -> str:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **settings}
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("names", [["tanh:float32", "mlp:float32", "gelu"], ["attention", "conv", "line", "odd"]], ids="/".join)
def test_the_simulator_gives_the_numbers_of_the_cpu(names):
    """Antipodal, nearly equal and equal samples among them, which go to the list. All is plain Python, on both sides."""
    script("simulated.py", *names, NUMBA_ENABLE_CUDASIM="1", NUMBA_DISABLE_JIT="1")


@pytest.mark.skipif(not has_device(), reason="takes a device")
@pytest.mark.parametrize(
    "name", ["mlp:float64", "gelu:float32", "tanh:float64", "attention:float64", "line:float64", "pooled:float64"]
)
def test_a_device_gives_the_numbers_of_the_cpu(name):
    script("simulated.py", name)


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="takes the extra cuda")
def test_kernels_compile_without_a_device():
    """In single precision all that is done for every pair is single."""
    found = [line.rsplit(maxsplit=3) for line in script("ptx.py", "mlp:float32", "every position:float32").splitlines()]
    numbers = {
        (name[:3], part): (int(single), int(double)) for name, part, single, double in found if part not in ("clear", "settle")
    }
    assert list(numbers) == [("mlp", "multiply"), ("mlp", "pairs"), ("mlp", "exact"), ("eve", "rows"), ("eve", "exact")]
    assert numbers["mlp", "multiply"] == (products.SLAB * products.EACH**2, 0)  # one for a product and its sum
    assert numbers["mlp", "pairs"][0] > 0 == numbers["mlp", "pairs"][1]
    assert numbers["eve", "rows"][0] > 0 == numbers["eve", "rows"][1]
    assert min(numbers["mlp", "exact"][1], numbers["eve", "exact"][1]) > 100


@pytest.mark.skipif(has_device(), reason="there is a device")
def test_without_a_device():
    net = tp.zoo("mlp")
    with pytest.raises(tp.DeviceError, match='device="cpu"'):
        net.kernel("ntk", device="cuda")
    assert type(net.kernel("ntk", device="auto")) is Kernel
    with pytest.raises(tp.DeviceError, match="auto"):
        net.kernel("ntk", device="tpu")


def test_the_command_says_that_there_is_no_device(tmp_path, capsys):
    from tp.cli import main

    if has_device():
        pytest.skip("there is a device")
    np.save(tmp_path / "X.npy", np.ones((2, 10)))
    assert main(["gram", "mlp", "--data", str(tmp_path / "X.npy"), "--device", "cuda"]) == 1
    assert "use --device cpu" in capsys.readouterr().err


def test_the_device_computes_the_text_of_the_cpu():
    """Every statement of a pair is there again, word for word."""
    k = kernel(mlp())[0]
    made = device_text(k.source, ["gram_1"])
    kept = {plain(line) for line in made.splitlines()}
    for entry in ("pairs", "exact"):
        body = k.source.split(f"def {entry}(")[1].split("\n\n\n")[0]
        lines = {line.strip() for line in body.splitlines()}
        statements = {line for line in lines if line.startswith(("t", "r", "e", "K", "Theta")) and "np.empty" not in line}
        assert len(statements) > 10
        assert not [line for line in statements if plain(line) not in kept]
    assert not [word for word in ("njit", "width", "relu_near", "follow") if word in made]


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", ["line", "flatten"])
def test_what_does_not_fit_the_device_is_refused(name, monkeypatch):
    """Positions as lanes: a table for each block of threads; samples as lanes: a column of a table for each thread."""
    pytest.importorskip("numba_cuda")
    if name == "line":
        monkeypatch.setattr(compiler, "ROWS", 0)
    limit = tp.parse(test_rows.SMALL[name]).ntk()
    k = CudaKernel(planned(limit, ("K", "Theta"), {}), np.dtype("float64"), 1, 1 << 30, False)
    side = k._samples(data(limit, 6), "X")
    call = k._call()
    prepare(call, side)

    def fitted(free: int) -> blocks.Pairs:
        return blocks.fitted(SimpleNamespace(size=free, fits={}), call, k._device, side, side)

    with pytest.raises(tp.DeviceError, match="over the device's memory"):
        fitted(1 << 10)
    small, large = fitted(1 << 22), fitted(1 << 30)
    assert 0 < small.edge <= large.edge == 6 and 0 < small.holders <= large.holders


def test_locked_memory_is_lent_again():
    """Once the last view of a result is gone, and as long as not too much of it waits."""
    made = []
    cuda = SimpleNamespace(pinned_array=lambda size, dtype: made.append(size) or np.empty(size, dtype))
    pool = Pool(limit=4000)
    first = pool.lend(cuda, (10, 20), np.dtype("float64"))
    first[...] = 3.0
    view = np.moveaxis(first, 0, 1)[3:]
    del first
    assert not pool.free and (view == 3.0).all() and made == [1600]
    del view
    again = pool.lend(cuda, (9, 20), np.dtype("float64"))
    assert made == [1600] and (again == 3.0).all() and again.flags.writeable and again.flags.c_contiguous
    pool.lend(cuda, (5, 2), np.dtype("float32"))  # the smaller is not kept from the larger
    others = [pool.lend(cuda, (3, 100), np.dtype("float64")) for _ in range(2)]
    assert made == [1600, 40, 2400, 2400]
    del others, again
    assert [b.size for b in pool.free] == [2400, 1600]  # the oldest are gone
    assert pool.lend(cuda, (1000,), np.dtype("float64")).base is None  # over the limit: plain memory


def test_a_number_of_one_lane_stays_in_its_loop():
    text = """
def rows(n, c, work, same, hard, site_1, out1):
    n0 = n[0]
    K1 = np.zeros((n0,))
    for w in range(work.shape[0]):
        i, j, row, col = work[w, 0], work[w, 1], work[w, 2], work[w, 3]
        for z in range(n0):
            t1 = site_1[i, z]
            K1[z] = t1
        s2 = {}
        out1[row, col] = s2
"""
    made = device_text(text.format("K1[0]"), [])
    steps = [line.strip() for line in made.split("range(thread_, n0, threads_)")[1].splitlines()]
    wait = "cuda.syncthreads()"
    lane, rest = ["t1 = site_1[i, z]", "K1[z] = t1"], ["if thread_ == 0:", "out1[row, col] = s2", wait]
    assert [x for x in steps[1:] if x] == [*lane, wait, "s2 = K1[0]", *rest]
    with pytest.raises(tp.DeviceError, match="rows of lanes"):
        device_text(text.format("t1"), [])


ROWS = """
def rows(n, c, work, same, hard, data_1, out1):
    n0, n1 = n[0], n[1]
    A = np.zeros((n1, n0))
    B = np.zeros((n1, n0))
    K = np.zeros((n0,))
    for w in range(work.shape[0]):
        i, j, row, col = work[w, 0], work[w, 1], work[w, 2], work[w, 3]
        missed = 0
        for z in range(n0):
            K[z] = 0.0
        for d1 in range(0 if same else -n1, n1 + 1, 1):
            for x1 in range(n1):
                r1 = A[x1, 0:n0]
                for z in range(n0):
                    r1[z] = data_1[i, x1, z]
            for x2 in range(n1):
                r2 = B[x2, 0:n0]
                r3 = A[{read}, 0:n0]
                for z in range(n0):
                    r2[z] = r3[z] {more}
            for x3 in range(n1):
                r4 = K[0:n0]
                r5 = B[x3, 0:n0]
                for z in range(n0):
                    r4[z] += r5[z]
        s1 = 0.0
        r6 = K[0:n0]
        s1 += total(r6)
        out1[row, col] = s1
"""


@pytest.mark.parametrize(
    ("read", "more", "waits", "shared"),
    [
        ("x2", "", 0, 3),  # each number has one thread
        ("n1 - 1 - x2", "", 2, 3),
        ("x2", "+ B[x2 - 1, z]", 2, 2),  # rows in turn
        ("x2", "+ B[x2, 0]", 2, 2),
    ],
)
def test_threads_wait_where_they_need_each_other(read, more, waits, shared):
    made = device_text(ROWS.format(read=read, more=more), []).split("for d1 in ")[1].split("if parts > 1")[0]
    assert made.startswith("range(-n1 + 1 * part_, n1 + 1, 1 * parts)") and "own_K += B[x3 * n0 + z]" in made
    assert (made.count("cuda.syncthreads()"), made.count("range(y_, n1, high_)")) == (waits, shared)


def test_what_is_left_of_an_offset_stays_in_its_block():
    """Parts of a pair leave sums, and nothing else."""
    kept = ROWS.format(read="x2", more="").replace("        s1 = 0.0", "        s2 = B[0, 0]\n        s1 = s2")
    assert "range(-n1, n1 + 1, 1)" in device_text(kept, [])


def plain(line: str) -> str:
    return re.sub("[ ()]", "", line)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    for i in range(i0, i1):\n        x = 1\n    for i in range(i0, i1):\n        x = 2", "not one loop"),
        ("    for k in range(i0, i1):\n        for at in range(j0, j1, width):\n            x = 1", "over rows"),
        ("    for i in range(i0, i1):\n        x = 1", "over columns"),
        ("    for i in range(i0, i1):\n        for at in range(j0, j1, width):\n            x = width", "counts lanes"),
    ],
)
def test_texts_of_another_form_are_refused(body, said):
    with pytest.raises(tp.DeviceError, match=said):
        device_text(f"def pairs(n, c, i0, i1, j0, j1, upper, width, hard, out1):\n    n0 = n[0]\n{body}\n", [])


def test_what_a_device_does_not_do_is_refused_when_it_is_asked_for_and_left_to_the_cpu_by_auto(monkeypatch):
    monkeypatch.setattr("tp.kernel.cuda.device.cuda_module", lambda: None)
    monkeypatch.setattr("tp.kernel.cuda.device.has_device", lambda: True)
    net = tp.parse(GATE)
    with pytest.raises(tp.DeviceError, match="correlated Gaussians"):
        net.kernel("nngp", device="cuda")
    assert type(net.kernel("nngp", device="auto")) is Kernel
    assert type(tp.zoo("mlp").kernel("nngp", device="auto")) is CudaKernel


GATE = """network gate
  width n
  dim d = 3
  input x : [d]
  weight U : [n, d] ~ N(0, 1/d)
  weight G : [n, d] ~ N(0, 1/d)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ tanh((U @ x) * (G @ x))
"""


def test_kernels_that_are_not_compiled_are_refused():
    with pytest.raises(tp.DeviceError, match="more than two Gaussians"):
        tp.zoo("symmetric_rnn").kernel("nngp", device="cuda")
