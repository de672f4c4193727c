"""Two Gaussians to a side: against closed forms, and against nested quadrature that knows nothing of Hermite polynomials."""

import math
from typing import Any

import numpy as np
import pytest
import sympy as sp

from tests.gaussian.run import plain
from tp.errors import LimitError
from tp.gaussian import planes
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import relu, sigmoid
from tp.gaussian.numeric import lower
from tp.gaussian.sides import split
from tp.kernel import planewise
from tp.kernel.lanewise import Vectors

U = sp.symbols("_u _u1", real=True)
V = sp.symbols("_v _v1", real=True)
COV = sp.Matrix(4, 4, lambda i, j: sp.Symbol(f"s{min(i, j)}{max(i, j)}", real=True))


def numbers(low: Any, variables: int, matrix: Any, function: str = "", first: tuple[Any, ...] = ()) -> Any:
    """A generated function at a covariance."""
    at = {COV[i, j]: float(matrix[i][j]) for i in range(variables) for j in range(variables)}
    args = [float(a.xreplace(at)) if isinstance(a, sp.Expr) else a for a in low.args]
    return made(low)[function or low.function](*first, *args)


def made(low: Any) -> Any:
    """The functions in plain Python, those with long loops in array code."""
    names = plain(low.sources)
    names.update({name: twin for name, twin in planewise.ALONE.items() if name in names})
    for name in [n for n in names if planewise.values(n)]:
        names[name] = planewise.at_step(everywhere(names[planewise.values(name)]))
    return names


def everywhere(phi: Any) -> Any:
    """A function of one point as one of many."""

    def at(x: Any, y: Any, rows: Any, *params: float) -> None:
        for k, (a, b) in enumerate(zip(x, y, strict=True)):
            phi(a, b, rows[:, k], *params)

    return at


def four(integrand: sp.Expr) -> Expectation:
    return Expectation(integrand, (*U, *V), COV)


def brute(f: Any, matrix: Any, step: float = 0.4) -> float:
    """The trapezoid rule in as many dimensions as the covariance has, in other coordinates: by its eigenvectors."""
    values, vectors = np.linalg.eigh(np.array(matrix))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    x = np.arange(-8.1, 8.2, step)
    w = np.exp(-x * x / 2) * step / math.sqrt(2 * math.pi)
    total = 0.0
    for i, xi in enumerate(x):  # one axis at a time: memory
        grid = np.meshgrid(*[x] * (len(root) - 1), indexing="ij")
        weight = w[i] * np.prod(np.meshgrid(*[w] * (len(root) - 1), indexing="ij"), axis=0)
        z = np.tensordot(root[:, :1], np.full((1, *grid[0].shape), xi), 1) + np.tensordot(root[:, 1:], np.array(grid), 1)
        total += float(np.sum(weight * f(*z)))
    return total


def logistic(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


MATRIX = [[1.0, 0.4, 0.5, 0.2], [0.4, 0.7, 0.3, 0.3], [0.5, 0.3, 0.9, 0.1], [0.2, 0.3, 0.1, 0.6]]


def test_a_gate_and_a_candidate_that_share_a_matrix() -> None:
    u, u1, v, v1 = (*U, *V)
    low = lower(four(sigmoid(u) * sp.tanh(u1) * sigmoid(v) * sp.tanh(v1)))
    expected = brute(lambda a, b, c, d: logistic(a) * np.tanh(b) * logistic(c) * np.tanh(d), MATRIX)
    assert numbers(low, 4, MATRIX) == pytest.approx(expected, rel=1e-9)
    assert low.bound == 1e-11


POLYNOMIALS = {
    "a side of two": (U[0] * U[1] ** 2 * V[0] * V[1] ** 2, (1, 2, 1, 2)),
    "another": ((U[0] ** 3 - U[1]) * V[0] * V[1] ** 2, None),
}


def isserlis(powers: tuple[int, ...], matrix: Any) -> float:
    """E Π z^m by pairings."""
    first = next((k for k, m in enumerate(powers) if m), None)
    if first is None:
        return 1.0
    total = 0.0
    left = [m - (k == first) for k, m in enumerate(powers)]
    for k, m in enumerate(left):
        if m:
            total += m * matrix[first][k] * isserlis(tuple(x - (j == k) for j, x in enumerate(left)), matrix)
    return total


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_have_their_moments(name: str) -> None:
    g = POLYNOMIALS[name][0]
    expected = sum(float(c) * isserlis(m, MATRIX) for m, c in sp.Poly(g, *U, *V).terms())
    assert numbers(lower(four(g)), 4, MATRIX) == pytest.approx(expected, rel=1e-11)


def test_exponentials_and_sines_have_theirs() -> None:
    """E e^{a·z} cos(b·z), as the characteristic function has it; a sum inside is a function of two, which does not separate."""
    g = sp.exp(U[0] / 2) * sp.cos(V[0] + V[1] / 2) * sp.cos(U[1])
    s = np.array(MATRIX)
    a = np.array([0.5, 0.0, 0.0, 0.0])
    expected = 0.0
    for sign in (1.0, -1.0):
        b = np.array([0.0, sign, 1.0, 0.5])
        expected += 0.5 * math.exp(0.5 * (a @ s @ a - b @ s @ b)) * math.cos(a @ s @ b)
    assert numbers(lower(four(g)), 4, MATRIX) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("same", [1.0, 0.9999, -1.0])
def test_sides_that_are_the_same_or_nearly(same: float) -> None:
    """s = 1, where nothing but the decay of coefficients ends the series."""
    own = np.array([[0.8, 0.3], [0.3, 0.5]])
    matrix = np.block([[own, same * own], [same * own, own]])
    g = sigmoid(U[0]) * sp.tanh(U[1]) * sigmoid(V[0]) * sp.tanh(V[1])
    f = lambda a, b: logistic(a) * np.tanh(b)  # noqa: E731
    if abs(same) == 1.0:
        expected = brute(lambda a, b: f(a, b) * f(same * a, same * b), own)
    else:
        expected = brute(lambda a, b, c, d: f(a, b) * f(c, d), matrix)
    assert numbers(lower(four(g)), 4, matrix) == pytest.approx(expected, abs=1e-11)


def test_variables_that_are_multiples_of_each_other_or_nothing() -> None:
    """u1 = 2 u and v = 0: in truth a function of two Gaussians."""
    two = np.array([[0.5, 0.3], [0.3, 0.9]])
    a = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    g = sigmoid(U[0]) * sp.tanh(U[1]) * sigmoid(V[0] + 1) * sp.tanh(V[1])
    expected = brute(lambda x, y: logistic(x) * np.tanh(2 * x) * logistic(1.0) * np.tanh(y), two, 0.2)
    assert numbers(lower(four(g)), 4, a @ two @ a.T) == pytest.approx(expected, rel=1e-11)


def test_a_function_of_two_alone_and_three_variables() -> None:
    low = lower(Expectation(sp.tanh(U[0] * V[0]) ** 2, (U[0], V[0]), COV[:2, :2]))
    assert numbers(low, 2, MATRIX) == pytest.approx(
        brute(lambda a, b: np.tanh(a * b) ** 2, np.array(MATRIX)[:2, :2], 0.1), rel=1e-11
    )
    three = Expectation(sigmoid(U[0]) * sp.tanh(U[1]) * sp.tanh(V[0]), (*U, V[0]), COV[:3, :3])
    expected = brute(lambda a, b, c: logistic(a) * np.tanh(b) * np.tanh(c), np.array(MATRIX)[:3, :3], 0.25)
    assert numbers(lower(three), 3, MATRIX) == pytest.approx(expected, rel=1e-10)


def sited(low: Any) -> Any:
    """The same numbers with vectors that each side has already."""
    run, own = made(low), ((1.0, 0.4, 0.7), (0.9, 0.1, 0.6))
    length = max(run[s.count](*p, 1e-11) for s, p in zip(low.sites, own, strict=True))
    vectors = [np.zeros(s.blocks * length) for s in low.sites]
    for s, p, out in zip(low.sites, own, vectors, strict=True):
        run[s.function](*p, out)
    return numbers(low, 4, MATRIX, low.with_sites, tuple(vectors))


def test_values_and_slopes_together_and_by_sites() -> None:
    """One function for V and all its slopes; with vectors that each side has already the same numbers."""
    f, g = sigmoid(U[0]) * sp.tanh(U[1]), sigmoid(V[0]) * sp.tanh(V[1])
    integrands = [f * g, *(sp.diff(f, a) * sp.diff(g, b) for a in U for b in V)]
    low = lower(*map(four, integrands))
    found = numbers(low, 4, MATRIX)
    assert len(found) == low.results == 5
    assert found[1] == pytest.approx(numbers(lower(four(integrands[1])), 4, MATRIX), rel=1e-11)
    assert low.sites[0].function == low.sites[1].function  # one table serves both samples
    np.testing.assert_allclose(sited(low), found, rtol=1e-11)


def test_sides_of_different_numbers_of_functions() -> None:
    """Their vectors have blocks of one length; a vector as long as the other would end within a degree."""
    f, g = sigmoid(U[0]) * sp.tanh(U[1]), sigmoid(V[0]) * sp.tanh(V[1])
    low = lower(*map(four, (f * g, sp.diff(f, U[0]) * g, sp.diff(f, U[1]) * g)))
    assert [s.blocks for s in low.sites] == [3, 1]
    np.testing.assert_allclose(sited(low), numbers(low, 4, MATRIX), rtol=1e-11)
    assert [planes.degree(size) for size in (1, 2, 3, 5, 6, 148612)] == [0, 0, 1, 1, 2, 543]


def test_tails_bound_what_is_left_out() -> None:
    """Parseval's tails of vectors that are too short, times s^{K+1}, are above the error and not far above."""
    low = lower(four(sigmoid(U[0]) * sp.tanh(U[1]) * sigmoid(V[0]) * sp.tanh(V[1])))
    run, own = made(low), (0.8, 0.3, 0.5)
    exact = np.zeros(55 * 56 // 2 + 2)
    run[low.sites[0].function](*own, exact)
    for top in (4, 8, 12):
        vector = np.zeros((top + 1) * (top + 2) // 2 + 2)
        run[low.sites[0].function](*own, vector)
        for s in (1.0, 0.6):
            truth = planewise.one_pair(exact, exact, 54, s, 0.0, 0.0, s, 1, 1)
            short = planewise.one_pair(vector, vector, top, s, 0.0, 0.0, s, 1, 1)
            bound = (vector[-2] * vector[-1]) ** 2 * s ** (top + 1)
            error = abs(truth[0, 0] - short[0, 0])
            assert 0.05 * bound < error <= bound * (1 + 1e-9)


def test_coefficients_by_products_of_matrices_are_those_of_loops() -> None:
    low = lower(four(sigmoid(U[0]) * sp.tanh(U[1]) * V[0] * V[1]))
    loops, products, top = plain(low.sources), made(low), 6
    for name in [n for n in loops if n.startswith("at_step")]:
        one, other = np.zeros(30), np.zeros(30)
        assert loops[name](0.9, 0.3, 0.5, 0.5, top, one) and products[name](0.9, 0.3, 0.5, 0.5, top, other)
        np.testing.assert_allclose(one[:28], other[:28], atol=1e-14)
        np.testing.assert_allclose(one[28:], other[28:], atol=1e-7)
    for how in (loops, products):
        assert how["apart"](one, other + 1e-9, 1) == pytest.approx(1e-9 / one[-1], rel=1e-3)
        assert how["apart"](np.zeros(30), one.copy(), 1) == math.inf and how["apart"](np.zeros(30), np.zeros(30), 1) == 0.0
        assert how["apart"](np.full(30, math.nan), one.copy(), 1) == math.inf


def test_sums_of_all_pairs_are_those_of_each() -> None:
    """Rotated coefficients against the matrices Γ_k, for covariances of every kind and lanes that go on for different times."""
    rng = np.random.default_rng(1)
    top, lanes = 6, 24
    a, b = rng.normal(size=(3, 2 * 30)), rng.normal(size=(4, 3 * 30))
    for vectors in (a, b):
        vectors[:, 28::30], vectors[:, 29::30] = 0.1, 3.0
    r = rng.normal(size=(lanes, 4))
    r[:4] = [[0, 0, 0, 0], [1, 0, 0, 1], [-0.5, 0, 0, 0.5], [0, 0, 0.4, 0]]
    r[4:] /= np.linalg.norm(r[4:].reshape(-1, 2, 2), 2, axis=(1, 2))[:, None] * np.linspace(1.0, 9.0, lanes - 4)[:, None]
    i, j = rng.integers(0, 3, lanes), rng.integers(0, 4, lanes)
    one, two, degrees = Vectors(a.T, i), Vectors(b.T, j), rng.integers(-1, top + 1, lanes)
    found = planewise.together(one, two, degrees, *r.T, 2, 3)
    each = [planes.together(a[i[z]], b[j[z]], int(degrees[z]), *r[z], 2, 3) for z in range(lanes)]
    np.testing.assert_allclose(found, np.moveaxis(each, 0, -1), atol=1e-13)
    s = np.array([planes.stretch(*x) for x in r])
    enough = [planes.terms(a[i[z]], b[j[z]], 2, 3, s[z]) for z in range(lanes)]
    np.testing.assert_array_equal(planewise.terms(one, two, 2, 3, s), enough)
    np.testing.assert_allclose(planes.tails(a[0], 2, top), planewise.tails(a[0], 2, top), rtol=1e-12)


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_functions_too_large_for_a_norm_have_no_mean(norm: float) -> None:
    """Their first coefficients may be finite all the same."""
    vector, fine = np.array([1.0, 0.5, 0.25, 0.1, norm]), np.array([1.0, 0.5, 0.25, 0.1, 2.0])
    assert planes.terms(vector, fine, 1, 1, 0.5) == planes.terms(fine, vector, 1, 1, 0.5) == -1


def test_what_has_no_rule() -> None:
    with pytest.raises(LimitError, match="`relu` is not"):
        split([relu(U[0]) * sp.tanh(U[1]) * V[0]], (*U, V[0]))
    with pytest.raises(LimitError, match="no product of functions of two"):
        split([sp.tanh(U[0] * U[1] * V[0] * V[1])], (*U, *V))
    with pytest.raises(LimitError, match="5 correlated Gaussians at once"):
        split([sp.tanh(U[0])], (*U, *V, sp.Symbol("_w", real=True)))
    narrow = lower(four(1 / (1 + 10**8 * (U[0] - U[1]) ** 2) * sp.tanh(V[0]) * V[1]))
    assert math.isnan(numbers(narrow, 4, MATRIX))
