"""Derived rules for a ``torch.nn.Module``: plain optimizer parameter groups, and initial scales.

    rules = tp.load("gpt.tp").mup("adamw")
    groups = param_groups(model, rules, width=1024, base_width=128, lr=3e-3, mapping={"W[l]": "blocks.*.mlp.*.weight", …})
    initialize_(groups, std={"W[l]": 0.02, …})       # the standard deviations that are right at base_width
    optimizer = torch.optim.AdamW(groups)

No layer is subclassed and no multiplier is needed: by the symmetry of abc-parametrizations a multiplier n^(-a) is the same as
n^(-a) in the initial scale and n^(-2a) (SGD) or n^(-a) in the learning rate. Only a scalar that the *network* multiplies by,
such as 1/n in attention logits or before a tied read-out, is the model's own.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 3.2 (the symmetry); Yang et al. 2022, *Tensor Programs V*, appendix B.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any

from tp.errors import NOWHERE, DataError, Message
from tp.readings.scale.optimizers import optimizer
from tp.readings.scale.report import ScalingReport

if TYPE_CHECKING:
    import torch


def param_groups(
    model: torch.nn.Module,
    report: ScalingReport,
    width: float,
    base_width: float,
    mapping: Mapping[str, str | Sequence[str]] | None = None,
    lr: float = 1e-3,
    weight_decay: float | None = None,
    eps: float | None = None,
) -> list[dict[str, Any]]:
    """One group per weight of the spec: ``params``, ``lr`` (``lr`` is right at ``base_width``), ``name``, ``init_factor``.

    ``init_factor`` multiplies the initial standard deviation that is right at ``base_width``. ``mapping`` gives parameter names
    by weight, with * and ?; without it a weight `W` matches ``W`` and ``W.weight``, and `W[l]` matches ``W.3`` and
    ``W3.weight``. ``weight_decay`` and ``eps`` are scaled as the report says.
    """
    for size in (width, base_width):
        if isinstance(size, bool) or not isinstance(size, Real) or not 0 < size < inf:
            raise DataError(Message(NOWHERE, f"a width is {size!r}", "give both widths as positive numbers", "no width"))
    ratio = width / base_width
    degree = optimizer(report.optimizer).degree
    found = _assigned([n for n, p in model.named_parameters() if p.requires_grad], report, mapping)
    named = dict(model.named_parameters())
    groups = []
    for weight, names in found.items():
        rule = report.rules[weight]
        group: dict[str, Any] = {"params": [named[n] for n in names], "name": weight, "names": names}
        group["lr"] = lr * ratio ** -float(rule.c + degree * rule.a)
        group["init_factor"] = 0.0 if rule.b is None else ratio ** -float(rule.a + rule.b)
        if weight_decay is not None:
            group["weight_decay"] = weight_decay * (1.0 if rule.decay is None else ratio ** float(rule.c + degree * rule.a))
        if eps is not None:
            group["eps"] = eps * (1.0 if rule.epsilon is None else ratio ** float(rule.epsilon + rule.a))
        groups.append(group)
    return groups


def initialize_(groups: Iterable[Mapping[str, Any]], std: Mapping[str, float], generator: torch.Generator | None = None) -> None:
    """Draw parameters of the groups that ``std`` names from N(0, (std · init_factor)²); others keep theirs, such as gains."""
    import torch

    named = {group["name"]: group for group in groups}
    for name in std:
        if name not in named:
            raise DataError(Message(NOWHERE, f"no group is called `{name}`", f"there are {', '.join(named)}", "no group"))
    with torch.no_grad():
        for name, base in std.items():
            for p in named[name]["params"]:
                p.normal_(0.0, base * named[name]["init_factor"], generator=generator)


def _assigned(
    parameters: Sequence[str], report: ScalingReport, mapping: Mapping[str, str | Sequence[str]] | None
) -> dict[str, list[str]]:
    """Parameter names by weight of the spec; every parameter once, every pattern used."""
    found: dict[str, list[str]] = {}
    for weight in mapping if mapping is not None else report.rules:
        _ = report.rules[weight]
        if mapping is None:
            hit = [n for n in parameters if _matches(n, weight)]
        else:
            patterns = [mapping[weight]] if isinstance(mapping[weight], str) else list(mapping[weight])
            hit = [n for n in parameters if any(fnmatchcase(n, str(p)) for p in patterns)]
            if not hit:
                reason = f"no parameter is called {mapping[weight]!r}"
                raise DataError(Message(NOWHERE, reason, f"the model has {', '.join(parameters[:12])}", "no match"))
        if hit:
            found[weight] = hit
    counted = [n for names in found.values() for n in names]
    missing = [n for n in parameters if n not in counted]
    double = sorted({n for n in counted if counted.count(n) > 1})
    if missing or double:
        what = f"`{(missing or double)[0]}` belongs to {'no weight' if missing else 'two weights'} of the spec"
        remedy = f'say which with mapping={{"{next(iter(report.rules))}": "…"}}; the weights are {", ".join(report.rules)}'
        raise DataError(Message(NOWHERE, what, remedy, "no mapping"))
    return found


def _matches(parameter: str, weight: str) -> bool:
    """``blocks.3.W.weight``: its last part but ``weight`` is the weight's name, with its number."""
    name = re.sub(r"\.(weight|data)$", "", parameter)
    family, _, index = weight.rstrip("]'").partition("[")
    if not index:
        return name == family or name.endswith(f".{family}")
    number = re.fullmatch(rf"(?:.*\.)?{re.escape(family)}[._]?(\d+)", name)
    fixed = index.split(",")[0]
    return number is not None and (not fixed.isdigit() or number[1] == fixed)
