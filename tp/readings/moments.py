"""Limits of a program's scalar outputs at initialization, by the full Z-calculus: nothing is assumed of gradients.

Source: Yang 2020, *Tensor Programs III*, Theorem 2.10 and Definition E.3 (the Master Theorem and its Z-variables).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.program.ir import Program
from tp.readings.expression import Compiler
from tp.readings.feature_limit import limit
from tp.readings.indexing import Key
from tp.readings.inputs import numbers_of, samples_of
from tp.readings.orders import leading_order, output_orders
from tp.transform.backprop import flat
from tp.transform.normalize import normalize

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """``values[name]`` is [N, …indices in order], N samples (1 without input); ``errors`` the same."""

    values: dict[str, Array]
    errors: dict[str, Array]
    method: str
    details: dict[str, Any]

    def __getitem__(self, name: str) -> Array:
        return self.values[name]


def moments(
    program: Program, inputs: Mapping[str, Any], method: str = "auto", tol: float | None = None, seed: int = 0
) -> Moments:
    """See :meth:`tp.net.Net.moments`. Raises ``LimitError`` for outputs that are random or diverge."""
    program = normalize(program)
    orders = output_orders(program)
    leading = leading_order(program)
    compiler = Compiler()
    env = numbers_of(program, {})
    count, data = samples_of(program, inputs, env, compiler) if program.data else (1, {})
    wanted = {name: _members(leading, name, compiler) for name in orders}
    tables = table_numbers(leading, compiler)
    keys = [key for name, members in wanted.items() if orders[name] == 0 for key in members]
    values: dict[str, list[list[float]]] = {name: [] for name in orders}
    errors: dict[str, list[list[float]]] = {name: [] for name in orders}
    found = None
    for i in range(count):
        found = limit(leading, {key: float(a[i]) for key, a in data.items()} | tables, keys, method, tol, seed)
        for name, members in wanted.items():
            values[name].append([found.values.get(key, 0.0) for key in members])
            errors[name].append([found.errors.get(key, 0.0) for key in members])
    assert found is not None
    shapes = {
        name: tuple(len({key[k] for key in members}) for k in range(1, len(members[0]))) for name, members in wanted.items()
    }

    def arrays(of: dict[str, list[list[float]]]) -> dict[str, Array]:
        return {name: np.array(rows).reshape(count, *shapes[name]) for name, rows in of.items()}

    return Moments(arrays(values), arrays(errors), found.method, found.details)


def _members(program: Program, name: str, compiler: Compiler) -> list[Key]:
    clauses = [(ins.out, domain) for ins, domain in flat(program.body) if ins.out.name == name]
    return sorted(compiler.key(out, env) for out, domain in clauses for env in compiler.points(domain, {}))


def table_numbers(program: Program, compiler: Compiler) -> dict[Key, float]:
    """Every entry of the constant tables, by member."""
    found: dict[Key, float] = {}
    for name, (domain, rows) in program.tables.items():
        table = np.array(rows, dtype=object)
        spans = [compiler.interval(r, {}) for r in domain]
        for at in product(*(range(len(s)) for s in spans)):
            found[name, *(s[k] for s, k in zip(spans, at, strict=True))] = float(table[at])
    return found
