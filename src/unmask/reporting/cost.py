"""Describe the size and the cost of a network from the entries of metrics.json."""

from unmask.config import Settings

# Settings of the latency in metrics.json, in the order in which they are shown, and the headings of their columns.
SETTINGS = {"cpu_1_thread": "ms, 1 thread", "cpu": "ms, all threads", "gpu": "ms, GPU"}
COST = "cost"  # level of these columns in a table's file
# Columns of a table -> (title, digits after the decimal point). Durations are per sample, of an exported file.
COLUMNS = {
    "parameters": ("Parameters", 0),
    "gflops": ("GFLOPs", 3),
    "size": ("File, MB", 2),
    "ms_1_1": ("ms, 1 thread, batch 1", 2),
    "ms_1_16": ("ms, 1 thread, batch 16", 2),
    "ms_2_1": ("ms, 2 threads, batch 1", 2),
    "ms_2_16": ("ms, 2 threads, batch 16", 2),
    "memory": ("Peak memory, MB", 0),
}
HEADINGS = {"parameters": "Parameters", "gflops": "GFLOPs", **SETTINGS}


def cost(metrics: Settings) -> dict[str, float]:
    """Return the size and cost of a network, keyed as in `HEADINGS`; unknown values are left out."""
    found = {"parameters": metrics["parameters"]} if "parameters" in metrics else {}
    if metrics.get("flops"):  # missing in old runs, and zero if no operation was counted
        found["gflops"] = metrics["flops"] / 1e9
    exported = metrics.get("exported") or {}
    found |= {name: exported[name] for name in ("size", "memory") if name in exported}
    found |= {f"ms_{name}": value for name, value in (exported.get("milliseconds") or {}).items()}
    latency = metrics.get("latency") or {}
    return found | {name: latency[name]["milliseconds"] for name in SETTINGS if name in latency}


def latency_words(latency: Settings | None) -> dict[str, str]:
    """Return the latency as text, such as `8.1 ms per image on 1 thread of CPU_NAME`; empty if it was not measured.

    Args:
        latency: the entry `latency` of metrics.json (see `evaluation.facts.measured_latency`).
    """
    if not latency:
        return {}
    what = f"clip of {latency['frames']} frames" if latency["frames"] else "image"
    what = f"{latency['seconds']:g} s of sound" if latency.get("seconds") else what  # missing in older runs
    words = []
    for one in (latency[name] for name in SETTINGS if name in latency):
        threads = one["threads"]
        where = one["device"] if threads is None else f"{threads} thread{'s' if threads > 1 else ''} of {one['device']}"
        words.append(f"{digits(one['milliseconds'])} ms on {where}")
    return {"Latency": f"{', '.join(words)}, per {what} at batch size 1"}


def digits(value: float) -> str:
    """Format a number with three significant digits; from 100 on, round it to a whole number."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
