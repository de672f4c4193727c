"""The works that rules are cited from, in full."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """A publication: how rules cite it, and its entry in a list of references."""

    reference: str


_YANG = "G. Yang."
_WORKS: tuple[tuple[str, str], ...] = (
    (r"Yang[^;]*Tensor Programs I(?![IV])", f"{_YANG} *Tensor Programs I: Wide feedforward or recurrent neural networks of any "
     "architecture are Gaussian processes.* arXiv:1910.12478, 2019."),
    (r"Yang[^;]*Tensor Programs IIb", "G. Yang and E. Littwin. *Tensor Programs IIb: Architectural universality of neural "
     "tangent kernel training dynamics.* arXiv:2105.03703, 2021."),
    (r"Yang[^;]*Tensor Programs II(?![Ib])(?:, NTK for any architecture)?", f"{_YANG} *Tensor Programs II: Neural tangent "
     "kernel for any architecture.* arXiv:2006.14548, 2020."),
    (r"Yang[^;]*Tensor Programs III", f"{_YANG} *Tensor Programs III: Neural matrix laws.* arXiv:2009.10685, 2020."),
    (r"Yang[^;]*Tensor Programs IVb", "G. Yang and E. Littwin. *Tensor Programs IVb: Adaptive optimization in the infinite-width "
     "limit.* arXiv:2308.01814, 2023."),
    (r"Yang[^;]*Tensor Programs IV(?!b)", "G. Yang and E. J. Hu. *Tensor Programs IV: Feature learning in infinite-width neural "
     "networks.* arXiv:2011.14522, 2021."),
    (r"Cho (?:&|and) Saul 2009", "Y. Cho and L. K. Saul. *Kernel methods for deep learning.* NeurIPS, 2009."),
    (r"Williams 1997", "C. K. I. Williams. *Computing with infinite networks.* NeurIPS, 1997."),
    (r"Tsuchida[^;]* 2021", "R. Tsuchida et al. *Avoiding kernel fixed points: Computing with ELU and GELU infinite networks.* "
     "AAAI, 2021."),
    (r"Louart[^;]* 2018", "C. Louart, Z. Liao and R. Couillet. *A random matrix approach to neural networks.* Annals of Applied "
     "Probability, 2018."),
    (r"Han[^;]* 2022", "I. Han et al. *Fast neural kernel embeddings for general activations.* NeurIPS, 2022."),
    (r"Daniely[^;]* 2016", "A. Daniely, R. Frostig and Y. Singer. *Toward deeper understanding of neural networks.* "
     "NeurIPS, 2016."),
    (r"Jacot[^;]* 2018", "A. Jacot, F. Gabriel and C. Hongler. *Neural tangent kernel: Convergence and generalization in neural "
     "networks.* NeurIPS, 2018."),
    (r"Price 1958", "R. Price. *A useful theorem for nonlinear devices having Gaussian inputs.* IRE Transactions on Information "
     "Theory, 1958."),
    (r"Isserlis 1918", "L. Isserlis. *On a formula for the product-moment coefficient of any order of a normal frequency "
     "distribution.* Biometrika, 1918."),
    (r"Owen 1956", "D. B. Owen. *Tables for computing bivariate normal probabilities.* Annals of Mathematical Statistics, 1956."),
    (r"Plackett 1954", "R. L. Plackett. *A reduction formula for normal multivariate integrals.* Biometrika, 1954."),
)  # fmt: skip


def work(source: str) -> tuple[Work | None, str]:
    """The work a source names and the place in it: ``(Tensor Programs III, "rule ZHat")``."""
    plain = source.replace("*", "")
    for pattern, reference in _WORKS:
        if match := re.match(pattern, plain):
            rest = plain[match.end() :]
            rest = re.sub(r"^:[^,;()]*", "", rest).strip(" ,.")
            if rest and rest.lower() in reference.lower():  # the title itself
                rest = ""
            return Work(reference), rest.removeprefix("(").removesuffix(")") if rest.startswith("(") else rest
    return None, source
