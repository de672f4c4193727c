"""Results as they are kept: JSON, a table, a picture."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS

Row = dict[str, Any]


def line(row: Row) -> str:
    """One result for a terminal."""
    ours = statistics.median(row["ours"])
    text = f"{row['name']:>13} {row['dtype']}: {ours:8.3f} s"
    if "peer" in row:
        text += f", peer {statistics.median(row['peer']):8.3f} s, ratio {row['ratio']:6.1f}"
        text += f" (aim {row['aim']:g})" if row["aim"] else ""
    return text + (f", error {row['error']:.1e}" if "error" in row else "")


def write(path: Path, rows: list[Row], machine: Row) -> None:
    """Replaces the rows measured now, keeps the others, and writes the table and the picture anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    new = {(r["dtype"], r["name"]) for r in rows}
    rows = [r for r in kept if (r["dtype"], r["name"]) not in new] + [r | {"machine": machine} for r in rows]
    order = [w.name for w in WORKLOADS]
    rows.sort(key=lambda r: (r["dtype"] == "float32", order.index(r["name"])))
    path.write_text(json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    path.with_suffix(".md").write_text(table(rows), "utf-8")
    picture(rows, path.with_suffix(".png"))


def table(rows: list[Row]) -> str:
    """Markdown: median seconds with their range, ratios pair by pair."""
    m = rows[-1]["machine"]
    peer = next((r["version"] for r in rows if "version" in r), "none")
    peaks = m["peaks"]
    out = [
        "# NNGP and NTK together, whole warm calls",
        "",
        f"{m['processor']}, {m['cores']} cores; BLAS {m['blas']}; numpy {m['numpy']}, numba {m['numba']}; peer: {peer}.",
        f"Measured peaks: {peaks['gflops_float64']:.0f} Gflop/s in float64, {peaks['gflops_float32']:.0f} in float32 (products); "
        f"{peaks['copy_gb_s']:.0f} GB/s (copy){_touched(peaks)}.",
        "Ours and the peer called alternately; medians, in brackets minimum and maximum. Error: largest off the diagonal,",
        "relative to the largest entry, against fifty digits on a few samples (two nearly parallel).",
        "Bound: of one expectation in the kernel's precision, by the kernel. "
        "First: our first call with what the kernel cache held, then the peer's.",
        "",
        "| workload | precision | ours, s | peer, s | ratio | aim | error | bound | X Xᵀ, s | first, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    if m.get("device"):
        return _on_device(rows, m, peer)
    return "\n".join([*out, *map(_row, rows)]) + "\n"


def _touched(peaks: Row) -> str:
    """Memory that is touched for the first time, where that was measured."""
    return f", {peaks['touch_gb_s']:.1f} GB/s (memory that is new to the process)" if "touch_gb_s" in peaks else ""


def _on_device(rows: list[Row], m: Row, peer: str) -> str:
    """The same for a GPU: both start with data that the host has, but for the peer's, and end with matrices that it has."""
    out = [
        "# NNGP and NTK together on a GPU, whole warm calls",
        "",
        f"{m['device']}; {m['processor']}, {m['cores']} cores; numpy {m['numpy']}, numba {m['numba']}; peer: {peer}.",
        "Ours begins with samples in the host's memory, the peer with samples on the device; both end when NumPy has the",
        "matrices. Called alternately; medians, in brackets minimum and maximum. Device: until the peer's matrices stand on the",
        "device, before jax hands them to NumPy. Error and bound as on the CPU.",
        "",
        "| workload | precision | ours, ms | peer, ms | ratio | peer's device, ms | error | bound | first, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = [
            r["title"], r["dtype"], _times(r["ours"], 1e3), _times(r.get("peer"), 1e3),
            f"**{r['ratio']:.1f}** ({r['ratios'][0]:.1f}–{r['ratios'][1]:.1f})" if "ratio" in r else "–",
            _times(r.get("peer_device"), 1e3), f"{r['error']:.0e}" if "error" in r else "–", f"{r['bound']:.0e}",
            f"{r['first']:.1f}" + (f"; {r['peer_first']:.1f}" if "peer_first" in r else ""),
        ]  # fmt: skip
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def _row(r: Row) -> str:
    ratio = f"**{r['ratio']:.1f}** ({r['ratios'][0]:.1f}–{r['ratios'][1]:.1f})" if "ratio" in r else "–"
    cells = [
        r["title"], r["dtype"], _times(r["ours"]), _times(r.get("peer")), ratio, f"{r['aim']:g}" if r["aim"] else "–",
        f"{r['error']:.0e}" if "error" in r else "–", f"{r['bound']:.0e}", f"{r['syrk']:.3f}" if "syrk" in r else "–",
        f"{r['first']:.1f}" + (f"; {r['peer_first']:.1f}" if "peer_first" in r else ""),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _times(t: list[float] | None, unit: float = 1.0) -> str:
    return f"{statistics.median(t) * unit:.3g} ({min(t) * unit:.3g}–{max(t) * unit:.3g})" if t else "–"


def picture(rows: list[Row], path: Path) -> None:
    """Ratios as bars on a logarithmic axis, the aim as a mark."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [r for r in rows if "ratio" in r][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.33 * len(shown) + 1.2), layout="constrained")
    colours = ["#3b6ea5" if r["dtype"] == "float64" else "#d08a2e" for r in shown]
    axes.barh(range(len(shown)), [r["ratio"] for r in shown], color=colours)
    for k, r in enumerate(shown):
        aim = r["aim"] or 0.0
        beside = aim if 0.75 * aim < r["ratio"] < aim else r["ratio"]  # not across the aim's mark
        axes.text(beside * 1.03, k, f"{r['ratio']:.{1 if r['ratio'] < 100 else 0}f}", va="center", fontsize=7)
        if r["aim"]:
            axes.plot([r["aim"]] * 2, [k - 0.4, k + 0.4], color="black", lw=1.5)
    axes.set_yticks(range(len(shown)), [f"{r['name']} {r['dtype'][-2:]}" for r in shown], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=1.4 * max(r["ratio"] for r in shown))
    where = rows[-1]["machine"].get("device") or "the same two cores"
    axes.set_xlabel(
        f"times faster than neural-tangents on {where}" + (" (line: the aim)" if any(r["aim"] for r in shown) else "")
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
