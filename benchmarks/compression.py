"""Speed of 8-bit integers and of half the channels: exported files run in turns, and each row prints a ratio.

The weights do not matter for the speed: Lite0 has those of ImageNet, ResNet-18 random ones.
"""

import argparse
import copy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from unmask.export import quantize
from unmask.export.measure import paired_times
from unmask.export.onnx import export_onnx
from unmask.export.wrapped import Parts, Wrapped
from unmask.networks.classifier import FrameClassifier
from unmask.networks.encoders import TimmEncoder
from unmask.networks.flops import count_flops
from unmask.networks.latency import cpu_name
from unmask.networks.pruning import prune_channels

NETWORKS = {"tf_efficientnet_lite0": {"pretrained": "imagenet"}, "resnet18": {}}


def compare(name: str, before: Path, after: Path, sample: np.ndarray) -> None:
    """Print how many times as fast the second file is."""
    times = paired_times(before, after, sample)
    low, middle, high = np.quantile(times[:, 0] / times[:, 1], [0.25, 0.5, 0.75])
    first, second = 1000 * np.median(times, axis=0)
    print(f"{name:<44}{first:7.2f} -> {second:6.2f} ms  {middle:5.2f} times as fast ({low:.2f} to {high:.2f})")


def main() -> None:
    """Export each network, its pruned copy and their quantized files, and time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256, help="side of the pictures, px")
    parser.add_argument("--remove", type=float, default=0.5, help="share of the channels to remove")
    given = parser.parse_args()
    torch.set_num_threads(1)
    quantize.TOLERANCE = float("inf")  # all layers are quantized, because the accuracy is not measured here
    pictures = np.random.default_rng(0).integers(0, 256, (32, 3, given.side, given.side), dtype=np.uint8)
    print(f"1 thread of {cpu_name()}, batch size 1, {given.side} px")
    with TemporaryDirectory() as folder:
        for name, options in NETWORKS.items():
            torch.manual_seed(0)
            dense = FrameClassifier(partial(TimmEncoder, name, **options)).eval()
            pruned, x = copy.deepcopy(dense), torch.rand(1, 3, given.side, given.side)
            prune_channels(pruned, x, given.remove, 8)
            print(f"{name}: {count_flops(dense, x) / 1e9:.2f} -> {count_flops(pruned, x) / 1e9:.2f} GFLOPs")
            paths = [Path(folder) / f"{name}-{kind}.onnx" for kind in ("dense", "pruned", "int8", "both")]
            parts = Parts(given.side, given.side)
            for network, path in ((dense, paths[0]), (pruned, paths[1])):
                export_onnx(Wrapped(network, parts).eval(), path, {})
            quantize.quantize_file(paths[0], paths[2], "int8", pictures)
            quantize.quantize_file(paths[1], paths[3], "int8", pictures)
            for what, path in zip(("fewer channels", "int8", "fewer channels, int8"), paths[1:], strict=True):
                compare(f"{name}, {what}", paths[0], path, pictures[:1])


if __name__ == "__main__":
    main()
