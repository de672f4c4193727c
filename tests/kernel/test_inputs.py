"""Wrong arrays are told apart, by name, shape and index."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array

import tp
from tests.kernel.plain import data, kernel
from tests.kernel.specs import TWO_INPUTS, conv, mlp
from tp.kernel.inputs import groups

X = np.arange(6.0).reshape(2, 3)


@pytest.fixture(scope="module")
def k():
    return kernel(mlp())[0]


def bad(value, index):
    array = X.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (bad(np.nan, (1, 2)), r"is nan at index \[1, 2\]"),
        (bad(-np.inf, (0, 1)), r"is -inf at index \[0, 1\]"),
        (X.T, r"has shape \[N, 3\], but X has shape \[3, 2\]\n.*load the spec with d=2"),
        (X[0], "leading axis"),
        (X[None], r"X has shape \[1, 2, 3\]"),
        (X[:0], r"shape \[0, 3\]: no samples"),
        (X.astype(complex), r"complex128, not real numbers(.|\n)*X.imag"),
        (np.ma.masked_less(X, X.mean()), "masked numbers"),
        (SimpleNamespace(__cuda_array_interface__={}), "memory of a device"),
        (X.astype(object), "object, not real numbers"),
        (csr_array(X), r"a kernel takes dense arrays: X.toarray\(\)"),
        (np.array([["a", "b", "c"]]), "not real numbers"),
        ([[1.0, 2.0], [3.0]], "no rectangular array"),
        ({"y": X}, "no input `y`"),
        ({}, "no array for the input `x`"),
        ("text", "not real numbers"),
        (None, "not real numbers"),
    ],
    ids=str,
)
def test_wrong_arrays(k, array, message):
    for call in (k, k.diag):
        with pytest.raises(tp.DataError, match=message):
            call(array)


def test_the_second_argument_is_checked_too(k):
    with pytest.raises(tp.DataError, match=r"X2 .* is nan at index \[0, 0\]"):
        k(X, bad(np.nan, (0, 0)))


def test_the_axes_in_another_order():
    k, limit = kernel(conv())
    with pytest.raises(tp.DataError, match="index ranges first, features last"):
        k(data(limit, 3).transpose(0, 2, 1))


def test_flat_images_are_told_how_to_reshape():
    k, limit = kernel(conv())
    with pytest.raises(tp.DataError, match=r"X.reshape\(-1, 4, 2\)"):
        k(data(limit, 3).reshape(3, 8))


def test_several_inputs_are_given_by_name():
    k, limit = kernel(TWO_INPUTS)
    given = data(limit, 3)
    with pytest.raises(tp.DataError, match="pass a dict"):
        k(given["x"])
    with pytest.raises(tp.DataError, match="`x` has 3, `y` has 2"):
        k({"x": given["x"], "y": given["y"][:2]})
    with pytest.raises(tp.DataError, match="did you mean `x`"):
        k({"xx": given["x"], "y": given["y"]})


def test_a_value_too_large_for_single_precision():
    k, _ = kernel(mlp(), dtype="float32")
    with pytest.raises(tp.DataError, match="too large for float32"):
        k(bad(1e300, (0, 0)))


def test_the_memory_limit():
    k, _ = kernel(mlp(), memory=10_000)
    with pytest.raises(tp.DataError, match=r"1000 × 1000 samples takes 16\.\d MB, over the limit of 10\.0 kB"):
        k(np.zeros((1000, 3)))


def test_what_cannot_be_built():
    with pytest.raises(tp.DataError, match="float64 and float32"):
        kernel(mlp(), dtype="float16")
    with pytest.raises(tp.DeviceError):
        kernel(mlp(), device="cuda")
    with pytest.raises(tp.DataError, match="no output `g`"):
        kernel(mlp(), output="g")


def test_symbolic_constants_need_a_number():
    text = mlp(sb2="s").replace("let L = 3", "let L = 3\n  let s")
    with pytest.raises(tp.DataError, match="value for `s`"):
        kernel(text)
    assert kernel(text, constants={"s": 0.1})[0].source == kernel(mlp())[0].source
    for constants in ({"s": 0.1, "sw2": 3}, {"s": 0.1, "t": 1}):
        with pytest.raises(tp.DataError, match="no constant that this network leaves open"):
            kernel(text, constants=constants)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_samples_are_one_only_where_all_their_bits_are(dtype):
    """The second and the fourth; the last has the first one's middle."""
    x = np.random.default_rng(0).normal(size=(6, 40, 33)).astype(dtype)
    x[3], x[4], x[5] = x[1], 0.0, x[0]
    x[5, 0, 0] += 1.0
    assert groups({"x": x}).tolist() == [0, 1, 2, 1, 4, 5]
    assert groups({"x": x, "y": np.zeros((6, 1), dtype)}).tolist() == [0, 1, 2, 1, 4, 5]


@pytest.mark.parametrize(("size", "what"), [(1e160, "large"), (1e-160, "small")])
def test_squares_of_samples_have_to_fit(size: float, what: str) -> None:
    """Kernels are made of squared norms: beyond double precision they would be 0 or infinite, and correlations nothing."""
    from tp.kernel.inputs import converted

    with pytest.raises(tp.DataError, match=f"squares are too {what} for float64"):
        converted("x", np.full((2, 3), size), np.float64)
    with pytest.raises(tp.DataError, match=f"in sample 1: squares are too {what} for float64"):
        converted("x", np.array([[1.0, 0.0, size**-0.1], [0.0, size, size]]), np.float64)
    assert (converted("x", np.array([[1.0, 1e-200], [0.0, 0.0]]), np.float64)[1] == 0.0).all()
    assert (converted("x", np.full((2, 3), size**0.5), np.float64) == size**0.5).all()


def test_samples_that_vanish_in_single_precision_are_no_zeros() -> None:
    from tp.kernel.inputs import converted

    rows = np.array([[1.0, 1e-60], [0.0, 0.0], [1e-60, 0.0]])
    with pytest.raises(tp.DataError, match="has 1e-60 as its largest entry in sample 2: squares are too small for float32"):
        converted("x", rows, np.float32)
    np.testing.assert_array_equal(converted("x", rows[:2], np.float32), [[1.0, 0.0], [0.0, 0.0]])


IMAGES = """network images
  width n
  dim   c = 3
  let   P = 4, T = 2
  index p in 0..P-1
  index t, s in 1..2*T
  input  x[p] : [c]
  input  y[t] : [c]
  weight A : [n, c] ~ N(0, 1/c)
  weight v : [n] ~ N(0, 1/n)
  output f = v @ relu(mean(A @ x[p] for p) + mean(A @ y[t] for t))
"""


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ((2, 4, 5), (2, 4, 3), "load the spec with c=5"),
        ((2, 6, 5), (2, 4, 3), "load the spec with P=6, c=5"),
        ((2, 4, 3), (2, 6, 3), "the spec says 4 there: give its `dim` or `let`"),
    ],
)
def test_a_shape_that_the_spec_could_have_is_told_by_name(x, y, said):
    """By compiled kernels and by runs at finite width alike."""
    net = tp.parse(IMAGES)
    inputs = {"x": np.ones(x), "y": np.ones(y)}
    for call in (net.kernel("nngp"), lambda samples: net.simulate(samples, width=4)):
        with pytest.raises(tp.DataError) as caught:
            call(inputs)
        assert f"help: {said}" in str(caught.value)
    assert "--let" in caught.value.text(command=True)
