"""``verify``: the derived kernels against empirical kernels of finite networks of the same program.

The derivation reads the program symbolically, the simulator runs it; they share nothing else. A right limit is
approached like 1/sqrt(width).

Source: Yang 2020, *Tensor Programs III*, Master Theorem; Golikov & Yang 2022 for the rate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message, with_values
from tp.progress import over
from tp.readings.empirical import kernels_of
from tp.readings.fit import Fit, power_law
from tp.readings.inputs import generator
from tp.readings.simulate import Run, simulate
from tp.target import picture

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
    def verdict(self) -> str:
        """``"converges"`` or ``"does not converge"`` like 1/sqrt(n); ``"inconclusive"`` where it might not fall at all."""
        found = [_judge(fit) for fit in self.fits.values()]
        return next((v for v in ("does not converge", "inconclusive") if v in found), "converges")

    @property
    def passed(self) -> bool:
        """Whether every error falls like 1/sqrt(width)."""
        return self.verdict == "converges"

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
        says = {
            "converges": "converges like 1/sqrt(n)",
            "inconclusive": "inconclusive: the seeds differ too much; draw more of them",
            "does not converge": "does NOT converge like 1/sqrt(n)",
        }
        return "\n".join([f"{self.name}: relative error of empirical kernels", head, *rows, says[self.verdict]])

    def to_json(self) -> str:
        """The report as JSON."""
        kinds = {
            kind: {"errors": self.errors[kind].tolist(), "exponent": fit.exponent, "uncertainty": fit.uncertainty}
            for kind, fit in self.fits.items()
        }
        return json.dumps(
            {"network": self.name, "widths": list(self.widths), "kernels": kinds, "verdict": self.verdict}, indent=2
        )

    def plot(self, path: Any = None) -> Any:
        """Error against width with the fitted power law; written to ``path`` when given. Returns the figure."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, PercentFormatter

        path = picture(path)
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
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
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


def checked_widths(widths: Sequence[int], seeds: int) -> tuple[int, ...]:
    """``widths`` in order and each once: two at least, for a power is fitted to them. Raises ``DataError``."""
    if not isinstance(widths, Iterable) or not all(isinstance(n, Integral) for n in (*widths, seeds)):
        reason = f"widths {widths!r} with {seeds!r} seeds"
        raise DataError(Message(NOWHERE, reason, "give whole numbers", "nothing to run"))
    found = tuple(sorted(set(widths)))
    if len(found) < 2:
        reason = f"a power of the width is fitted, and there is only {list(found)}"
        raise DataError(Message(NOWHERE, reason, "give at least two different widths, better three", "too few widths"))
    if found[0] < 1 or seeds < 1:
        reason = f"widths {list(found)} with {seeds} seeds"
        raise DataError(Message(NOWHERE, reason, "give widths and seeds of at least 1", "nothing to run"))
    return found


def verify(
    net: Net,
    widths: Sequence[int],
    seeds: int,
    inputs: Any,
    kinds: Sequence[str],
    seed: int,
    progress: bool | None,
    constants: Mapping[str, Any],
) -> Report:
    """See :meth:`tp.net.Net.verify`. Without ``inputs``, three standard normal samples drawn from ``seed``."""
    widths = checked_widths(widths, seeds)
    random = generator(seed)
    data = net.inputs(inputs) if inputs is not None else random_inputs(net, random, constants)
    derived = _derived(net, data, kinds, constants)
    errors = {(kind, name): np.zeros((len(widths), seeds)) for name in derived for kind in kinds}
    runs = [(w, s) for w in range(len(widths)) for s in range(seeds)]
    for w, s in over(runs, "finite widths", " networks", progress):
        run = simulate(net.program, data, widths[w], random.spawn(1)[0], constants)
        for (kind, name), found in errors.items():
            found[w, s] = _error(run, kind, derived[name][kind], name, widths[w])
    labelled = {kind if len(derived) == 1 else f"{kind} {name}": e for (kind, name), e in errors.items()}
    return Report(net.network.name, widths, labelled, {label: _fit(widths, e) for label, e in labelled.items()})


@dataclass(frozen=True)
class _Derived:
    """A derived kernel, [N, N] or [N, N, …index], and the power of the width that was taken out of it."""

    values: Array
    power: float


def _derived(
    net: Net, data: Mapping[str, Any], kinds: Sequence[str], constants: Mapping[str, Any]
) -> dict[str, dict[str, _Derived]]:
    """By output and kind."""
    only = next(iter(data.values())) if len(data) == 1 else data
    found = {}
    for output in net.program.outputs:
        kernel = net.kernel(*kinds, output=output.name, **constants)
        values = kernel(only)
        values = values if isinstance(values, tuple) else (values,)
        powers = [float(_powers(net, kernel, kinds).get(KIND[kind], 0)) for kind in kinds]
        found[output.name] = {k: _Derived(v, p) for k, v, p in zip(kinds, values, powers, strict=True)}
    return found


def _powers(net: Net, kernel: Any, kinds: Sequence[str]) -> Mapping[str, Any]:
    """By which powers of the width kernels were divided."""
    from tp.limit.nodes.kernel import NodeKernel

    if isinstance(kernel, NodeKernel):
        return kernel.power
    return (net.ntk() if "ntk" in kinds else net.nngp()).power


def _error(run: Run, kind: str, derived: _Derived, output: str, width: int) -> float:
    """Relative Frobenius error over the samples and, for an output with an index, over a few of its coordinates."""
    members = run.members(next(f for f in run.program.outputs if f.name == output))
    first = [min(k[1:][slot] for k in members) for slot in range(len(members[0]) - 1)]
    chosen = members[:: max(1, len(members) // 3)][:3] if derived.values.ndim > 2 else members[:1]
    difference = reference = 0.0
    for key in chosen:
        at = tuple(e - low for e, low in zip(key[1:], first, strict=True)) if derived.values.ndim > 2 else ()
        exact = derived.values[(slice(None), slice(None), *at)]
        empirical = kernels_of(run, [KIND[kind]], output=key)[KIND[kind]] / width**derived.power
        difference += float(np.sum((empirical - exact) ** 2))
        reference += float(np.sum(exact**2))
    return float(np.sqrt(difference / reference))


def random_inputs(net: Net, generator: np.random.Generator, constants: Mapping[str, Any], samples: int = 3) -> dict[str, Array]:
    """Standard normal inputs of the right shape for every input of ``net``."""
    data = {}
    for item in net.program.data:
        shape = []
        for r in item.domain:
            extent = (r.hi - r.lo + 1).subs({s: constants[s.name] for s in (r.hi - r.lo).free_symbols if s.name in constants})
            if not extent.is_Integer:
                reason = f"the range `{r}` of input `{item.ref}` is not a number"
                remedy, command = with_values("give", sorted(s.name for s in extent.free_symbols))
                raise DataError(Message(item.span, reason, remedy, "missing constant", command))
            shape.append(int(extent))
        data[item.ref.name] = generator.standard_normal((samples, *shape))
    return data


def _fit(widths: Sequence[int], errors: Array) -> Fit:
    """The power law of the root mean square over seeds; its uncertainty by leaving out one seed at a time (jackknife)."""

    def fit(some: Array) -> Fit:
        return power_law(widths, np.sqrt(np.mean(some**2, axis=1)).tolist())

    seeds = errors.shape[1]
    whole = fit(errors)
    if seeds < 2 or len(widths) < 2:
        return whole
    exponents = np.array([fit(np.delete(errors, k, axis=1)).exponent for k in range(seeds)])
    uncertainty = np.sqrt((seeds - 1) / seeds * np.sum((exponents - exponents.mean()) ** 2))
    return replace(whole, uncertainty=float(uncertainty))


def _judge(fit: Fit) -> str:
    """What an exponent and twice its uncertainty say about a fall like n^(-1/2)."""
    low, high = fit.exponent - 2 * fit.uncertainty, fit.exponent + 2 * fit.uncertainty
    if not (low <= SLOWEST and high >= FASTEST):
        return "does not converge"
    return "inconclusive" if high >= 0 else "converges"
