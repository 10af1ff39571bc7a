"""Make pictures with a trained generator, mark them as synthetic, and store a data set for training detectors.

  unmask sample run=DIR count=10000                       a GAN, an autoencoder or a diffusion model
  unmask sample run=DIR count=100 attributes=[Male,Smiling]   a conditional generator
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
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import quiet
from unmask.generation.folder import default_folder
from unmask.generation.sampler import SampleSettings
from unmask.generation.samples import sample
from unmask.generation.trained import open_run
from unmask.training.trainer import devices_of

READ = (
    "run", "model", "count", "attributes", "walk", "truncation", "seed", "batch_size", "out", "rerun", "check",
    "marking.", "trainer", "trainer.",
)  # fmt: skip


@verb("sample")
def main(cfg: DictConfig) -> None:
    """Run `unmask sample`."""
    quiet()
    refuse_unread(READ, "has no effect on sampling; see unmask sample --help")
    settings = resolved(cfg)
    run = open_run(settings["model"] or settings["run"], "sample")
    wanted = SampleSettings(
        settings["count"], settings["seed"], tuple(settings["attributes"]), settings["walk"], settings["batch_size"],
        settings["truncation"],
    )  # fmt: skip
    out = Path(settings["out"] or default_folder(run))
    marking, devices = build(settings["marking"]), devices_of(settings["trainer"])
    sample(run, wanted, out, marking, devices, settings["rerun"], settings["check"])


if __name__ == "__main__":
    main()
