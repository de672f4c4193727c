"""Wrong arguments of public calls."""

from __future__ import annotations

import pytest

import tp
from tp.asked import asked


@pytest.mark.parametrize(
    ("call", "told", "remedy"),
    [
        (lambda net: net.kernel("nngp").gram([[1.0] * 10]), "`gram` is called without what it needs", "give out=…"),
        (lambda net: net.kernel("nngp")([[1.0] * 10], foo=1), "a kernel takes no `foo`", "it takes `X1`, `X2`"),
        (lambda net: net.kernel("nngp", devise="cuda"), "`devise` is no option", "did you mean `device`?"),
        (lambda net: net.kernel(["nngp", "ntk"]), "there is no kernel ['nngp', 'ntk']", 'net.kernel("nngp", "ntk")'),
        (lambda net: net.train([[1.0] * 10], [1.0], step=1), "`train` takes no `step`", "did you mean `steps`?"),
        (lambda net: net.train(), "without what it needs", "give `X` and `y`"),
        (lambda net: net.nngp("as written"), "takes none without a name", "by name: progress"),
        (lambda net: net.scaling(3), "there is no parametrization 3", "per weight"),
        (lambda net: net.verify(widths=256), "widths 256 with 8 seeds", "give whole numbers"),
        (lambda net: net.depth_check("adam", depths="8,16"), "depths '8,16'", "give whole numbers"),
        (lambda net: net.depth_check("adam", depths=8), "depths 8", "give whole numbers"),
        (lambda net: net.depth_check("adam", "mup", depths=(2, 4)), "`parametrization` is str", 'net.mup("sgd")'),
        (lambda net: net.nngp().text("wide"), "a page of 'wide' columns", "whole number"),
    ],
)
def test_they_are_told_with_a_way_out(call, told, remedy):
    with pytest.raises(tp.DataError) as caught:
        call(tp.zoo("mlp"))
    assert told in str(caught.value) and remedy in str(caught.value)


def test_a_mistake_within_stays_what_it_is():
    @asked
    def broken(a: object) -> int:
        return len(a)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="has no len"):
        broken(3)
    assert broken("abc") == 3
