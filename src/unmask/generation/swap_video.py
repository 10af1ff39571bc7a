"""One video with a swapped face: every frame is drawn, marked and written, and what is kept of it is bounded.

The video is read twice: once to find and follow the face, once to put the other one in its place. What is kept are
boxes, figures and a few frames, so that memory does not grow with its length.
"""

import json
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.evaluation.swaps import Compare, SwapFigures
from unmask.files import replace_file
from unmask.generation.swap_folder import Job, Pair
from unmask.generation.swapper import Swapped, Swapper
from unmask.generation.unmarked_faces import KeptFace, UnmarkedFaces
from unmask.media.encode import Clock, VideoWriter, pad_even
from unmask.media.stream import clock
from unmask.provenance import Marking
from unmask.training.samples import rows

Pixels = NDArray[np.uint8]
SHOWN = 6  # frames of a video in its preview
MASK_CRF = 10  # x264's quality of the masks


def swap_video(
    job: Job, pair: Pair, swapper: Swapper, marking: Marking, crf: int = 14, compare: Compare | None = None
) -> None:
    """Write a video, and before it its mask, preview, figures and what detectors may see; each when it is complete.

    Args:
        job: the video, and where its files go.
        pair: the manifest's rows of what is made and of the video itself.
        swapper: draws the face.
        marking: of the video, its mask and its preview.
        crf: x264's quality of the video, 0 (lossless) to 51.
        compare: see `SwapFigures`.

    Raises:
        MediaError: it cannot be read, or shows no face.
    """
    fps, times = clock(job.video)
    places = swapper.find(job.video, len(times.times))
    kept = UnmarkedFaces(swapper.recipe, job.out)
    recorder = SwapRecorder(kept, sorted(places), times, compare)
    video, mask = job.part("videos"), job.part("masks")
    try:
        with (
            VideoWriter(video, fps, crf, marking.tags(), sound=job.video, clock=times) as film,
            VideoWriter(mask, fps, MASK_CRF, marking.tags(), clock=times) as masks,
        ):
            for swapped in swapper.frames(job.video, places):
                film.add(marking.frame(pad_even(swapped.frame)))
                masks.add(pad_even(_picture(swapped.alpha)))
                recorder.add(swapped)
        marking.finish(video)
        mask.replace(job.path("masks"))
        replace(marking, watermark=False).write(job.path("previews"), recorder.picture())
        replace_file(job.path("figures"), json.dumps(recorder.figures.means(), indent=2).encode())
        kept.keep_both(*pair, recorder.faces)  # first: what is published is then never without it
        video.replace(job.path("videos"))
    finally:
        video.unlink(missing_ok=True)
        mask.unlink(missing_ok=True)


class SwapRecorder:
    """What is kept of a swap while its frames pass: figures of all, of some the faces for a preview and for detectors.

    Args:
        kept: where detectors find the faces.
        numbers: of the frames that show the face, in order.
        times: when each frame is shown.
        compare: see `SwapFigures`; taken of the preview's frames.
    """

    def __init__(self, kept: UnmarkedFaces, numbers: list[int], times: Clock, compare: Compare | None) -> None:
        self.figures, self.faces = SwapFigures(compare), list[KeptFace]()
        self._kept, self._chosen, self._times = kept, kept.chosen(numbers), times
        self._shown = {numbers[at] for at in np.linspace(0, len(numbers) - 1, SHOWN).round().astype(int)}
        self._preview: list[Pixels] = []  # [3, S, S, 3] each: as it was, as it was drawn, as it was put in

    def add(self, swapped: Swapped) -> None:
        """Take the next frame."""
        number, face = swapped.number, swapped.face
        if face is None:
            return
        self.figures.add(number, face.seen, face.pasted, compare=number in self._shown)
        if number in self._shown:
            self._preview.append(np.stack([face.seen, face.drawn, face.pasted]))
        if number in self._chosen:
            self.faces.append(self._kept.cut(swapped, face, self._times.seconds(number)))

    def picture(self) -> Pixels:
        """The preview [H, W, 3]."""
        return rows(torch.from_numpy(np.stack(self._preview)).permute(0, 1, 4, 2, 3) / 255)  # [N, 3, 3, S, S]


def _picture(alpha: NDArray[np.float32]) -> Pixels:
    """How much of a frame was put in [H, W], in [0, 1], as a frame [H, W, 3]: 255 where all was."""
    return np.repeat(np.rint(255 * alpha).astype(np.uint8)[..., None], 3, axis=2)
