"""The closed theorem, at the points that have names."""

from fractions import Fraction as F

import pytest

from tp.readings.scale.theorem import classify, latex, picture

H = F(1, 2)


@pytest.mark.parametrize("L", [1, 2, 7])
@pytest.mark.parametrize(
    ("w", "u", "r", "stable", "learns"),
    [
        ((0, H, H), (1, 1, 1), H, True, False),
        ((0, H, H), (0, 1, 1), H, True, False),
        ((0, H, 1), (-1, 0, 1), 0, True, True),
        ((0, H, H), (0, 0, 0), -1, False, False),
    ],
)
def test_named_points(L, w, u, r, stable, learns):
    found = classify([F(w[0]), *[F(w[1])] * (L - 1), F(w[2])], [F(u[0]), *[F(u[1])] * (L - 1), F(u[2])])
    if L > 1:
        assert found.r == r
    assert (found.stable, found.feature_learning) == (stable, learns)


def test_faces(tmp_path):
    assert r"w_{L+1} + r \ge 1" in latex()
    picture(tmp_path / "slice.png")
    assert (tmp_path / "slice.png").stat().st_size > 5000
