"""Kernels on disk: the right numbers, whatever is killed, and never those of something else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tp
from tests.kernel.plain import data, kernel
from tests.kernel.specs import mlp
from tp.kernel.disk import run, tiles

SCRIPTS = Path(__file__).parent / "scripts"
FLAT = "network seq\n  width n\n  index t in 1..3\n  dim d = 2\n  input x[t] : [d]\n  weight U : [n, d] ~ N(0, 1/d)\n"
FLAT += "  weight v : [n] ~ N(0, 1/n)\n  output f[t] = v @ relu(U @ x[t])\n"


class Here(Executor):
    """The least that is an executor: everything at once, in this thread, the last first."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def both():
    k, limit = kernel(mlp())
    return k, data(limit, 37)


def script(name: str, *arguments: object) -> str:
    """What a script prints; it must succeed."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("executor", ["threads", Here(), ThreadPoolExecutor(3)], ids=["own", "least", "threads"])
@pytest.mark.parametrize("name", ["K.npy", "K.zarr"])
def test_tiles_hold_what_the_kernel_gives(both, tmp_path, name, executor):
    if name == "K.zarr":
        pytest.importorskip("zarr")
    k, X = both
    gram = k.gram(X, out=tmp_path / name, executor=executor)
    assert gram.kinds == ("nngp", "ntk") and gram.shape == (37, 37) and gram.metadata["network"] == "mlp"
    for found, want in zip(gram, k(X), strict=True):
        np.testing.assert_allclose(found[:], want, rtol=1e-13)
        np.testing.assert_array_equal(found[:], found[:].T)


def test_between_two_sets_with_equal_samples(both, tmp_path):
    k, X = both
    gram = k.gram(X, X[5:20], out=tmp_path / "K.npy", memory="20MB")
    for found, want in zip(gram, k(X, X[5:20]), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-13)
    np.testing.assert_array_equal(gram["ntk"][5:20].diagonal(), k.diag(X[5:20])[1])


@pytest.mark.parametrize("kinds", [("nngp",), ("nngp", "ntk")])
def test_outputs_over_an_index_and_mirror_images(tmp_path, kinds):
    """Inner products of these samples are exact. Others are rounded as the size of the matrix has it, a last digit that is a
    large part of what is left of opposite samples."""
    k = tp.parse(FLAT).kernel(*kinds)
    X = np.round(16 * np.random.default_rng(0).standard_normal((13, 3, 2))) / 16
    want = k(X)
    gram = k.gram(X, out=tmp_path / "K.npy")
    for found, expected in zip(gram, want if len(kinds) > 1 else [want], strict=True):
        assert found.shape == expected.shape and found.ndim > 2
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert len(list(tmp_path.glob("*.npy"))) == len(kinds)


def test_single_precision_from_a_mapped_file(tmp_path):
    k, limit = kernel(mlp(), dtype="float32")
    np.save(tmp_path / "X.npy", data(limit, 20))
    found = k.gram(np.load(tmp_path / "X.npy", mmap_mode="r"), out=tmp_path / "K.npy")["ntk"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, k(data(limit, 20))[1], rtol=1e-6)


# ---------------------------------------------------------------- killed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_kill_at_any_moment_loses_nothing(tmp_path):
    assert int(script("kill.py", tmp_path)) > 40


@pytest.mark.parametrize("case", ["own", "hopeless"])
def test_workers_that_die(tmp_path, case):
    printed = script("workers.py", tmp_path, case)
    if case == "hopeless" and Path("/proc/self").exists():  # the script is gone, and so is the worker that it left
        end = time.monotonic() + 60.0
        while lives(int(printed)):
            assert time.monotonic() < end, "the worker outlives its parent"
            time.sleep(0.05)


def lives(process: int) -> bool:
    """Whether it is there, and not only its place in the system's table."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second where it goes between opening and reading
        return False


def test_a_cluster_whose_worker_dies(tmp_path):
    pytest.importorskip("distributed")
    pytest.importorskip("zarr")
    script("workers.py", tmp_path, "dask")


def test_a_failing_tile_stops_the_run_and_keeps_the_others(both, tmp_path, monkeypatch):
    k, X = both
    count = [0]
    plain = type(k).__call__

    def failing(self, *samples):
        count[0] += 1
        if count[0] == 5:
            raise OSError("no space left")
        return plain(self, *samples)

    monkeypatch.setattr(type(k), "__call__", failing)
    with ThreadPoolExecutor(1) as pool, pytest.raises(tp.DataError, match=r"no space(.|\n)*kept in"):
        k.gram(X, out=tmp_path / "K.npy", executor=pool)
    assert not list(tmp_path.glob("*.npy"))
    done, before = len(list((tmp_path / "K.npy.partial" / "done").iterdir())), count[0]
    assert 4 <= done < 55  # 10 × 10 tiles, the upper half
    k.gram(X, out=tmp_path / "K.npy")
    assert count[0] - before == 55 - done


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak counter")
def test_memory_stays_within_the_budget(tmp_path):
    budgets = (12_000_000, 40_000_000)  # the two kernels have 100 MB, a factor 50 MB
    found = map(int, script("memory.py", tmp_path, *budgets).split())
    assert all(peak < budget for peak, budget in zip(found, budgets, strict=True))


# ---------------------------------------------------------------- never mixed


def test_a_finished_result_is_taken_and_nothing_computed(both, tmp_path, monkeypatch):
    k, X = both
    first = k.gram(X, out=tmp_path / "K.npy")
    monkeypatch.setattr(type(k), "__call__", lambda *_: pytest.fail("computed again"))
    again = k.gram(X.copy(), out=tmp_path / "K.npy")
    np.testing.assert_array_equal(first["ntk"], again["ntk"])


@pytest.mark.parametrize("change", ["data", "spec", "kinds", "dtype", "second"])
def test_a_name_that_belongs_to_another_run_is_refused(both, tmp_path, monkeypatch, change):
    k, X = both
    other = {
        "spec": lambda: kernel(mlp(sb2="0.3"))[0],
        "kinds": lambda: kernel(mlp(), ("Theta",))[0],
        "dtype": lambda: kernel(mlp(), dtype="float32")[0],
    }.get(change, lambda: k)()
    Y = X.copy()
    Y[3, 1] += (change == "data") * 1e-12
    second = X if change == "second" else None
    for name in ("done.zarr", "begun.zarr"):
        pytest.importorskip("zarr")
        if name == "begun.zarr":
            monkeypatch.setattr(run, "_all", lambda *_: None)
            with pytest.raises(tp.DataError, match="not done"):
                k.gram(X, out=tmp_path / name)
        else:
            k.gram(X, out=tmp_path / name)
        with pytest.raises(tp.DataError, match="there already"):
            other.gram(Y, second, out=tmp_path / name)


def test_a_file_of_that_name_is_not_overwritten(both, tmp_path):
    k, X = both
    (tmp_path / "K.ntk.npy").write_text("mine")
    with pytest.raises(tp.DataError, match="there already"):
        k.gram(X, out=tmp_path / "K.npy")
    assert (tmp_path / "K.ntk.npy").read_text() == "mine"


def test_a_result_that_was_changed_is_not_taken_for_finished(both, tmp_path):
    k, X = both
    gram = k.gram(X, out=tmp_path / "K.npy")
    np.save(tmp_path / "K.ntk.npy", 2 * gram["ntk"][:-1])
    with pytest.raises(tp.DataError, match="there already"):
        k.gram(X, out=tmp_path / "K.npy")


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": 1, "fingerprint": "x", "tile": "y"}', "[" * 9999])
def test_a_folder_that_is_no_run_is_refused(both, tmp_path, record):
    k, X = both
    (tmp_path / "K.npy.partial").mkdir()
    (tmp_path / "K.npy.partial" / "job.json").write_text(record)
    with pytest.raises(tp.DataError, match="there already"):
        k.gram(X, out=tmp_path / "K.npy")


# ---------------------------------------------------------------- damaged, interrupted, in use


@pytest.fixture
def begun(both, tmp_path, monkeypatch):
    """A run of which five tiles are done, then it is interrupted: its name, by the name's ending."""
    k, X = both

    def make(ending):
        done, plain = [], run.Work.__call__

        def work(self, tile):
            if len(done) == 5:
                raise KeyboardInterrupt
            done.append(plain(self, tile))

        with monkeypatch.context() as stopped, ThreadPoolExecutor(1) as pool:
            stopped.setattr(run.Work, "__call__", work)
            with pytest.raises(KeyboardInterrupt) as caught:
                k.gram(X, out=tmp_path / f"K{ending}", executor=pool)
        assert "it goes on" in caught.value.__notes__[0]
        return tmp_path / f"K{ending}"

    return make


@pytest.mark.parametrize("damage", ["cut", "missing", "other"])
def test_a_damaged_file_of_a_run_is_refused(both, begun, damage):
    k, X = both
    out = begun(".npy")
    path = out.with_name("K.npy.partial") / "K.ntk.npy"
    if damage == "cut":
        os.truncate(path, 1000)
    elif damage == "missing":
        path.unlink()
    else:
        np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(tp.DataError, match="damaged"):
        k.gram(X, out=out)


def test_chunks_that_are_missing(both, begun):
    """Of a run they are computed again; a result without them is refused."""
    pytest.importorskip("zarr")
    k, X = both
    out = begun(".zarr")
    chunks = sorted(out.with_name("K.zarr.partial").glob("K.zarr/*/c/*/*"))
    assert len(chunks) > 10
    chunks[0].unlink()
    os.truncate(chunks[-1], 20)
    for found, want in zip(k.gram(X, out=out), k(X), strict=True):
        np.testing.assert_allclose(found[:], want, rtol=1e-13)
    next(out.glob("ntk/c/*/*")).unlink()
    with pytest.raises(tp.DataError, match="damaged"):
        k.gram(X, out=out)


@pytest.mark.parametrize("ending", [".npy", ".zarr"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_bytes_that_were_altered_are_computed_again(both, begun, ending, mirrored):
    """One number of a tile that is done, or of its mirror image: the marker has the checksum of what was written."""
    if ending == ".zarr":
        pytest.importorskip("zarr")
    k, X = both
    out = begun(ending)
    partial = out.with_name(f"K{ending}.partial")
    done = [tuple(map(int, m.name.split("-"))) for m in (partial / "done").iterdir()]
    i0, _, _, j1 = next(t for t in done if t[0] != t[2])
    if ending == ".npy":
        array = np.load(partial / "K.ntk.npy", mmap_mode="r+")
    else:
        import zarr

        array = zarr.open_group(store=str(partial / "K.zarr"), mode="r+")["ntk"]
    at = (j1 - 1, i0) if mirrored else (i0, j1 - 1)
    array[at] *= 1 + 1e-9
    del array
    for found, want in zip(k.gram(X, out=out), k(X), strict=True):
        np.testing.assert_allclose(found[:], want, rtol=1e-13)


@pytest.mark.parametrize("foreign", ["format", "codec"])
def test_arrays_in_anything_but_plain_bytes_are_not_read(both, begun, foreign):
    """A stranger's run may name codecs that unpickle what they read."""
    pytest.importorskip("zarr")
    k, X = both
    out = begun(".zarr")
    partial = out.with_name("K.zarr.partial") / "K.zarr"
    if foreign == "codec":
        about = json.loads((partial / "ntk" / "zarr.json").read_text())
        about["codecs"].append({"name": "gzip", "configuration": {"level": 1}})
        (partial / "ntk" / "zarr.json").write_text(json.dumps(about))
    else:
        import zarr

        shutil.rmtree(partial)
        old = zarr.create_group(store=str(partial), zarr_format=2)
        for kind in ("nngp", "ntk"):
            old.create_array(name=kind, shape=(37, 37), chunks=(4, 4), dtype="float64")
    with pytest.raises(tp.DataError, match="damaged"):
        k.gram(X, out=out)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
@pytest.mark.parametrize("name", ["lock", "K.zarr/ntk/c"])
def test_links_in_a_strangers_run_are_not_followed(both, begun, tmp_path, name):
    pytest.importorskip("zarr")
    k, X = both
    link = begun(".zarr").with_name("K.zarr.partial") / name
    mine = tmp_path / "mine"
    if link.is_dir():
        link.rename(mine)
    else:
        mine.write_text("mine")
        link.unlink(missing_ok=True)
    link.symlink_to(mine)
    before = sorted((p, p.stat().st_mtime_ns) for p in (mine, *mine.rglob("*")))
    with pytest.raises(tp.DataError, match="links are in it"):
        k.gram(X, out=tmp_path / "K.zarr")
    assert before == sorted((p, p.stat().st_mtime_ns) for p in (mine, *mine.rglob("*")))


def test_a_record_of_too_many_tiles_is_not_believed(both, begun, monkeypatch):
    k, X = both
    out = begun(".npy")
    record = out.with_name("K.npy.partial") / "job.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "tile": 1}))
    monkeypatch.setattr(run, "MOST", 1000)  # of 37 × 37
    with pytest.raises(tp.DataError, match="there already"):
        k.gram(X, out=out)


def test_a_marker_that_was_not_written_to_its_end_is_none(both, begun, monkeypatch):
    """As a worker leaves it that is killed between opening and writing it, in the middle of a run."""
    k, X = both
    out, plain = begun(".npy"), run._all

    def all_after_a_kill(work, tiling, *others):
        for tile in tiling.tiles:
            work.job._marker(tile).touch()
        plain(work, tiling, *others)

    monkeypatch.setattr(run, "_all", all_after_a_kill)
    for found, want in zip(k.gram(X, out=out), k(X), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-13)


def test_an_array_that_was_altered_when_it_had_its_name_is_refused(both, tmp_path, monkeypatch):
    """A run that was killed between the names of its arrays and the end of its folder."""
    k, X = both
    monkeypatch.setattr(run.Job, "finish", lambda job: job._publish() or (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        k.gram(X, out=tmp_path / "K.npy")
    monkeypatch.undo()
    array = np.load(tmp_path / "K.ntk.npy", mmap_mode="r+")
    array[0, 0] += 1
    del array
    with pytest.raises(tp.DataError, match="damaged"):
        k.gram(X, out=tmp_path / "K.npy")


def test_a_second_writer_is_refused(both, tmp_path, monkeypatch):
    k, X = both
    plain, seen = run._all, []

    def all_and_again(*given):
        with pytest.raises(tp.DataError, match=r"at work on `K\.npy`"):
            k.gram(X, out=tmp_path / "K.npy")
        if hasattr(os, "fork"):
            code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            lock = str(tmp_path / "K.npy.partial" / "lock")
            seen.append(subprocess.run([sys.executable, "-S", "-c", code, lock], capture_output=True, text=True).stderr)
            assert Path(lock).read_text() == str(os.getpid())
        plain(*given)

    monkeypatch.setattr(run, "_all", all_and_again)
    np.testing.assert_allclose(k.gram(X, out=tmp_path / "K.npy")["ntk"], k(X)[1], rtol=1e-13)
    assert all("BlockingIOError" in error for error in seen)


def test_tasks_that_are_lost_and_clients(both, tmp_path):
    """Cancelled tasks are an error that says how to go on; a client is asked for its executor."""
    k, X = both

    class Cancelling(Here):
        def submit(self, fn, /, *args, **kwargs):
            future: Future = Future()
            assert future.cancel() and not future.set_running_or_notify_cancel()
            return future

    class Client:
        def get_executor(self, retries):
            return Here()

        def submit(self, *_):
            raise AssertionError

    with pytest.raises(tp.DataError, match="run it again"):
        k.gram(X, out=tmp_path / "K.npy", executor=Cancelling())
    np.testing.assert_allclose(k.gram(X, out=tmp_path / "K.npy", executor=Client())["ntk"], k(X)[1], rtol=1e-13)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="limits of a process")
def test_a_file_that_cannot_be_made(both, tmp_path):
    import resource

    k, X = both
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.raises(tp.DataError, match="cannot be made"):
            k.gram(X, out=tmp_path / "K.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": "K.csv"}, "npy or .zarr"),
        ({"out": "nowhere/K.npy"}, "no folder"),
        ({"out": "K" * 300 + ".npy"}, "no file name"),
        ({"memory": "2 apples"}, "amount of memory"),
        ({"memory": 0}, "amount of memory"),
        ({"memory": "10kB"}, "raise memory="),
        ({"executor": "dask"}, "no executor"),
    ],
)
def test_wrong_arguments(both, tmp_path, options, said):
    k, X = both
    options = {"out": "K.npy", **options}
    with pytest.raises(tp.DataError, match=said):
        k.gram(X, **{**options, "out": tmp_path / options["out"]})
    assert not list(tmp_path.iterdir())


def test_data_that_are_not_finite_name_their_row(both, tmp_path):
    k, X = both
    X = X.copy()
    X[30, 2] = np.inf
    with pytest.raises(tp.DataError, match=r"inf at index \[30, 2\]"):
        k.gram(X, out=tmp_path / "K.npy")
    assert not list(tmp_path.iterdir())


def test_the_least_budget_that_is_named_is_enough(both, tmp_path):
    k, X = both
    with pytest.raises(tp.DataError, match='raise memory= to "') as caught:
        k.gram(X, out=tmp_path / "K.npy", memory="10kB")
    least = str(caught.value).split('"')[1]
    assert k.gram(X, out=tmp_path / "K.npy", memory=least)["nngp"].shape == (len(X), len(X))


def test_a_run_goes_on_only_where_its_tiles_fit(both, tmp_path, monkeypatch):
    k, X = both
    monkeypatch.setattr(run, "_all", lambda *_: None)
    with pytest.raises(tp.DataError, match="not done"):
        k.gram(X, out=tmp_path / "K.npy")
    with pytest.raises(tp.DataError, match="raise memory="):
        k.gram(X, out=tmp_path / "K.npy", memory="1MB")


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * 10**9), ("1.5 GiB", 3 << 29), ("500mb", 5 * 10**8), ("7", 7), (12, 12)])
def test_amounts_of_memory(text, size):
    assert tiles.bytes_of(text) == size


def test_tiles_cover_every_pair_once():
    for rows, columns, symmetric in ((10, 10, True), (7, 10, False)):
        seen = np.zeros((rows, columns), int)
        for t in tiles.Tiling(rows, columns, 3, symmetric).tiles:
            seen[t.i0 : t.i1, t.j0 : t.j1] += 1
        assert (seen[np.triu_indices(rows)] == 1).all() if symmetric else (seen == 1).all()


# ---------------------------------------------------------------- command


def test_the_command_resumes(tmp_path, capsys, monkeypatch):
    from tp.cli import main

    X = np.random.default_rng(0).standard_normal((14, 10))
    np.save(tmp_path / "X.npy", X)
    command = ["gram", "mlp", "--data", str(tmp_path / "X.npy"), "--out", str(tmp_path / "K.npy"), "--memory", "100MB", "--json"]
    with monkeypatch.context() as stopped:
        stopped.setattr(run, "_all", lambda *_: None)
        assert main(command) == 1
    assert "run it again" in capsys.readouterr().err
    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [14, 14]
    np.testing.assert_allclose(np.load(tmp_path / "K.npy"), tp.zoo("mlp").kernel("ntk")(X), rtol=1e-13)
    with pytest.raises(SystemExit) as stop:
        main([*command[:-1], "--memory", "lots"])
    assert stop.value.code == 2
