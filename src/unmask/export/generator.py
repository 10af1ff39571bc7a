"""Export a generator that makes a picture in one pass (a GAN, or the decoder of an autoencoder) to an ONNX file."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from unmask.export.check import BATCHES, TOLERANCE, Checked, ExportError
from unmask.export.onnx import to_onnx
from unmask.export.record import FORMAT, UNSTATED
from unmask.files import file_hash, printable, replacing
from unmask.generation.exported import ATTRIBUTES, NOISE, PICTURES, GeneratorFile
from unmask.generation.trained import Generator, load_generator
from unmask.runs.exported import GENERATOR
from unmask.runs.run import Run, is_demo


class OnePass(Generator, Protocol):
    """A generator whose network runs once per picture."""

    def noise(self, n: int, seeds: Sequence[int]) -> Tensor:
        """Return the noise [n, ...] from which samples with these seeds are generated."""

    def make(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate images [n, 3, S, S] in [0, 1] from noise [n, ...] and, if conditional, attributes [n, A]."""


class Pictures(nn.Module):
    """Map noise [B, ...] and, if conditional, attributes [B, A] to pictures [B, 3, S, S] in [0, 1]."""

    def __init__(self, module: OnePass) -> None:
        super().__init__()
        self.module = module

    def forward(self, z: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Return the pictures."""
        return self.module.make(z, attributes)


def export_generator(run: Run, out: Path, licence: str | None = None) -> Checked:
    """Write a generator as an ONNX file, and compare the file with PyTorch before it replaces `out`.

    The inputs are `noise`, float32 [B, ...], and, of a conditional generator, `attributes`, float32 [B, A]. The output
    is `pictures`, float32 [B, 3, S, S] in [0, 1]. The batch size is free.

    Args:
        run: the finished run of a generator.
        out: path of the file.
        licence: the licence of the weights, for the metadata.

    Raises:
        ExportError: the generator needs several passes per picture, cannot be exported, or the file differs.
        ValueError: the packages for ONNX are missing.
    """
    found = load_generator(run).module
    if not found.one_pass:
        raise ExportError(
            f"{run.name} makes a picture in many passes of its network; only GANs and autoencoders can be exported"
        )
    module = cast(OnePass, found)
    names = [NOISE, *([ATTRIBUTES] if module.conditional else [])]
    inputs = example(run, module, 2)
    free: tuple[dict[int, object], ...] = tuple({0: Dim.DYNAMIC} for _ in inputs)
    with replacing(out) as part:
        to_onnx(Pictures(module).eval(), inputs, part, (names, [PICTURES]), free, record(run, licence))
        return compare(part, run, module, printable(str(out)))


def example(run: Run, module: OnePass, count: int) -> tuple[Tensor, ...]:
    """Return noise [count, ...] from the seeds 0 to count - 1 and, if conditional, attributes [count, A] of 0 and 1."""
    z = module.noise(count, range(count))
    if not module.conditional:
        return (z,)
    number = len(run.config["data"]["loader"]["attributes"])
    return z, (torch.arange(count * number).view(count, number) % 3 == 0).float()


def record(run: Run, licence: str | None) -> dict[str, str]:
    """Return the record of a run, JSON or plain text by name; it holds no path of this machine."""
    data = run.config["data"]
    about = {"name": data["name"], "demo": is_demo(data)}
    about["loader"] = {"attributes": data["loader"].get("attributes") or []}
    config = {"name": run.config.get("name", run.preset), "seed": run.config.get("seed", 0), "data": about}
    return {
        "unmask": version("unmask"),
        "format": str(FORMAT),
        "kind": GENERATOR,
        "training_data": str(data["name"]),
        "licence": licence or UNSTATED,
        "weights": file_hash(run.checkpoint),
        "config": json.dumps(config | {"image_size": run.config["image_size"]}),
        "metrics": json.dumps({"kind": GENERATOR}),
    }


def compare(path: Path, run: Run, module: OnePass, what: str) -> Checked:
    """Compare the pictures of an exported file with those of PyTorch, in batches of 1, 3 and 16.

    Raises:
        ExportError: a value differs by more than `TOLERANCE`.
    """
    exported, worst = GeneratorFile(path).module(), 0.0
    for size in BATCHES:
        inputs = example(run, module, size)
        apart = float((exported.make(*inputs) - module.make(*inputs)).abs().max())
        if not apart <= TOLERANCE:
            raise ExportError(
                f"{what}: its pictures differ from PyTorch's by {apart:.2g} in a batch of {size}; expected at most "
                f"{TOLERANCE}"
            )
        worst = max(worst, apart)
    return Checked({PICTURES: worst}, BATCHES, (), False, f"{sum(BATCHES)} pictures")
