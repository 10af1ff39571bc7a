"""Shared code of the benchmarks: interleaved timing, ratios per round, a report, and a JSON file with machine details.

Only ratios within one run are compared, because on a busy machine, the same step may be several times slower later.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OUT = Path("outputs/bench")
SHARED = Path(os.environ.get("UNMASK_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
Seconds = dict[str, list[float]]


def arguments(about: str | None, repeats: int, *flags: str, **numbers: int) -> argparse.Namespace:
    """Parse a benchmark's arguments: `--repeats N`, each of `flags` as `--flag`, each of `numbers` as `--name N`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="number of timed rounds (default: %(default)s)")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="(default: %(default)s)")
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args()


def timed(work: Callable[[], object]) -> float:
    """Return the duration of one call in seconds, with garbage collection disabled."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    finally:
        gc.enable()


def interleave(works: dict[str, Callable[[], object]], repeats: int, warm: int = 1) -> Seconds:
    """Time each function once per round; every other round is in reverse order, so that no function is always first.

    Args:
        works: the functions to time, by name.
        repeats: number of rounds.
        warm: untimed calls of each function before the first round.
    """
    for _ in range(warm):
        for work in works.values():
            work()
    seconds: Seconds = {name: [] for name in works}
    for turn in range(repeats):
        for name in list(works)[:: -1 if turn % 2 else 1]:
            seconds[name].append(timed(works[name]))
    return seconds


def compare(seconds: Seconds, over: str, under: str, **bound: float) -> dict[str, Any]:
    """Compute the ratio of the times of `over` and `under` in each round.

    Args:
        seconds: the result of `interleave`.
        over: name of the numerator.
        under: name of the denominator.
        bound: `at_least=` or `at_most=`, a bound on the median ratio.
    """
    ratios = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    return {
        "what": f"{over} / {under}, seconds",
        "ratios": ratios,
        "median": statistics.median(ratios),
        "seconds": {name: statistics.median(seconds[name]) for name in (over, under)},
        **bound,
    }


def met(comparison: dict[str, Any]) -> bool:
    """Return whether a comparison is within its bound; True if it has none."""
    median = comparison["median"]
    return comparison.get("at_least", median) <= median <= comparison.get("at_most", median)


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Describe the machine, its load, and the versions of Python, PyTorch and `packages`."""
    import torch

    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if (info.exists())
        else []
    )
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(terse=True),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in ("torch", *packages)},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def report(
    name: str,
    comparisons: dict[str, dict[str, Any]],
    main: str | None = None,
    packages: Iterable[str] = (),
    extra: dict[str, Any] | None = None,
) -> Path:
    """Print the comparisons and write them as outputs/bench/NAME.json.

    Args:
        name: name of the benchmark.
        comparisons: results of `compare`, by name.
        main: the comparison that is also at the top level of the file; None for the first one.
        packages: packages whose versions are recorded.
        extra: further entries of the file.
    """
    main = main or next(iter(comparisons))
    where = machine(packages)
    top = {key: comparisons[main][key] for key in ("what", "ratios", "median")}
    result = {"name": name, "main": main, **top, "comparisons": comparisons, **(extra or {}), "machine": where}
    print(f"\n{name}: median ratios of interleaved pairs in one run")
    wide = max(map(len, comparisons))
    for key, one in comparisons.items():
        spread = f"({min(one['ratios']):.2f} to {max(one['ratios']):.2f}, {len(one['ratios'])} pairs)"
        print(f"  {key:<{wide}}  {one['median']:8.2f}  {spread}  {_held(one)}".rstrip())
    versions = ", ".join(f"{key} {value}" for key, value in where["versions"].items())
    gpu = f", {where['gpu']}" if where["gpu"] else ""
    print(
        f"  {where['cpu']}, {where['cores']} cores, {where['threads']} threads{gpu}, load {where['load']}; {versions}"
    )
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"  {path}")
    return path


def _held(comparison: dict[str, Any]) -> str:
    bounds = [f"{key.replace('_', ' ')} {comparison[key]:g}" for key in ("at_least", "at_most") if key in comparison]
    return f"[{', '.join(bounds)}: {'met' if met(comparison) else 'NOT MET'}]" if bounds else ""
