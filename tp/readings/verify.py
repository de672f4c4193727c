"""``verify``: the derived kernels against empirical kernels of finite networks of the same program.

The derivation reads the program symbolically, the simulator runs it; they share nothing else. A right limit is
approached like 1/sqrt(width).

Source: Yang 2020, *Tensor Programs III*, Master Theorem; Golikov & Yang 2022 for the rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message
from tp.readings.empirical import empirical_kernels
from tp.readings.fit import Fit, power_law

if TYPE_CHECKING:
    from tp.net import Net

Array = NDArray[np.float64]
KIND = {"nngp": "K", "ntk": "Theta"}
SLOWEST, FASTEST = -0.3, -0.8


@dataclass(frozen=True)
class Report:
    """Errors of the empirical kernels, by kind, width and seed, and the power law fitted to them.

    ``errors[kind]`` has shape [widths, seeds]: ‖empirical − derived‖ / ‖derived‖ in the Frobenius norm.
    """

    name: str
    widths: tuple[int, ...]
    errors: dict[str, Array]
    fits: dict[str, Fit]

    @property
    def exponents(self) -> dict[str, float]:
        """Fitted exponent of the width per kind; theory: −1/2."""
        return {kind: fit.exponent for kind, fit in self.fits.items()}

    @property
    def passed(self) -> bool:
        """Whether every error falls as 1/sqrt(width) should, within what so few seeds can tell."""
        return all(FASTEST - 2 * f.uncertainty <= f.exponent <= SLOWEST + f.uncertainty for f in self.fits.values())

    def mean(self, kind: str) -> Array:
        """Root mean square over seeds, per width."""
        return np.asarray(np.sqrt(np.mean(self.errors[kind] ** 2, axis=1)))

    def table(self) -> str:
        """The report as text, one line a kind."""
        head = f"{'kernel':8}" + "".join(f"{'n = ' + str(n):>12}" for n in self.widths) + "   error ~ n^"
        rows = [
            f"{kind:8}" + "".join(f"{e:12.2%}" for e in self.mean(kind)) + f"   {fit.exponent:+.2f} ± {fit.uncertainty:.2f}"
            for kind, fit in self.fits.items()
        ]
        verdict = "converges like 1/sqrt(n)" if self.passed else "does NOT converge like 1/sqrt(n)"
        return "\n".join([f"{self.name}: relative error of empirical kernels", head, *rows, verdict])

    def to_json(self) -> str:
        """The report as JSON."""
        kinds = {
            kind: {"errors": self.errors[kind].tolist(), "exponent": fit.exponent, "uncertainty": fit.uncertainty}
            for kind, fit in self.fits.items()
        }
        return json.dumps({"network": self.name, "widths": list(self.widths), "kernels": kinds, "passed": self.passed}, indent=2)

    def plot(self, path: Any = None) -> Any:
        """Error against width with the fitted power law; written to ``path`` when given. Returns the figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for kind, fit in self.fits.items():
            (line,) = axes.plot(self.widths, self.mean(kind), "o", label=f"{kind}: $n^{{{fit.exponent:.2f}}}$")
            axes.plot(self.widths, fit.constant * np.asarray(self.widths, float) ** fit.exponent, color=line.get_color(), lw=1)
        reference = self.mean(next(iter(self.fits)))[0] * np.sqrt(self.widths[0] / np.asarray(self.widths, float))
        axes.plot(self.widths, reference, "k:", lw=1, label="$1/\\sqrt{n}$")
        axes.set(xscale="log", yscale="log", xlabel="width $n$", ylabel="relative error", title=self.name)
        axes.set_xticks(self.widths, [str(n) for n in self.widths], minor=False)
        axes.minorticks_off()
        axes.legend()
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>n = {n}</th>" for n in self.widths)
        rows = "".join(
            f"<tr><th>{kind}</th>"
            + "".join(f"<td>{e:.2%}</td>" for e in self.mean(kind))
            + f"<td>n<sup>{fit.exponent:+.2f} ± {fit.uncertainty:.2f}</sup></td></tr>"
            for kind, fit in self.fits.items()
        )
        return f"<table><tr><th>relative error</th>{head}<th>fitted</th></tr>{rows}</table>"


def verify(
    net: Net,
    widths: Sequence[int],
    seeds: int,
    inputs: Any,
    kinds: Sequence[str],
    seed: int,
    progress: bool,
    constants: Mapping[str, Any],
) -> Report:
    """See :meth:`tp.net.Net.verify`. Without ``inputs``, three standard normal samples drawn from ``seed``."""
    widths = tuple(sorted(set(widths)))
    if not widths or widths[0] < 1 or seeds < 1:
        reason = f"widths {list(widths)} with {seeds} seeds"
        raise DataError(Message(NOWHERE, reason, "give widths and seeds of at least 1", "nothing to run"))
    generator = np.random.default_rng(seed)
    data = net.inputs(inputs) if inputs is not None else random_inputs(net, generator, constants)
    only = next(iter(data.values())) if len(data) == 1 else data
    derived = net.kernel(*kinds, **constants)(only)
    exact = dict(zip(kinds, derived if isinstance(derived, tuple) else (derived,), strict=True))
    errors = {kind: np.zeros((len(widths), seeds)) for kind in kinds}
    runs = [(w, s) for w in range(len(widths)) for s in range(seeds)]
    for w, s in _bar(runs, progress):
        drawn = generator.spawn(1)[0]
        found = empirical_kernels(net.program, data, widths[w], drawn, [KIND[k] for k in kinds], constants=constants)
        for kind in kinds:
            errors[kind][w, s] = np.linalg.norm(found[KIND[kind]] - exact[kind]) / np.linalg.norm(exact[kind])
    return Report(net.network.name, widths, errors, {kind: _fit(widths, errors[kind]) for kind in kinds})


def random_inputs(net: Net, generator: np.random.Generator, constants: Mapping[str, Any], samples: int = 3) -> dict[str, Array]:
    """Standard normal inputs of the right shape for every input of ``net``."""
    data = {}
    for item in net.program.data:
        shape = []
        for r in item.domain:
            extent = (r.hi - r.lo + 1).subs({s: constants[s.name] for s in (r.hi - r.lo).free_symbols if s.name in constants})
            if not extent.is_Integer:
                reason = f"the range `{r}` of input `{item.ref}` is not a number"
                raise DataError(Message(item.span, reason, "give its constants as keywords", "missing constant"))
            shape.append(int(extent))
        data[item.ref.name] = generator.standard_normal((samples, *shape))
    return data


def _fit(widths: Sequence[int], errors: Array) -> Fit:
    root = np.sqrt(np.mean(errors**2, axis=1))
    spread = np.std(errors, axis=1) / np.sqrt(errors.shape[1]) / root if errors.shape[1] > 1 else np.full(len(widths), 0.5)
    return power_law(widths, root.tolist(), np.maximum(spread, 0.05).tolist())


def _bar(runs: list[tuple[int, int]], progress: bool) -> Any:
    if not progress:
        return runs
    from tqdm import tqdm

    return tqdm(runs, desc="finite widths", unit="net", leave=False)
