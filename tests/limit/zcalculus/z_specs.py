"""The programs of the theory's worked examples and of the reference values, as specs."""

from __future__ import annotations

HEAD = "network z\n  width n\n"
SQUARE = HEAD + "  weight W : [n, n] ~ N(0, {s2}/n)\n  weight x : [n] ~ N(0, 1)\n"
RATIO = "network z\n  width n, m = {rho}*n\n  weight W : [m, n] ~ N(0, {s2}/n)\n"


def gram(s2: str, rho: str) -> str:
    """WᵀWx."""
    return RATIO.format(s2=s2, rho=rho) + (
        "  weight x : [n] ~ N(0, 1)\n  z = W.T @ (W @ x)\n  output e = avg(z^2)\n  output c = avg(z*x)\n"
    )


def through(phi: str, s2: str) -> str:
    """Wᵀφ(Wx)."""
    return SQUARE.format(s2=s2) + (
        f"  z = W.T @ {phi}(W @ x)\n  output c = avg(z*x)\n  output e = avg(z^2)\n  output f = avg(z^4)\n"
    )


def iterated(phi: str) -> str:
    """v_{t+1} = Wᵀφ(W v_t)."""
    return SQUARE.format(s2="1") + (
        f"  h1 = W @ x\n  v1 = W.T @ {phi}(h1)\n  h2 = W @ v1\n  v2 = W.T @ {phi}(h2)\n"
        "  output v0v1 = avg(x*v1)\n  output v1v1 = avg(v1^2)\n  output v0v2 = avg(x*v2)\n  output v1v2 = avg(v1*v2)\n"
        "  output v2v2 = avg(v2^2)\n  output h1h2 = avg(h1*h2)\n  output h2h2 = avg(h2^2)\n"
    )


REUSE = SQUARE.format(s2="2") + (
    "  h[0] = x\n  h[t] = W @ relu(h[t-1]) for t in 1..4\n  output c[t] = avg(h[t]*h[t+1]) for t in 1..3\n"
)

GOE = SQUARE.format(s2="1") + (
    "  h1 = (W @ tanh(x) + W.T @ tanh(x))/sqrt(2)\n  h2 = (W @ tanh(h1) + W.T @ tanh(h1))/sqrt(2)\n"
    "  output h2h2 = avg(h2^2)\n  output h0h2 = avg(x*h2)\n"
)


def wishart(k: int, rho: str) -> str:
    """(1/m) tr (WWᵀ)^k by the trace trick."""
    return RATIO.format(s2="1", rho=rho) + (
        f"  weight v : [m] ~ N(0, 1)\n  x[0] = v\n  x[j] = W @ (W.T @ x[j-1]) for j in 1..{k}\n  output t = avg(v*x[{k}])\n"
    )


def semicircle(k: int) -> str:
    """(1/n) tr (W + Wᵀ)^k, variance 1/(2n)."""
    return SQUARE.format(s2="1/2") + (
        f"  y[0] = x\n  y[j] = W @ y[j-1] + W.T @ y[j-1] for j in 1..{k}\n  output t = avg(x*y[{k}])\n"
    )


def fuss_catalan(k: int) -> str:
    """(1/n) tr ((BA)(BA)ᵀ)^k."""
    return HEAD + (
        "  weight A : [n, n] ~ N(0, 1/n)\n  weight B : [n, n] ~ N(0, 1/n)\n  weight v : [n] ~ N(0, 1)\n  y[0] = v\n"
        f"  y[j] = B @ (A @ (A.T @ (B.T @ y[j-1]))) for j in 1..{k}\n  output t = avg(v*y[{k}])\n"
    )


def jacobian(layers: int) -> str:
    """(1/n) tr (J Jᵀ)² of a relu network, J its input-output Jacobian, by the trace trick: |J Jᵀ v|²/n."""
    return HEAD + (
        f"  let L = {layers}\n  weight W[l] : [n, n] ~ N(0, 2/n) for l in 1..L\n  weight x : [n] ~ N(0, 1)\n"
        "  weight v : [n] ~ N(0, 1)\n  h[1] = W[1] @ x\n"
        + ("  h[l] = W[l] @ relu(h[l-1]) for l in 2..L\n" if layers > 1 else "")
        + "  b[L] = step(h[L])*v\n"
        + ("  b[l] = step(h[l])*(W[l+1].T @ b[l+1]) for l in 1..L-1\n" if layers > 1 else "")
        + "  a[1] = step(h[1])*(W[1] @ (W[1].T @ b[1]))\n"
        + ("  a[l] = step(h[l])*(W[l] @ a[l-1]) for l in 2..L\n" if layers > 1 else "")
        + "  output t = avg(a[L]^2)\n"
    )


GIA = HEAD + (
    "  weight W : [n, n] ~ N(0, 1/n)\n  weight x1 : [n] ~ 1\n  h = W @ x1\n  d = W.T @ (2*h)\n"
    "  output m = avg(d)\n  output q = avg(d^2)\n"
)

RMS = SQUARE.format(s2="1") + (
    "  h = W @ x\n  y = tanh(h)/sqrt(avg(tanh(h)^2))\n  z = W.T @ y\n  output c = avg(z*x)\n  output e = avg(z^2)\n"
)

APART = HEAD + (
    "  weight A : [n, n] ~ N(0, 1/n)\n  weight B : [n, n] ~ N(0, 1/n)\n  weight x : [n] ~ N(0, 1)\n"
    "  k = A.T @ relu(B @ x)\n  output c = avg(k*x)\n"
)

REFERENCE: dict[str, tuple[str, str]] = {
    "WtWx_EZ2_s1_rho1": (gram("1", "1"), "e"),
    "WtWx_EZx_s1_rho1": (gram("1", "1"), "c"),
    "WtWx_EZ2_s1.5_rho0.5": (gram("3/2", "1/2"), "e"),
    "WtWx_EZx_s1.5_rho0.5": (gram("3/2", "1/2"), "c"),
    **{
        f"WtphiWx_{phi}_s{s2}_rho1_{what}": (through(phi, s2), out)
        for phi, s2 in (("relu", "2"), ("erf", "1"), ("tanh", "1"))
        for what, out in (("EZx", "c"), ("EZ2", "e"), ("EZ4", "f"))
    },
    **{f"rnn_relu_K{t}{t + 1}": (REUSE, f"c[{t}]") for t in (1, 2, 3)},
    **{f"iter_erf_s1_rho1_{pair}": (iterated("erf"), pair) for pair in ("v0v1", "v1v1", "v0v2", "v1v2", "v2v2", "h1h2", "h2h2")},
    "goe_tanh_h2h2": (GOE, "h2h2"),
    "goe_tanh_h0h2": (GOE, "h0h2"),
    **{f"mp_tr{k}_rho1.0": (wishart(k, "1"), "t") for k in (2, 3, 4)},
    "mp_tr3_rho0.5": (wishart(3, "1/2"), "t"),
    **{f"fusscatalan_k{k}_L2": (fuss_catalan(k), "t") for k in (2, 3)},
    **{f"semicircle_m{k}": (semicircle(k), "t") for k in (4, 6)},
    **{f"jac_relu_m2_L{layers}": (jacobian(layers), "t") for layers in (1, 3)},
    "gia_square_mean": (GIA, "m"),
    "gia_square_second": (GIA, "q"),
    "moment_rms_tanh_EZx": (RMS, "c"),
    "moment_rms_tanh_EZ2": (RMS, "e"),
    "mixed_reuse_zero": (APART, "c"),
}
"""By the name of a reference value: the spec and the output it is."""
