"""``Kernel``: compiled equations as a function of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from tp.asked import asked
from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian import planes
from tp.kernel import bare, blocks, diagonal, images, inputs, mirror, sizes
from tp.kernel.apart import apart
from tp.kernel.aside import Recorder, Signature, compile_aside, compile_behind
from tp.kernel.beyond import unreached, warn
from tp.kernel.call import Array, Call, Side, finite
from tp.kernel.memory import check_memory, default_memory, working_memory
from tp.kernel.module import load
from tp.kernel.plan import Compiled
from tp.kernel.single import single
from tp.kernel.sites import prepare
from tp.kernel.threads import default_threads
from tp.kernel.tiled import Matrices, Tiled, names
from tp.kernel.uncompiled import best_in_arrays, carried_out
from tp.regression import chunks
from tp.seldom import seldom

if TYPE_CHECKING:
    from tp.limit.nodes.kernel import NodeKernel

T = TypeVar("T")

TRIED = 64
"""Samples that are seen to have expansions, at a time."""

SINGLE = 2e-6
"""Error of an expectation in single precision, some times what was measured at one layer of relu, erf and gelu."""


@dataclass(eq=False)
class Kernel(Matrices):
    """``k(X1, X2)`` [N1, N2]; ``k(X)`` symmetric; ``k.diag(X)`` [N]. Several kinds give a tuple from one pass.

    ``X`` is an array [N, *index ranges, *features], or a dict of such by input name.
    """

    compiled: Compiled = field(repr=False)
    dtype: np.dtype[Any]
    threads: int
    memory: int
    progress: bool = True
    beyond: Callable[[], NodeKernel | None] | None = field(default=None, repr=False)
    """Makes the same kernel by nodes, where expansions over two Gaussians of a sample may not converge."""
    _rehearsed: set[str] = field(default_factory=set, repr=False)  # functions for blocks of pairs
    statistical: bool = field(default=False, init=False, repr=False)
    """Whether the last call was taken by nodes, so that its last digits are chance."""

    device: ClassVar[str] = "cpu"
    at_once: ClassVar[int] = 2
    """Tiles of a matrix on disk that are in work in one process: one is written while the next is computed, by all threads."""
    parts: ClassVar[int] = 12
    """Tiles a side of such a matrix, at least, for an even load."""

    def __getstate__(self) -> dict[str, Any]:
        """A kernel travels to other processes as its text; there the module is loaded again, and nothing is done by nodes."""
        return {k: v for k, v in vars(self).items() if k not in ("_module", "by_nodes")} | {"beyond": None}

    # ------------------------------------------------------------ faces

    @property
    def source(self) -> str:
        """The generated module; it holds no number of the network, which are run-time parameters."""
        return self.compiled.text

    @property
    def bound(self) -> float:
        """Error bound of an expectation E[φ(u) ψ(v)] or E[φ'(u) ψ'(v)] of one layer, its covariances taken as exact.

        Relative to sqrt(E[φ(u)²] E[ψ(v)²]), or the same of derivatives. 1e-13 where all are closed forms, 1e-11 where some are
        integrated to what panels show of φ (see ``tp.gaussian.panels``); what does not get there is refused. In float32 it is
        2e-6, above what was measured (4e-7, and 7e-7 of derivatives). In double precision are near duplicates where a form has a
        margin that tells them (relu, erf, gelu and their like, expansions behind the first layer), and pairs behind kinks that
        are not at 0.

        It is no bound of an entry of the kernel. Through layers errors add up, each times what the layers above make of it: about
        (number of layers) times this where networks are ordered, and more without limit where they are chaotic, as a sample's
        own error is. Measured, relative to sqrt(k(x, x) k(x', x')), 30 layers of tanh with sw2 = 1.5, sb2 = 0.05 against fifty
        digits: 2e-13 (NNGP) and 8e-12 (NTK), in float32 8e-7 and 9e-7; critical ones (1, 0): 8e-13 and 7e-12, in float32 5e-7;
        chaotic ones (3, 0.05): 7e-13 and 2e-11, in float32 6e-5 and 3e-4; in float32 30 layers of relu, erf, gelu: 2e-6 and 2e-5.
        What float32 is off by elsewhere is what rounding of covariances, 2^-24 of variances, makes of an expectation (of ten
        functions values lay within those of covariances so rounded, once 1e-6 beyond): 8e-4 in derivatives of near duplicates at
        variances up to 1e6 behind one tanh; sin at variance 1e6, where its argument is off by as much: 6e-2.
        """
        return max(self.compiled.bound, SINGLE) if self.dtype == np.float32 else self.compiled.bound

    @property
    def precision(self) -> np.dtype[Any]:
        """What pairs are computed in: double for functions of two Gaussians of a sample, and behind kinks that are not at 0."""
        return np.dtype("float64") if self.compiled.double else self.dtype

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.compiled.kinds

    def __repr__(self) -> str:
        return f"<Kernel {names(self.kinds)} of {self.compiled.network}, {self.dtype}, error {self.bound:.0e}>"

    def _repr_html_(self) -> str:
        import html

        rows = {
            "network": self.compiled.network,
            "kernels": names(self.kinds),
            "precision": str(self.dtype),
            "expectations": "; ".join(self.compiled.rules) or "none",
            "error bound": f"{self.bound:.1e}",
            "threads": str(self.threads),
        }
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items()
        )
        return f"<table>{body}</table>"

    # ------------------------------------------------------------ evaluation

    @asked
    def __call__(self, X1: Any, X2: Any = None) -> Any:
        """All pairs of samples; one array per kind.

        Where expansions of functions of two Gaussians, as `tanh(g*h)`, do not converge for some sample, which takes variances
        of 4 and more, the whole matrix is taken by nodes, of which it is a Gram matrix: a ``StatisticalWarning`` says so, and
        how large errors are, ``statistical`` is true after it, and ``by_nodes.measured`` tells the error of every entry.
        """
        one = self._samples(X1, "X1" if X2 is not None else "X")
        two = one if X2 is None else self._samples(X2, "X2")
        check_memory(self.compiled, self.precision.itemsize, self.threads, self.memory, one.count, two.count)

        def work(call: Call, most: int = max(one.count, two.count)) -> tuple[dict[str, Array], bool]:
            few = one.few(most)
            return self._filled(call, few, few if two is one else two.few(most))

        done = self._bare(one.count * two.count, work)
        if done is None:
            done = self._soon(one.count * two.count, work)
        if done is None:
            call = self._ready(one, two)
            done = self._filled(call, one, two)
        results, fine = done
        found = [np.moveaxis(a, (-2, -1), (0, 1)) for a in results.values()]
        nodes = self._taking_over(found, fine, 2)
        return self._returned(found, fine) if nodes is None else nodes(X1, X2)

    def _filled(self, call: Call, one: Side, two: Side) -> tuple[dict[str, Array], bool]:
        """All tables [out axes…, N1, N2], and whether they are finite."""
        results = call.blank(one.count, two.count)
        sides = [one] if two is one else [one, two]
        if call.by_rows:
            pairing = images.Pairing(call, one, two)
            if not pairing.long:
                prepare(call, *sides, beside=pairing.find)
            return results, images.fill(pairing, results)
        prepare(call, *sides)
        seen = blocks.fill(call, one, two, results)
        return results, diagonal.fill(call, one, two, results) and seen

    def _bare(self, pairs: int, work: Callable[..., T]) -> T | None:
        """``work``, on a call and so many samples, by machine code that is called without numba; None where there is none."""
        if self.device != "cpu" or "_module" in vars(self) or pairs >= sizes.MANY:
            return None
        numbers = pairs * max(1, *self.compiled.lanes.values())
        needed = partial(self._needed, pairs, lambda call: work(call, 2))
        return bare.carried_out(self._text, numbers, needed, lambda module: work(self._call(pairs, module)))

    def _soon(self, pairs: int, work: Callable[[Call], T]) -> T | None:
        """Work on few pairs without a compiler, where that is sooner done; None where it is not."""
        numbers = pairs * max(1, *self.compiled.lanes.values())
        if self.device != "cpu" or "_module" in vars(self) or not sizes.FEW:
            return None
        recorder = Recorder()

        def noted(module: ModuleType) -> T:
            recorder.module = module
            call = replace(self._call(pairs, recorder), many=False)
            if best_in_arrays(self._text):
                return work(call)
            call = replace(call, threads=1, progress=False)
            if call.by_rows and module.in_arrays:  # long statements, which threads can share
                most = min(sizes.ABREAST, self.memory // (16 * self.threads))
                at_once = max(1, most // self.compiled.lanes["rows"])
                module.watch.threads = self.threads
                call = replace(call, threads=self.threads, at_once=at_once, pace=module.watch.pace)
            return work(call)

        done = carried_out(self._text, numbers, noted)
        if done is not None and not best_in_arrays(self._text):
            compile_behind(self._text, recorder.calls)
        return done

    def _ready(self, one: Side, two: Side) -> Call:
        """The call for all pairs. Before the first one what it needs is compiled."""
        pairs = one.count * two.count
        if "_module" in vars(self) and (call := self._call(pairs)).pairs in self._rehearsed:
            return call
        with seldom():
            self._rehearse(one, two)
            return self._call(pairs)

    def _rehearse(self, one: Side, two: Side) -> None:
        """Compiles what a call needs, side by side."""
        pairs = one.count * two.count
        function = self._call(pairs, Recorder()).pairs
        if function in self._rehearsed or self.device != "cpu" or self.threads < 2:
            return
        few = one.few(2)
        calls = self._needed(pairs, lambda call: self._filled(call, few, few if two is one else two.few(2)))
        compile_aside(self._text, calls, self.threads)
        self._rehearsed.add(function)

    def _needed(self, pairs: int, work: Callable[[Call], object]) -> dict[str, Signature]:
        """The functions that a call for so many pairs needs: ``work`` on two samples tells, without being computed.

        Of many pairs of images some are hard.
        """
        recorder = Recorder(hard=pairs * self.compiled.lanes.get("rows", 0) > sizes.HARD)
        with np.errstate(all="ignore"):
            work(replace(self._call(pairs, recorder), threads=1, progress=False))
        return recorder.calls

    @asked
    def diag(self, X: Any) -> Any:
        """Each sample with itself; equal to the diagonal of ``k(X)``."""
        one = self._samples(X, "X")

        def work(call: Call, most: int = one.count) -> dict[str, Array]:
            side = one.few(most)
            prepare(call, side)
            return diagonal.alone(call, side, np.arange(side.count))

        results = self._bare(one.count, work) or self._soon(one.count, work) or work(self._call())
        found, fine = [np.moveaxis(a, -1, 0) for a in results.values()], finite(results)
        nodes = self._taking_over(found, fine, 1)
        return self._returned(found, fine) if nodes is None else nodes.diag(X)

    # ------------------------------------------------------------ as tiles and regressions see it

    @property
    def network(self) -> str:
        return self.compiled.network

    @property
    def shapes(self) -> inputs.Shapes:
        """The shape of one sample, by input."""
        return self.compiled.data

    @property
    def sizes(self) -> inputs.Names:
        """What the extents of an input are called in the spec."""
        return self.compiled.sizes

    @property
    def axes(self) -> tuple[int, ...]:
        """Of an entry: those of the output."""
        return self.compiled.out_shape(self.compiled.outputs[0])

    @property
    def numbers(self) -> int:
        """That a pair takes to compute."""
        return max(self.compiled.lanes.values()) + sum(a.size for e in self.compiled.inputs.values() for a in e.axes)

    @property
    def decides(self) -> dict[str, Any]:
        """What entries depend on besides samples."""
        made = self.compiled
        constants = {n: [c.shape, c.values] for n, c in made.constants.items()}
        of = {"text": made.text, "integers": made.integers, "floats": made.floats}
        return {**of, "constants": constants, "power": made.power}

    def limited(self, threads: int, memory: int | None = None) -> Kernel:
        """The same within so many threads and bytes, without a bar; samples beyond it are refused."""
        return replace(self, threads=threads, memory=memory or self.memory, progress=False, beyond=None)

    def reaching(self, X: Any, X2: Any = None) -> Tiled:
        """What takes all of these samples, so that calls for some of them are blocks of one matrix: this kernel, or nodes."""
        self.statistical = False
        if self.beyond is None:
            return self
        strict = replace(self, beyond=None)
        for given, argument in ((X, "X" if X2 is None else "X1"), (X2, "X2")):
            arrays = {} if given is None else inputs.arrays(self.shapes, given, argument, self.sizes)
            for rows in chunks(len(next(iter(arrays.values()), ())), TRIED):
                try:
                    strict.diag({name: array[rows] for name, array in arrays.items()})
                except LimitError:
                    nodes = self._nodes()
                    if nodes is None:
                        raise
                    self.statistical = True
                    where = f"samples {rows.start} to {rows.stop - 1} of {argument}"
                    warn(where, nodes.bound)
                    return nodes
        return strict

    def working(self, first: int, second: int) -> int:
        """Bytes that a call for ``first`` × ``second`` samples holds at most, its samples and results included."""
        return working_memory(self.compiled, self.precision.itemsize, self.threads, first, second)

    def transposed(self, block: Array) -> Array:
        """Entries (j, i) of a symmetric kernel from entries (i, j), [N1, N2, out axes…]: (t', j; t, i) is (t, i; t', j)."""
        return mirror.transposed(block, self.compiled.crossed)

    def _returned(self, arrays: Sequence[Array], finite: bool) -> Any:
        for kind, array in zip(self.kinds, arrays, strict=True):
            if not finite and not np.isfinite(array).all():
                at = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
                reason = f"the {kind} kernel has no finite value at ({at})"
                remedy = (
                    "is every function defined and smooth enough, and does its square have a mean? What oscillates or varies too "
                    "fast for variances this large is not integrated: scale the samples or the weights down"
                )
                if not planes.RULES.isdisjoint(self.compiled.rules):
                    reason += ", where expansions of functions of two correlated vectors, such as tanh(g*h), did not converge"
                    remedy += ", or take all calls by nodes from the first, net.kernel(…, nodes=2**15)"
                raise LimitError(Message(NOWHERE, reason, remedy, "not finite"))
        found = [a.astype(self.dtype, copy=False) for a in arrays]
        return tuple(found) if len(found) > 1 else found[0]

    # ------------------------------------------------------------ by nodes

    @cached_property
    def by_nodes(self) -> NodeKernel | None:
        """The same kernel by nodes, with a statistical error, for all samples; None of kernels that no sample is beyond."""
        return None if self.beyond is None else self.beyond()

    def _taking_over(self, found: Sequence[Array], fine: bool, axes: int) -> NodeKernel | None:
        """What a call is left to, with a warning, of which not all numbers, [N1, …] or [N1, N2, …], are finite; None: nothing."""
        self.statistical = False
        if fine or self.beyond is None or all(np.isfinite(a).all() for a in found):
            return None
        nodes = self._nodes()
        if nodes is not None:
            self.statistical = True
            wrong = np.any([~np.isfinite(a.reshape(*a.shape[:axes], -1)).all(axis=-1) for a in found], axis=0)
            warn(unreached(wrong), nodes.bound)
        return nodes

    def _nodes(self) -> NodeKernel | None:
        """``by_nodes``; None where by nodes there is none either."""
        try:
            return self.by_nodes
        except LimitError:
            return None

    # ------------------------------------------------------------ what is needed

    def check_device(self) -> None:
        """Raises ``DeviceError`` where the device does not do what the kernel takes."""

    def load(self) -> None:
        """Import the generated module now, before several threads ask for it; from then on calls of few samples use it, too.

        Not where array code is as fast as what a compiler makes.
        """
        if not best_in_arrays(self._text):
            _ = self._module

    @cached_property
    def _text(self) -> str:
        """The module as it is compiled, for the kernel's precision."""
        text = apart(self.compiled.text)
        return text if self.precision == np.float64 else single(text)

    @cached_property
    def _module(self) -> ModuleType:
        return load(self._text)

    @cached_property
    def _parameters(self) -> tuple[Array, Array]:
        return np.array([*self.compiled.integers, 0], dtype=np.int64), np.array([*self.compiled.floats, 0.0])

    @cached_property
    def _constants(self) -> dict[str, Array]:
        return {name: np.array(c.values).reshape(c.shape) for name, c in self.compiled.constants.items()}

    def _samples(self, X: Any, argument: str) -> Side:
        data = inputs.samples(self.compiled.data, X, self.precision, argument, self.compiled.sizes)
        return Side(data, len(next(iter(data.values()))))

    def _call(self, pairs: int = 0, module: Any = None) -> Call:
        """For so many pairs; with another module in the place of its own, this is not loaded."""
        module = self._module if module is None else module
        numbers = *self._parameters, self._constants
        return Call(
            self.compiled, module, *numbers, self.precision, self.threads, self.progress, pairs >= sizes.MANY, self.memory
        )


__all__ = ["Kernel", "default_memory", "default_threads"]
