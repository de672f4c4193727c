"""Generated modules in plain Python: the same text, nothing compiled, for what need not be fast."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tp
from tp.kernel import kernel as kernel_module
from tp.kernel.build import build
from tp.kernel.inputs import shape

_names = itertools.count()


def uncompiled(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on kernels run their generated text in plain Python."""

    def load(text: str):
        name = f"plain_kernel_{next(_names)}"
        path = folder / f"{name}.py"
        path.write_text(text.replace("from numba import njit", "def njit(**options):\n    return lambda f: f"))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.math = SimpleNamespace(**{**vars(math), "sqrt": _sqrt})
        return module

    monkeypatch.setattr(kernel_module, "load", load)


def _sqrt(x: float) -> float:
    """As compiled: not a number below 0, which is what a lane is left at that is computed again."""
    return math.sqrt(x) if x >= 0.0 else math.nan


def kernel(text: str, kinds=("K", "Theta"), **options):
    """The kernel of a spec, and its limit."""
    net = tp.parse(text)
    limit = net.ntk() if "Theta" in kinds else net.nngp()
    return build(limit, kinds, threads=1, progress=False, **options), limit


def data(limit, count: int, seed: int = 0):
    """Random samples of the right shape, a dict where the network has several inputs."""
    rng = np.random.default_rng(seed)
    made = {d.ref.name: rng.standard_normal((count, *shape(d, {}))) for d in limit.program.data}
    return made if len(made) > 1 else next(iter(made.values()))
