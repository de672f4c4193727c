"""Functions compiled with less of numba's work are those that numba compiles."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from tp.kernel import quick
from tp.kernel.module import load
from tp.kernel.text import ENTRY, EXACT, HEAD, LOOPING, SUMMING

TEXT = (
    HEAD
    + f"""

{EXACT}def lost(a, b):
    s = a + b
    return (a - s) + b


{SUMMING}def total(x):
    found, k = 0.0, 0
    while k < len(x):
        found += x[k]
        k += 1
    return found


{LOOPING}def rows(x, out, scratch):
    pair = (3.0, 4.0)
    for i in range(x.shape[0]):
        row, at = x[i], scratch[i % 2]
        for j in range(len(row)):
            low, high = min(row[j], 0.5), max(row[j], NUMBER)
            at[j] = math.sqrt(high) if row[j] > 0.0 else low ** 2
            if j == 7:
                continue
            out[i, j] = at[j] * pair[1] / pair[i % 2] + lost(row[j], 1e-17)


{ENTRY}def whole(x, out):
    scratch = np.zeros((2, x.shape[1]))
    rows(x, out, scratch)
    return total(out[0, 1:4]), scratch.shape[0]
"""
)
X = np.random.default_rng(0).standard_normal((4, 9))


@pytest.fixture(params=["checked", "other"])
def module(request, tmp_path, monkeypatch):
    """With this numba as one of those that were checked, and as one that was not."""
    if request.param == "checked" and not numba.__version__.startswith(quick.CHECKED):
        pytest.skip("another numba compiles by itself")
    monkeypatch.setenv("TP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(quick, "CHECKED", quick.CHECKED if request.param == "checked" else ("none",))
    return load(TEXT.replace("NUMBER", "-1.0" if request.param == "other" else "-2.0"))


def test_functions_are_the_same(module, tmp_path):
    out = np.full(X.shape, -1.0)
    total, two = module.whole(X, out)
    expected = np.where(X > 0, np.sqrt(np.abs(X)), np.minimum(X, 0.5) ** 2) * 4 / np.array([3, 4, 3, 4])[:, None] + 1e-17
    expected[:, 7] = -1.0
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    assert total == pytest.approx(out[0, 1:4].sum(), rel=1e-14) and two == 2
    (made,) = module.rows.overloads.values()
    assert made.library.name and (type(made.library).__name__ == "Part") == (quick.CHECKED != ("none",))
    assert list(tmp_path.rglob("*.whole-*.nbc")) and not list(tmp_path.rglob("*.rows-*.nbc"))


def test_errors_are_numbas(module):
    from numba.core.errors import TypingError

    with pytest.raises(TypingError):
        module.rows(X, "no array", X)
