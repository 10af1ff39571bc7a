"""Time the forward pass and training step of every network in conf: float32 vs. bfloat16, eager vs. compiled.

Each network is built from its YAML at the size of the first preset that uses it, with random weights and channels-last
2-D convolutions, as in the Detector. Utilisation is the number of operations per second, relative to that of a large
matrix product of the same type. A training step counts as three forward passes.

make bench ONLY=networks   (on a GPU, networks are always compiled; on a CPU, with ARGS=--compile)
"""

import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _bench import arguments, compare, interleave, report, timed
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from unmask.config import conf_dir
from unmask.networks.flops import count_flops

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = {"frames": 64, "clips": 8} if DEVICE.type == "cuda" else {"frames": 2, "clips": 1}
NO_PRESET = {"r3d": (112, 16)}  # image size and frames without a preset; the default is 224 px and 16
TYPES = {"fp32": None, "bf16": torch.bfloat16}
Named = tuple[str, dict[str, Any]]


def preset(network: str) -> tuple[int, int]:
    """Return the image size and number of frames of the first preset with this network."""
    for path in sorted(Path(conf_dir(), "experiment").rglob("*.yaml")):
        if re.search(rf"override /module/network: {network}$", path.read_text(), re.M):
            cfg = OmegaConf.load(path)
            return int(cfg.get("image_size", 256)), int(cfg.get("frames") or 16)
    return NO_PRESET.get(network, (224, 16))


def build(network: str) -> tuple[nn.Module, Tensor]:
    """Build the network and a batch for it."""
    size, frames = preset(network)
    clips = "${frames}" in Path(conf_dir(), f"module/network/{network}.yaml").read_text()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose(overrides=[f"+module/network={network}", f"+image_size={size}", f"+frames={frames}"])
        torch.manual_seed(0)
        net = instantiate(cfg.module.network)
    batch = BATCH["clips" if clips else "frames"]
    x = torch.rand(batch, *([frames] if clips else []), 3, size, size)
    return net, x


def works(net: nn.Module, x: Tensor, dtype: torch.dtype | None) -> dict[str, Callable[[], object]]:
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-6)

    def run() -> Tensor:
        with torch.autocast(DEVICE.type, dtype or torch.bfloat16, enabled=dtype is not None):
            return net(x)

    def forward() -> None:
        net.eval()
        with torch.no_grad():
            run()
        _wait()

    def step() -> None:
        net.train()
        optimizer.zero_grad()
        run().float().square().mean().backward()
        optimizer.step()
        _wait()

    return {"forward": forward, "training step": step}


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak(dtype: torch.dtype) -> float:
    """Return the operations per second of a large matrix product, as the best of five runs."""
    side = 8192 if DEVICE.type == "cuda" else 2048
    a = torch.rand(side, side, device=DEVICE, dtype=dtype)

    def product() -> None:
        a @ a
        _wait()

    product()
    return 2 * side**3 / min(timed(product) for _ in range(5))


def to_device(net: nn.Module) -> nn.Module:
    """Move the network to the device, with channels-last 2-D convolutions."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)
    return net.to(DEVICE)


def flops_of(net: nn.Module, x: Tensor) -> int | None:
    """Count the operations of a forward pass; None if the network cannot run on meta tensors."""
    try:
        return count_flops(net, x)
    except RuntimeError:
        return None


def measure(
    network: str, repeats: int, compiled: bool, peaks: dict[str, float]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the comparisons of one network, by name."""
    net, x = build(network)
    flops = flops_of(net, x)
    net, x = to_device(net), x.to(DEVICE)
    every: dict[str, Callable[[], object]] = {}
    for name, dtype in TYPES.items():
        every |= {f"{what}, {name}": work for what, work in works(net, x, dtype).items()}
    if compiled:
        fast = torch.compile(net)
        every |= {f"{what}, fp32, compiled": work for what, work in works(fast, x, None).items()}
    seconds = interleave(every, repeats)
    for what, passes in (("forward", 1), ("training step", 3)):
        about = {"shape": list(x.shape)}
        for name in TYPES:
            took = statistics.median(seconds[f"{what}, {name}"])
            about |= {
                f"samples_per_second_{name}": len(x) / took,
                f"share_of_peak_{name}": flops and passes * flops / took / peaks[name],
            }
        yield f"{network}: {what}, fp32 / bf16", compare(seconds, f"{what}, fp32", f"{what}, bf16") | about
        if compiled:
            pair = compare(seconds, f"{what}, fp32", f"{what}, fp32, compiled")
            yield f"{network}: {what}, eager / compiled", pair


def _percent(share: float | None) -> str:
    return "operations not counted" if share is None else f"{share:.0%}"


def main() -> None:
    options = arguments(__doc__, 3, "compile")  # few repeats: bf16 is slow without hardware support
    torch.set_num_threads(1)
    peaks = {"fp32": peak(torch.float32), "bf16": peak(torch.bfloat16)}
    peaks["bf16"] = max(peaks.values())  # without hardware support, float32 is the faster reference
    comparisons: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for path in sorted(Path(conf_dir(), "module/network").glob("*.yaml")):
        GlobalHydra.instance().clear()
        try:
            comparisons |= measure(path.stem, options.repeats, options.compile or DEVICE.type == "cuda", peaks)
        except Exception as error:  # e.g. a missing package or weight file; the others are still timed
            skipped[path.stem] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            print(f"{path.stem}: skipped, {skipped[path.stem]}")
    extra = {"peak_flops": peaks, "skipped": skipped, "device": str(DEVICE)}
    report("networks", comparisons, "meso4: training step, fp32 / bf16", ("timm", "torchvision", "transformers"), extra)
    for name, one in comparisons.items():
        if "shape" in one:
            rates = [
                f"{kind} {one[f'samples_per_second_{kind}']:.1f}/s ({one[f'share_of_peak_{kind}']:.0%})"
                for kind in TYPES
            ]
            print(f"  {name.split(', ')[0]} {one['shape']}: {', '.join(rates)}")
    print("  samples per second (operations per second relative to a large matrix product)")


if __name__ == "__main__":
    main()
