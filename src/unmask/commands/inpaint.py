"""Repaint a part of each real picture of a data set, once per mask; the output has DeepfakeArt's folder layout.

  unmask inpaint data=deepfakeart data.root=DIR                          Stable Diffusion 2, already downloaded
  unmask inpaint data=deepfakeart data.root=DIR generator.download=true  download it first (about 5 GB)
  unmask inpaint data=deepfakeart data.root=DIR generator=classical      OpenCV's inpainting, no model
  unmask inpaint data=demo_deepfakeart generator=classical limit=20      try it out on rendered paintings

Each picture gets five forgeries by one inpainter, one for each of five masks. Only the originals are read: a copy of
DeepfakeArt without its forgeries is enough, and data=faces takes any folder of pictures. The folder of the forgeries
has the name of the original, such as DeepfakeArt's record number.

Files are written to similar/inpainting/N/{original,inpainting_MASK,mask_MASK}.png below out=DIR; white mask pixels are
inpainted. Originals and forgeries are both resized to the inpainter's size and back, so that resampling does not reveal
a forgery. Outside the mask, a forgery equals its original bit for bit (paste=false keeps the model's output there).
Every picture is marked in its metadata. The same command resumes after an interruption; rerun=true starts over. To use
the data set:

  unmask prepare data=deepfakeart data.name=NAME data.root=DIR
"""

from pathlib import Path

from omegaconf import DictConfig

from unmask.application import refuse_unread, verb
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.data.source import Source
from unmask.generation.folder import GENERATED
from unmask.generation.inpainters import Inpainter
from unmask.generation.inpainting import InpaintSettings, inpaint
from unmask.generation.pipelines import TextPipeline
from unmask.generation.published import of_pixels

READ = (
    "data", "data.", "data/", "paths.", "generator", "generator.", "masks", "size", "paste", "limit", "seed",
    "batch_size", "out", "rerun", "check",
)  # fmt: skip


def start(cfg: DictConfig) -> None:
    """Make the forgeries that the config describes, except those that exist already."""
    refuse_unread(READ, "has no effect on inpainting; see unmask inpaint --help")
    settings = resolved(cfg)
    how = InpaintSettings(
        tuple(settings["masks"]), settings["size"], settings["paste"], settings["limit"], settings["seed"],
        settings["batch_size"],
    )  # fmt: skip
    data: Source = build(settings["data"]["source"])
    inpainter: Inpainter | TextPipeline = build(settings["generator"])
    if isinstance(inpainter, TextPipeline):
        raise ValueError(
            "generator=sd: expected sd2_inpaint or classical, because sd makes pictures from text: "
            "unmask sample generator=sd prompt=TEXT"
        )
    about = of_pixels(settings["generator"])
    out = Path(settings["out"] or GENERATED / f"{data.name}_{inpainter.method}")
    inpaint(data, inpainter, how, out, about, settings["rerun"], settings["check"])


@verb("inpaint")
def main(cfg: DictConfig) -> None:
    """Run `unmask inpaint`."""
    start(cfg)


if __name__ == "__main__":
    main()
