"""Swap a face in a video for the face of a person whom the face swapper was trained on; mark the video as synthetic.

  unmask swap run=DIR video=clip.mp4 to=B                  replace the main face in one video with person B
  unmask swap run=DIR video=clip.mp4 to=B person=1         of several faces, replace the second one
  unmask swap run=DIR video=clip.mp4 to=B photo=anna.jpg identity.weights=PATH   replace only the face in this photo
  unmask swap run=DIR video=FOLDER to=A blending=poisson colour=none   in every video below a folder

A swapped video keeps its frames, timestamps and sound; a visible label, a watermark and metadata mark it as synthetic.
If `to` is the person in the video, their own face is reconstructed. Do not swap a face without the person's consent.
Masks of the changed pixels, previews and metrics are written next to the videos. Videos are distributed over the
devices of the Trainer (trainer=ddp: all GPUs). The same command resumes after an interruption; rerun=true starts over.

The swapped faces (without marks) and the original faces are also stored. To train a detector on them:

  unmask train experiment=loop/cnn data=swapped data.run=OUT
"""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from unmask.application import refuse_unread, verb
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import quiet
from unmask.generation.folder import default_folder
from unmask.generation.swaps import SwapSettings, swap
from unmask.generation.trained import open_run
from unmask.provenance import TRAINED, Marking
from unmask.training.trainer import devices_of

HOW = (  # arguments of SwapSettings
    "to", "person", "photo", "threshold", "blending", "colour", "feather", "search_every", "crf", "batch_size",
)  # fmt: skip
READ = (
    "run", "video", *HOW, "label", "video_psnr", "out", "rerun", "marking.", "identity", "identity.",
    "lpips", "lpips.", "trainer", "trainer.",
)  # fmt: skip


@verb("swap")
def main(cfg: DictConfig) -> None:
    """Run `unmask swap`."""
    quiet()
    refuse_unread(READ, "has no effect on swapping; see unmask swap --help")
    settings = resolved(cfg)
    run = open_run(settings["run"], "swap")
    how = SwapSettings(**{key: settings[key] for key in HOW})
    video = Path(settings["video"]) if settings["video"] else None
    out = Path(settings["out"] or f"{default_folder(run)}_to_{how.to}")
    marking: Marking = build(settings["marking"])
    marking = replace(marking, label=settings["label"] or "", psnr=settings["video_psnr"], source=TRAINED)
    measures = {"identity": settings["identity"], "lpips": settings["lpips"]}
    devices = devices_of(settings["trainer"])
    swap(run, video, how, out, marking, measures, devices, settings["rerun"])


if __name__ == "__main__":
    main()
