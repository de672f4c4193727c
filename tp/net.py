"""``Net``: one network and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tp.asked import asked
from tp.errors import NOWHERE, DataError, Message, SpecError
from tp.kernel.stored import known, spec_key
from tp.network.files import load_text
from tp.progress import ticking
from tp.seldom import seldom

if TYPE_CHECKING:
    from tp.kernel.kernel import Kernel
    from tp.limit.equations import Limit
    from tp.limit.nodes.kernel import NodeKernel
    from tp.limit.zcalculus import ZLimit
    from tp.limit.zcalculus.pairs import PairKernel
    from tp.network.check import Checked
    from tp.network.tree import Network
    from tp.program.ir import Program
    from tp.readings.coord_report import CoordCheck
    from tp.readings.depth_check import DepthCheck
    from tp.readings.moments import Moments
    from tp.readings.scale.infer import Engine
    from tp.readings.scale.report import ScalingReport
    from tp.readings.simulate import Run
    from tp.readings.training import TrainingRun
    from tp.readings.verify import Report

Number = int | float | Fraction | None


@asked
def parse(text: str, **lets: Number) -> Net:
    """The network that a spec text describes; ``lets`` replace its constants (``None`` leaves one a symbol).

    Raises ``SpecError`` with every mistake of the text, each at its line and column.
    """
    if not isinstance(text, str):
        raise DataError(Message(NOWHERE, f"a spec is text, not {type(text).__name__}", "tp.load reads files", "not a text"))
    return Net(text, lets)


@asked
def load(path: str | Path, **lets: Number) -> Net:
    """The network in a spec file."""
    if str(path) in zoo() and not Path(path).exists():
        remedy = f"that network ships with the library: tp.zoo({str(path)!r})"
        raise SpecError(Message(NOWHERE, f"{path}: no such file", remedy, "cannot read the spec"))
    return Net(load_text(path), lets, str(path))


@asked
def zoo(name: str | None = None, **lets: Number) -> Any:
    """A network that ships with the library; without a name, the names there are."""
    folder = Path(__file__).parent / "zoo"
    names = sorted(p.stem for p in folder.glob("*.tp"))
    if name is None:
        return names
    if name not in names:
        import difflib

        near = difflib.get_close_matches(str(name), names, 1)
        remedy = f"did you mean `{near[0]}`?" if near else f"the zoo has {', '.join(names)}"
        raise SpecError(Message(NOWHERE, f"there is no network `{name}` in the zoo", remedy, "unknown network"))
    return Net(load_text(folder / f"{name}.tp"), lets, f"{name}.tp")


@dataclass(frozen=True)
class Net:
    """A checked network. Its program, limits and kernels are made when they are asked for, and remembered.

    ``text`` is its spec and ``name`` what messages call that. A spec of which a kernel was kept is not checked again.
    """

    text: str = field(repr=False)
    lets: Mapping[str, Number] = field(default_factory=dict)
    name: str = "<text>"

    def __post_init__(self) -> None:
        if not known(self.key):
            _ = self.checked  # a wrong spec is reported here

    @cached_property
    def key(self) -> str | None:
        """The name under which kernels of this spec with these constants are kept."""
        return spec_key(self.text, self.lets)

    @cached_property
    @seldom()
    def network(self) -> Network:
        """The spec as a tree."""
        from tp.network.parse import parse

        return parse(self.text, self.name)

    @cached_property
    @seldom()
    def checked(self) -> Checked:
        """Names resolved, axes known."""
        from tp.network.check import check

        return check(self.network, self.lets)

    @cached_property
    @seldom()
    def program(self) -> Program:
        """The tensor program (Netsor⊤⁺); prints as the papers list programs."""
        from tp.program.lower import lower

        return lower(self.checked)

    def __str__(self) -> str:
        from tp.network.show import show

        return show(self.network)

    def __repr__(self) -> str:
        settings = "".join(f", {k}={v}" for k, v in self.lets.items())
        return f"<tp.Net {self.network.name}{settings}>"

    def _repr_html_(self) -> str:
        from tp.faces.notebook import net_html

        return net_html(self)

    # ------------------------------------------------------------ limits

    @cached_property
    def _limits(self) -> dict[tuple[str, bool], Limit]:
        return {}

    @seldom()
    def _limit(self, kind: str, literal: bool, progress: bool | None) -> Limit:
        if (kind, literal) not in self._limits:
            from tp.limit.take import take_limit

            kinds = ("K",) if kind == "K" else ("K", "Theta")
            with ticking("deriving", " formulas", progress):
                self._limits[kind, literal] = take_limit(self.program, kinds, literal)
        return self._limits[kind, literal]

    @asked
    def nngp(self, *, progress: bool | None = None) -> Limit:
        """The covariance of the outputs over random weights, as the width tends to infinity.

        ``progress``, here and below, shows a count where a derivation takes long (None: at a terminal or in a notebook).
        """
        return self._limit("K", False, progress)

    @asked
    def ntk(self, mode: str | None = None, *, progress: bool | None = None) -> Limit:
        """The neural tangent kernel: in the NTK parametrization, or ``"as written"`` with every rate taken literally.

        As written, a kernel that grows or vanishes like n^k is returned by its leading coefficient; ``.power`` says k.
        """
        if mode not in (None, "ntk", "as written"):
            raise DataError(Message(NOWHERE, f"unknown reading {mode!r}", 'choose "ntk" or "as written"', "unknown mode"))
        return self._limit("Theta", mode == "as written", progress)

    @seldom()
    @asked
    def z(self, *, progress: bool | None = None, **constants: Number) -> ZLimit:
        """Every vector's Z and every scalar's limit, dot parts included; ``constants`` are numbers for symbolic ranges."""
        from tp.limit.zcalculus import z_limit

        with ticking("deriving", " formulas", progress):
            return z_limit(self.program, constants)

    @seldom()
    @asked
    def kernel(
        self,
        *kinds: str,
        device: str = "cpu",
        dtype: Any = "float64",
        mode: str | None = None,
        output: str | None = None,
        nodes: int | None = None,
        progress: bool | None = None,
        **constants: Any,
    ) -> Kernel | PairKernel | NodeKernel:
        """The compiled kernel of one or several limits: ``net.kernel("ntk")``, ``net.kernel("nngp", "ntk")``.

        ``constants`` give numbers to constants that the spec leaves symbolic. Called with arrays of shape
        [N, …indices, …features] it returns [N1, N2], a tuple for several kinds. ``output`` names one of several
        outputs (default: the first); an output over an index, ``f[t]``, gives [N1, N2, T], one kernel per coordinate.
        ``device`` is "cpu", "cuda", or "auto": CUDA where there is such a device.

        Where an expectation holds more than two Gaussians, as behind a matrix and its transpose, it is a ``PairKernel``, called
        alike and integrated pair by pair, in milliseconds, with a ``bound`` of 1e-3 that calls keep or refuse. Where no formula
        integrates the limit, as of cells with a gated state (GRU, LSTM), it is a ``NodeKernel``, called alike: means over nodes,
        with a ``bound`` of 1e-2 that is statistical. ``nodes``, a power of 2, says how many (2^15), and takes any kernel by nodes
        where no matrix meets its transpose. Raises ``DataError`` for a kind, output, constant or dtype that there is
        not, ``DeviceError`` for a device, and ``LimitError`` where no rule gives the limit.
        """
        from tp.wish import Wish

        return Wish(self, kinds or ("ntk",), constants, output, mode, progress, device, dtype).kernel(nodes)

    # ------------------------------------------------------------ finite width

    @asked
    def simulate(self, X: Any, width: int | Mapping[str, int] = 1024, seed: int = 0, **constants: Any) -> Run:
        """A run of the same program at finite width, with weights drawn from ``seed``."""
        from tp.readings.simulate import simulate

        return simulate(self.program, self.inputs(X), width, seed, constants)

    @asked
    def verify(
        self,
        widths: Sequence[int] = (256, 1024, 4096),
        seeds: int = 8,
        inputs: Any = None,
        kinds: Sequence[str] = ("nngp", "ntk"),
        seed: int = 0,
        progress: bool | None = None,
        **constants: Any,
    ) -> Report:
        """Empirical kernels of finite networks against the derived ones; the error should fall like 1/sqrt(width)."""
        from tp.readings.verify import verify

        return verify(self, widths, seeds, inputs, kinds, seed, progress, constants)

    @asked
    def moments(self, X: Any = None, method: str = "auto", tol: float | None = None, seed: int = 0) -> Moments:
        """The limits of the scalar outputs at initialization, by the full Z-calculus, where they are not random.

        Weights may act together with their transposes. ``X`` is given where the network has an input.
        """
        from tp.readings.moments import moments

        return moments(self.program, {} if X is None else self.inputs(X), method, tol, seed)

    # ------------------------------------------------------------ training

    @asked
    def train(
        self,
        X: Any,
        y: Any,
        steps: int | None = None,
        lr: float | Sequence[float] | None = None,
        loss: Any = None,
        batches: int | Sequence[Sequence[int]] | None = None,
        X_test: Any = None,
        optimizer: Any = None,
        momentum: float | None = None,
        decay: float | None = None,
        betas: Sequence[float] | None = None,
        eps: float | None = None,
        every: int = 1,
        parametrization: Any = None,
    ) -> TrainingRun:
        """A training run on rows ``X``, ``y``: ``.limit()`` is its infinite-width limit, ``.simulate(width=…)`` a finite one.

        ``lr`` multiplies the rates of the spec and may differ by step; ``loss`` is "mse" (half the square, the mean over the
        batch), "logistic", "xent" or an expression in f and y; ``batches`` are row numbers per step, or how many rows a step, in
        order and round again (default: all rows); outputs are reported on ``X_test`` (default: ``X``) after every ``every``-th
        step and the last. What is not given is taken from the ``train`` line of the spec.

        ``optimizer`` is linear in the gradients, "sgd", "momentum" or "nesterov"; or it updates entry by entry: "sign", "adam",
        "adamw", "rmsprop", "adagrad", "lion" (with its own of ``betas`` and ``eps``), or an expression in the gradient g and
        Adam's means m of gradients and v of squares, such as "g/sqrt(g^2 + 1/4)". Entries see gradients in units in which those
        of coordinates are Θ(1), and so does ``eps``: the ε of a stored weight w is eps·n^(-d), in μP with the multiplier c n^(-a)
        d = a + 1, and d = a for the read-out (n the width that is read out). ``decay`` is decoupled: weights shrink by
        1 − decay a step.

        ``parametrization`` is "sp", "ntp", "mup" or "mfp", (a, b, c) by weight name, or a report of :meth:`mup`; None: as the
        spec declares.
        """
        from tp.readings.settings import defaults, prepare, reparametrized

        given = {"steps": steps, "lr": lr, "loss": loss, "optimizer": optimizer, "momentum": momentum, "decay": decay}
        given |= {"betas": betas, "eps": eps, "batches": batches}
        declared = defaults(self.checked.train, self.checked.numbers, optimizer)
        settings = declared | {k: v for k, v in given.items() if v is not None}
        test = None if X_test is None else self.inputs(X_test)
        program = self.program
        if parametrization is not None:
            program = reparametrized(self._engine(None), parametrization, str(settings.get("optimizer", "sgd")))
        return prepare(program, self.inputs(X), y, X_test=test, every=every, **settings)

    # ------------------------------------------------------------ scaling with the width

    @cached_property
    def _engines(self) -> dict[tuple[tuple[str, Fraction], ...], Engine]:
        return {}

    def _engine(self, growth: Mapping[str, Any] | None) -> Engine:
        from tp.readings.scale.infer import Engine, growths

        found = growths(self.program, growth)
        key = tuple(sorted(found.items()))
        if key not in self._engines:
            self._engines[key] = Engine(self.program, found)
        return self._engines[key]

    @asked
    def scaling(
        self,
        parametrization: str | Mapping[str, Any] | None = None,
        optimizer: str = "sgd",
        steps: int | None = None,
        growth: Mapping[str, Any] | None = None,
        progress: bool | None = None,
        **constants: Any,
    ) -> ScalingReport:
        """How all sizes scale with the width: stable or not, lazy or learning features, and what goes wrong first.

        ``parametrization`` is "sp", "ntp", "mup" or "mfp", exponents (a, b, c) per weight name, or None: as the spec declares.
        ``growth`` says of free widths how they grow, {"m": "1/2"} like n^(1/2); ``constants`` are values of symbols in exponents.
        """
        from tp.readings.scale.infer import scaling

        with ticking("scaling", " sizes", progress):
            return scaling(self._engine(growth), parametrization, optimizer, steps, constants)

    @asked
    def mup(
        self,
        optimizer: str = "sgd",
        gauge: Any = None,
        steps: int | None = None,
        growth: Mapping[str, Any] | None = None,
        progress: bool | None = None,
        **constants: Any,
    ) -> ScalingReport:
        """The maximal-update rules: every weight's multiplier, initial scale and learning rate, solved for exactly.

        ``gauge`` is "table3" (no multipliers), "table8", "table9" or one exponent fixed per weight, {"W": {"a": 0}}.
        """
        from tp.readings.mup import mup

        with ticking("scaling", " sizes", progress):
            return mup(self._engine(growth), optimizer, gauge, steps, constants)

    @asked
    def coord_check(
        self,
        optimizer: str | None = None,
        parametrization: Any = None,
        widths: Sequence[int] = (128, 256, 512, 1024),
        steps: int = 2,
        seeds: int = 4,
        lr: float | None = None,
        growth: Mapping[str, Any] | None = None,
        inputs: Any = None,
        seed: int = 0,
        budget: float = 2.0,
        progress: bool | None = None,
        **constants: Any,
    ) -> CoordCheck:
        """Finite networks trained at several widths: the slope of every activation and update against the derived exponent.

        ``parametrization`` is as for :meth:`scaling`, or a report of :meth:`mup`, whose optimizer is then the default.

        ``seeds`` networks are trained at the widest, up to eight times as many at narrower widths. ``lr`` is chosen by one rule
        unless given: small for optimizers that follow the gradient's size, large for those that normalise it. While exponents are
        undecided more networks are trained, for up to ``budget`` times what the first ones cost.
        """
        from tp.readings.coord_check import coord_check

        engine = self._engine(growth)
        return coord_check(
            engine, optimizer, parametrization, widths, steps, seeds, lr, inputs, seed, budget, progress, constants
        )

    @asked
    def depth_check(
        self,
        optimizer: str | None = None,
        parametrization: ScalingReport | None = None,
        depths: Sequence[int] = (8, 16, 32, 64),
        width: int = 256,
        steps: int = 2,
        seeds: int = 4,
        lr: float | None = None,
        growth: Mapping[str, Any] | None = None,
        inputs: Any = None,
        seed: int = 0,
        **constants: Any,
    ) -> DepthCheck:
        """Networks of several depths trained: the slopes of streams and outputs in the depth against the derived exponents.

        ``parametrization`` is a report of :meth:`mup`, whose optimizer is the default; without it rates are as the spec
        declares, and the default is "sgd". The depth stays a symbol.
        """
        from tp.readings.depth_check import depth_check

        engine = self._engine(growth)
        return depth_check(engine, optimizer, parametrization, depths, width, steps, seeds, lr, inputs, seed, constants)

    def inputs(self, X: Any) -> dict[str, Any]:
        """``X`` by input name: an array for the only input there is, or a dict already."""
        names = [d.ref.name for d in self.program.data]
        if isinstance(X, Mapping):
            return dict(X)
        if len(names) != 1:
            reason = f"the network has the inputs {', '.join(names)}"
            raise DataError(Message(NOWHERE, reason, "pass a dict of arrays by name", "several inputs"))
        return {names[0]: X}
