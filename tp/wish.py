"""Which kernel a network gets: compiled where formulas integrate its limit, pair by pair, or by nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tp.errors import NOWHERE, DataError, DeviceError, LimitError, Message, NoFormula
from tp.kernel.stored import plan_key, recall, remember

if TYPE_CHECKING:
    from tp.kernel.kernel import Kernel
    from tp.kernel.plan import Compiled
    from tp.limit.equations import Limit
    from tp.limit.nodes.kernel import NodeKernel
    from tp.limit.zcalculus.pairs import PairKernel
    from tp.net import Net

LIMITS = {"nngp": "K", "ntk": "Theta"}


@dataclass(frozen=True)
class Wish:
    """What ``Net.kernel`` is asked for. Raises ``DataError`` for a kind that there is not."""

    net: Net
    kinds: tuple[str, ...]
    constants: Mapping[str, Any]
    output: str | None
    mode: str | None
    progress: bool | None
    device: str
    dtype: Any

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if not isinstance(kind, str) or kind not in LIMITS:
                remedy = 'choose "nngp" or "ntk", or both: net.kernel("nngp", "ntk")'
                raise DataError(Message(NOWHERE, f"there is no kernel {kind!r}", remedy, "unknown kernel"))

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds as equations call them."""
        return tuple(LIMITS[k] for k in self.kinds)

    def kernel(self, nodes: int | None) -> Kernel | PairKernel | NodeKernel:
        """The kernel; on so many ``nodes`` where a number is given."""
        if nodes is not None:
            found = self.by_nodes(nodes)
            if found is None:
                reason = "a matrix meets its transpose, and what is made of that is not drawn on nodes"
                raise LimitError(Message(NOWHERE, reason, "leave out nodes=", "no kernel by nodes", "leave out --nodes"))
            return found
        key = plan_key(self.net.key, self.names, self.mode, self.output, self.constants)
        made = recall(key)
        if made is not None:
            return self._compiled(made)
        if self.device == "cpu":
            from tp.kernel.aside import start_ahead

            start_ahead()
        try:
            limit = self._limit()
            if self._takes_pairs(limit):
                return self._by_pairs(limit)
            made = self._planned(limit)
        except NoFormula:
            found = self.by_nodes()
            if found is None:
                raise
            return found
        remember(key, self.net.key, made)
        return self._compiled(made)

    def by_nodes(self, nodes: int | None = None) -> NodeKernel | None:
        """A kernel by nodes; None where a matrix meets its transpose, so that vectors have dot parts."""
        from tp.limit.independence import gradient_dependence, transposed

        check = gradient_dependence if "ntk" in self.kinds else transposed
        if check(self.net.program) is not None:
            return None
        import numpy as np

        from tp.limit.nodes.kernel import NodeKernel

        dtype = np.dtype(self._in_arrays("no formula integrates it: by nodes that all samples share"))
        of = self.net.program, self.names, self.constants, self.output
        return NodeKernel(*of, dtype, self.mode == "as written", self.progress, nodes)

    def _limit(self) -> Limit:
        return self.net.ntk(self.mode, progress=self.progress) if "ntk" in self.kinds else self.net.nngp(progress=self.progress)

    def _takes_pairs(self, limit: Limit) -> bool:
        """Whether expectations hold more Gaussians than formulas integrate, as behind a matrix and its transpose."""
        from tp.limit.independence import gradient_dependence

        if gradient_dependence(self.net.program) is None:
            return False
        from tp.limit.zcalculus.pairs import needs_pairs

        return needs_pairs(limit)

    def _by_pairs(self, limit: Limit) -> PairKernel:
        from tp.limit.zcalculus.pairs import pair_kernel

        precision = self._in_arrays("its expectations hold more than two Gaussians: pair by pair")
        return pair_kernel(limit, self.names, self.constants, self.output, precision)

    def _planned(self, limit: Limit) -> Compiled:
        from tp.kernel.build import planned, settled

        settled(self.device, self.dtype)  # is it there?
        return planned(limit, self.names, self.constants, self.output)

    def _compiled(self, made: Compiled) -> Kernel:
        from tp.gaussian import planes
        from tp.kernel.build import ready

        kernel = ready(made, self.device, self.dtype, progress=self.progress is not False)
        if kernel.device == "cpu" and not planes.RULES.isdisjoint(made.rules):
            kernel.beyond = self.by_nodes
        return kernel

    def _in_arrays(self, how: str) -> str:
        """The precision of a kernel that is not compiled. Raises ``DeviceError`` for a device other than the CPU."""
        from tp.kernel.build import settled

        if self.device == "cuda":
            raise DeviceError(
                Message(NOWHERE, f"{how}, on the CPU", 'use device="cpu"', "not on this device", "use --device cpu")
            )
        return settled("cpu" if self.device == "auto" else self.device, self.dtype)[1].name
