"""The mean of one shape of the normal form: tilt the Gaussian, then Stein, down to orthant probabilities.

Three identities (u Gaussian with mean μ and covariance Σ):

- tilting: E[e^{b·u + u·Au} g(u)] is a factor times E[g] under the Gaussian with covariance Σ' = (I − 2ΣA)⁻¹Σ and mean
  Σ'(Σ⁻¹μ + b); an imaginary b gives cosines;
- Stein: E[u_i g(u)] = μ_i E[g] + Σ_j Σ_ij E[∂_j g]; the derivative of a gate is a delta, and E[δ(w) g] is the density of
  w at 0 times E[g | w = 0], a Gaussian expectation with one gate less;
- one gate left is Φ, two are Φ₂ (an arcsine when the means vanish), three without means are three arcsines.

Sources: Isserlis 1918 (no gates); Rosenbaum 1961 and Tallis 1961 (moments of truncated normals); Plackett 1954 (Φ₂);
Owen 1956 (T).
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from tp.gaussian.functions import normal_cdf, normal_cdf2, normal_pdf, owens_t
from tp.gaussian.terms import ONE, ZERO, Shape, Unknown

MAX_DEGREE = 16
"""Of a polynomial beside gates; four times as much alone."""
HALF, QUARTER = sp.Rational(1, 2), sp.Rational(1, 4)
Matrix = list[list[sp.Expr]]
Combination = dict[sp.Expr, sp.Expr]
"""A sum as transcendental factor -> algebraic coefficient."""


def mean_of(shape: Shape, cov: Sequence[Sequence[sp.Expr]]) -> Combination:
    """E[shape] over the centred Gaussian with covariance ``cov``; raises :class:`Unknown` where no rule applies."""
    factor, mean, tilted = _tilt(shape, cov)
    if shape.freq:
        return _cosine_mean(shape, factor, mean, tilted)
    values = _Joint(shape, mean, tilted).moment(shape.powers)
    return {factor * atom: coef for atom, coef in values.items()}


def _dot(a: Sequence[sp.Expr], b: Sequence[sp.Expr]) -> sp.Expr:
    return sp.Add(*(x * y for x, y in zip(a, b, strict=True)))


def _tilt(shape: Shape, cov: Sequence[Sequence[sp.Expr]]) -> tuple[sp.Expr, list[sp.Expr], Matrix]:
    """The factor, mean and covariance which absorb the exponential of ``shape``."""
    n = len(cov)
    lin, quad = shape.lin, shape.quad
    if any(a.is_nonpositive is not True for a in quad):
        raise Unknown("exponential of a growing square")
    squares = [i for i in range(n) if quad[i] != 0]
    rows = [list(row) for row in cov]
    determinant = ONE
    for i in squares:  # one square at a time: a rank-one update of the covariance
        size = 1 - 2 * quad[i] * rows[i][i]
        determinant *= size
        rows = [[sp.cancel(rows[j][k] + 2 * quad[i] * rows[j][i] * rows[i][k] / size) for k in range(n)] for j in range(n)]
    mean = [_dot(row, lin) for row in rows]
    exponent = shape.const + _dot(lin, mean) / 2
    if squares:
        mean, exponent = [sp.cancel(m) for m in mean], sp.cancel(exponent)
        determinant = sp.expand(sp.cancel(determinant)) if len(squares) > 1 else determinant
    return sp.exp(exponent) / sp.sqrt(determinant), mean, rows


def _cosine_mean(shape: Shape, factor: sp.Expr, mean: list[sp.Expr], cov: Matrix) -> Combination:
    """Re of e^{iφ} E[e^{iw·x} …]: the frequencies tilt the mean by iΣw."""
    shift = [_dot(row, shape.freq) for row in cov]
    decay = sp.exp(-sp.expand(_dot(shape.freq, shift)) / 2)
    phase = shape.phase + _dot(shape.freq, mean)
    gates = shape.gates + shape.deltas
    if len(gates) > 1 or (gates and (any(mean) or gates[0].shift != 0)):
        raise Unknown("cosine beside several gates, or beside one with a mean")
    tilted = [m + sp.I * s for m, s in zip(mean, shift, strict=True)]
    out: Combination = {}
    for atom, coef in _Joint(shape, tilted, cov).moment(shape.powers).items():
        for part, weight in _gate_parts(atom).items():
            total = sp.expand(coef * weight)
            real, imaginary = total.coeff(sp.I, 0), total.coeff(sp.I, 1)
            _put(out, factor * decay * part, real * sp.cos(phase) - imaginary * sp.sin(phase))
    return out


def _gate_parts(atom: sp.Expr) -> Combination:
    """Φ(ix) = 1/2 + (i/2) erfi(x/√2)."""
    if isinstance(atom, normal_cdf):
        x = sp.expand(atom.args[0] / sp.I)
        return {ONE: HALF, sp.erfi(x / sp.sqrt(2)): sp.I / 2}
    if isinstance(atom, normal_pdf):
        return {sp.exp(-sp.expand(atom.args[0] ** 2) / 2): 1 / sp.sqrt(2 * sp.pi)}
    return {atom: ONE}


def _put(out: Combination, atom: sp.Expr, coef: sp.Expr) -> None:
    if coef != 0:
        out[atom] = out.get(atom, ZERO) + coef


class _Joint:
    """The variables x and the gates' arguments w = ℓ·x + t + σN as one Gaussian vector y."""

    def __init__(self, shape: Shape, mean: Sequence[sp.Expr], cov: Sequence[Sequence[sp.Expr]]) -> None:
        self.n = len(cov)
        tidy = _tidy if any(shape.quad) else (lambda e: e)
        arguments = shape.deltas + shape.gates
        cross = [[tidy(_dot(row, w.slope)) for row in cov] for w in arguments]
        between = [[tidy(_dot(c, w.slope)) for w in arguments] for c in cross]
        for k, w in enumerate(arguments):
            between[k][k] = tidy(between[k][k] + w.noise)
        self.mean = list(mean) + [tidy(_dot(w.slope, mean) + w.shift) for w in arguments]
        self.cov = [[*row, *(c[i] for c in cross)] for i, row in enumerate(cov)]
        self.cov += [[*cross[k], *between[k]] for k in range(len(arguments))]
        self.deltas = tuple(self.n + k for k in range(len(shape.deltas)))
        self.gates = tuple(range(self.n + len(shape.deltas), self.n + len(arguments)))
        self._given: dict[tuple[int, ...], tuple[list[sp.Expr], Matrix, sp.Expr]] = {(): (self.mean, self.cov, ONE)}
        self._moments: dict[tuple[tuple[int, ...], tuple[int, ...]], Combination] = {}
        self._orthants: dict[tuple[int, ...], Combination] = {}

    def moment(self, powers: tuple[int, ...]) -> Combination:
        """E[x^powers Π gates Π δ]."""
        if len(self.deltas) > 2 or sum(powers) > (MAX_DEGREE if self.gates else 4 * MAX_DEGREE):
            raise Unknown("more than two Dirac deltas, or a high power")
        return self._moment(powers, self.deltas)

    def given(self, zeros: tuple[int, ...]) -> tuple[list[sp.Expr], Matrix, sp.Expr]:
        """Mean and covariance given y_k = 0 for k in ``zeros``, and the density of that event."""
        if zeros not in self._given:
            mean, cov, density = self.given(zeros[:-1])
            k = zeros[-1]
            variance = cov[k][k]
            if variance == 0:
                raise Infinite if mean[k] == 0 else Unknown("delta of a constant")
            slope = [cov[i][k] / variance for i in range(len(cov))]
            new_mean = [_tidy(m - s * mean[k]) for m, s in zip(mean, slope, strict=True)]
            new_cov = [[_tidy(cov[i][j] - slope[i] * cov[k][j]) for j in range(len(cov))] for i in range(len(cov))]
            pdf = normal_pdf(_ratio(mean[k], variance)) / root(variance)
            self._given[zeros] = new_mean, new_cov, density * pdf
        return self._given[zeros]

    def _moment(self, powers: tuple[int, ...], zeros: tuple[int, ...]) -> Combination:
        key = (powers, zeros)
        if key not in self._moments:
            i = next((i for i, p in enumerate(powers) if p), None)
            self._moments[key] = self._orthant(zeros) if i is None else self._stein(i, powers, zeros)
        return self._moments[key]

    def _stein(self, i: int, powers: tuple[int, ...], zeros: tuple[int, ...]) -> Combination:
        mean, cov, _ = self.given(zeros)
        rest = _lower(powers, i)
        out: Combination = {}
        self._collect(out, mean[i], rest, zeros)
        for j, p in enumerate(rest):
            if p:
                self._collect(out, p * cov[i][j], _lower(rest, j), zeros)
        for w in self.gates:
            if w not in zeros and cov[i][w] != 0:
                self._collect(out, cov[i][w], rest, tuple(sorted((*zeros, w))))
        return out

    def _collect(self, out: Combination, factor: sp.Expr, powers: tuple[int, ...], zeros: tuple[int, ...]) -> None:
        if factor != 0:
            for atom, coef in self._moment(powers, zeros).items():
                _put(out, atom, factor * coef)

    def _orthant(self, zeros: tuple[int, ...]) -> Combination:
        if zeros not in self._orthants:
            mean, cov, density = self.given(zeros)
            active = [w for w in self.gates if w not in zeros]
            values = orthant([mean[w] for w in active], [[cov[a][b] for b in active] for a in active])
            algebraic, transcendental = density.as_independent(normal_pdf, as_Add=False)
            self._orthants[zeros] = {transcendental * atom: algebraic * coef for atom, coef in values.items()}
        return self._orthants[zeros]


class Infinite(Exception):
    """A squared Dirac delta: the expectation is +∞."""


def _lower(powers: tuple[int, ...], i: int) -> tuple[int, ...]:
    return (*powers[:i], powers[i] - 1, *powers[i + 1 :])


def _tidy(e: sp.Expr) -> sp.Expr:
    return e if e.is_Atom else sp.cancel(e)


def _ratio(mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
    """mean/√variance."""
    if mean == 0:
        return ZERO
    if not variance.is_Atom and (ratio := sp.cancel(mean / variance)).is_Number:
        return ratio * root(variance)
    return mean / root(variance)


def root(variance: sp.Expr) -> sp.Expr:
    """√variance, a fraction as √numerator/√denominator with both positive."""
    above, below = sp.fraction(variance)
    if below == 1:
        return sp.sqrt(variance)
    sample = above.xreplace({s: ONE if s.is_positive else ZERO for s in above.free_symbols})
    sign = -1 if sample.is_negative else 1
    return sp.sqrt(sign * above) / sp.sqrt(sign * below)


def orthant(mean: Sequence[sp.Expr], cov: Sequence[Sequence[sp.Expr]]) -> Combination:
    """P(w_k > 0 for all k), w Gaussian."""
    fixed = [k for k in range(len(mean)) if cov[k][k] == 0]
    if fixed:
        k = fixed[0]
        if not (mean[k].is_positive or mean[k].is_negative):
            raise Unknown("a gate at its threshold")
        rest = [i for i in range(len(mean)) if i != k]
        return orthant([mean[i] for i in rest], [[cov[i][j] for j in rest] for i in rest]) if mean[k].is_positive else {}
    match len(mean):
        case 0:
            return {ONE: ONE}
        case 1:
            value = normal_cdf(_ratio(mean[0], cov[0][0]))
            return {ONE: value} if value.is_number else {value: ONE}
        case 2:
            return _orthant_of_two(_ratio(mean[0], cov[0][0]), _ratio(mean[1], cov[1][1]), correlation(cov, 0, 1))
        case 3 if not any(mean):  # 1/8 + (1/4π) Σ asin ρ, Sheppard's theorem and inclusion–exclusion
            rhos = [correlation(cov, *pair) for pair in ((0, 1), (0, 2), (1, 2))]
            return _added({ONE: sp.Rational(1, 8)}, *({sp.asin(r): 1 / (4 * sp.pi)} for r in rhos if r != 0))
        case _:
            return _independent_orthants(mean, cov)


def correlation(cov: Sequence[Sequence[sp.Expr]], a: int, b: int) -> sp.Expr:
    """cov_ab/√(cov_aa cov_bb)."""
    if cov[a][b] == 0:
        return ZERO
    squared = sp.cancel(cov[a][b] ** 2 / (cov[a][a] * cov[b][b]))
    if squared == 1:
        sign = ONE if cov[a][b].is_positive else -ONE if cov[a][b].is_negative else None
        if sign is None:
            raise Unknown("a correlation of unknown sign")
        return sign
    return cov[a][b] / (root(cov[a][a]) * root(cov[b][b]))


def _orthant_of_two(h: sp.Expr, k: sp.Expr, rho: sp.Expr) -> Combination:
    if rho == 1 or rho == -1:
        return _parallel(h, k, int(rho))
    if rho == 0:
        return {normal_cdf(h) * normal_cdf(k): ONE}
    if h == 0 and k == 0:
        return {ONE: QUARTER, sp.asin(rho): 1 / (2 * sp.pi)}
    if h == k:  # Owen 1956: Φ₂(h, h; ρ) = Φ(h) − 2T(h, √((1 − ρ)/(1 + ρ)))
        return {normal_cdf(h): ONE, owens_t(h, sp.sqrt(sp.cancel((1 - rho) / (1 + rho)))): sp.Integer(-2)}
    return {normal_cdf2(h, k, rho): ONE}


def _parallel(h: sp.Expr, k: sp.Expr, rho: int) -> Combination:
    """Correlation ±1: Φ(min(h, k)), or max(0, Φ(h) + Φ(k) − 1)."""
    gap = k - rho * h
    if rho == 1 and (gap.is_nonnegative or gap.is_nonpositive):
        return {normal_cdf(h if gap.is_nonnegative else k): ONE}
    if rho == -1 and gap.is_nonpositive:
        return {}
    if rho == -1 and gap.is_nonnegative:
        return _added({normal_cdf(h): ONE}, {normal_cdf(k): ONE}, {ONE: -ONE})
    raise Unknown("the order of two thresholds is not known")


def _independent_orthants(mean: Sequence[sp.Expr], cov: Sequence[Sequence[sp.Expr]]) -> Combination:
    block, queue = {0}, [0]
    while queue:
        k = queue.pop()
        new = {j for j in range(len(mean)) if cov[k][j] != 0} - block
        block |= new
        queue += new
    if len(block) == len(mean):
        raise Unknown("an orthant of three or more dependent variables")
    out: Combination = {ONE: ONE}
    for part in (sorted(block), [j for j in range(len(mean)) if j not in block]):
        values = orthant([mean[j] for j in part], [[cov[i][j] for j in part] for i in part])
        out = _added(*({a * b: x * y} for a, x in out.items() for b, y in values.items()))
    return out


def _added(*parts: Combination) -> Combination:
    out: Combination = {}
    for part in parts:
        for atom, coef in part.items():
            _put(out, atom, coef)
    return out
