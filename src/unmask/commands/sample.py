"""Make pictures with a trained generator, mark them as synthetic, and store a data set for training detectors.

  unmask sample run=DIR count=10000                       a GAN, an autoencoder or a diffusion model
  unmask sample run=DIR count=100 attributes=[Male,Smiling]   a conditional generator
  unmask sample run=DIR count=8 prompt="a smiling person with glasses"    a generator that was trained with captions
  unmask sample run=DIR count=8 prompt="..." states=6     also a strip of intermediate states
  unmask sample generator=sd generator.model=DIR prompt="..." count=8     a published pipeline in a folder
  unmask sample run=DIR count=100 walk=8                  also a video that interpolates between eight samples
  unmask sample run=DIR count=100 truncation=0.7          nearer to the average picture (a style-based generator)
  unmask sample run=DIR count=10000 trainer=ddp           distributed over all GPUs
  unmask sample model=dcgan.onnx count=100                an exported generator, on the CPU (see unmask export)

Each picture has its own seed, derived from `seed` (default 0), and is marked in its metadata and its pixels. The data
set for detectors contains copies without marks, and real pictures from the generator's own data set. The same command
resumes after an interruption; a larger count adds pictures; rerun=true starts over. To train a detector on the data
set:

  unmask train experiment=loop/cnn data.run=OUT
"""

from pathlib import Path

from omegaconf import DictConfig

from unmask.application import refuse_unread, verb
from unmask.config import Settings
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import quiet
from unmask.generation.folder import GENERATED, default_folder
from unmask.generation.prompted import generate
from unmask.generation.published import of_pixels
from unmask.generation.sampler import SampleSettings
from unmask.generation.samples import sample
from unmask.generation.trained import open_run
from unmask.provenance import Marking
from unmask.training.trainer import devices_of

READ = (
    "run", "model", "count", "attributes", "walk", "truncation", "prompt", "states", "generator", "generator.", "seed",
    "batch_size", "out", "rerun", "check", "marking.", "trainer", "trainer.",
)  # fmt: skip


@verb("sample")
def main(cfg: DictConfig) -> None:
    """Run `unmask sample`."""
    quiet()
    refuse_unread(READ, "has no effect on sampling; see unmask sample --help")
    settings = resolved(cfg)
    wanted = SampleSettings(
        settings["count"], settings["seed"], tuple(settings["attributes"]), settings["walk"], settings["batch_size"],
        settings["truncation"], settings["prompt"], settings["states"],
    )  # fmt: skip
    marking = build(settings["marking"])
    if settings.get("generator") is not None:
        _with_pipeline(settings, wanted, marking)
        return
    run = open_run(settings["model"] or settings["run"], "sample")
    out = Path(settings["out"] or default_folder(run))
    devices = devices_of(settings["trainer"])
    sample(run, wanted, out, marking, devices, settings["rerun"], settings["check"])


def _with_pipeline(settings: Settings, wanted: SampleSettings, marking: Marking) -> None:
    """Make pictures with a published pipeline instead of a run."""
    if settings["run"] is not None:
        raise ValueError(f"run={settings['run']}: expected null with generator, which makes the pictures without a run")
    pipeline = build(settings["generator"])
    out = Path(settings["out"] or GENERATED / pipeline.method)
    generate(pipeline, wanted, out, marking, of_pixels(settings["generator"]), settings["rerun"], settings["check"])


if __name__ == "__main__":
    main()
