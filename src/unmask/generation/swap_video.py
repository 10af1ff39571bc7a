"""Swap the face in one video: render, mark and write it frame by frame, in bounded memory.

The video is read twice: once to find and track the face, and once to replace it. Memory holds only boxes, metrics and a
few frames, never a whole video.
"""

import json
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.evaluation.swaps import SwapFigures
from unmask.files import replace_file
from unmask.generation.swap_folder import Job, Pair
from unmask.generation.swapper import Swapped, Swapper
from unmask.generation.unmarked_faces import KeptFace, UnmarkedFaces
from unmask.media.encode import Clock, VideoWriter, pad_even
from unmask.media.stream import clock
from unmask.provenance import Marking
from unmask.training.samples import rows

Pixels = NDArray[np.uint8]
SHOWN = 6  # number of frames in the preview of a video
MASK_CRF = 10  # x264 CRF of the masks


def swap_video(
    job: Job, pair: Pair, swapper: Swapper, marking: Marking, crf: int = 14, figures: SwapFigures | None = None
) -> None:
    """Swap the face in a video; write mask, preview, metrics, faces for training detectors and, last, the video.

    Args:
        job: the video and its output files, each of which is written atomically.
        pair: the manifest row of the swapped video and that of the original video.
        swapper: the swapper that renders the face.
        marking: how the video, its mask and its preview are marked.
        crf: x264 CRF of the video, 0 (lossless) to 51.
        figures: accumulates the metrics of this video; None computes only the metrics that need no network weights.

    Raises:
        MediaError: the video cannot be read or shows no face.
    """
    fps, times = clock(job.video)
    places = swapper.find(job.video, len(times.times))
    kept = UnmarkedFaces(swapper.recipe, job.out)
    recorder = SwapRecorder(kept, sorted(places), times, figures or SwapFigures())
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
        kept.keep_both(*pair, recorder.faces)  # stored first, so that each published video has faces
        video.replace(job.path("videos"))
    finally:
        video.unlink(missing_ok=True)
        mask.unlink(missing_ok=True)


class SwapRecorder:
    """Records a swap frame by frame: metrics of all frames, and some faces for the preview and training detectors.

    Args:
        kept: the store of faces for training detectors.
        numbers: numbers of the frames that show the face, in order.
        times: presentation times of the frames.
        figures: accumulates the metrics. Its optional metrics, such as LPIPS, are computed only on the frames in the
            preview.
    """

    def __init__(self, kept: UnmarkedFaces, numbers: list[int], times: Clock, figures: SwapFigures) -> None:
        self.figures, self.faces = figures, list[KeptFace]()
        self._kept, self._chosen, self._times = kept, kept.chosen(numbers), times
        self._shown = {numbers[at] for at in np.linspace(0, len(numbers) - 1, SHOWN).round().astype(int)}
        self._preview: list[Pixels] = []  # per frame [3, S, S, 3]: input, network output, pasted face

    def add(self, swapped: Swapped) -> None:
        """Record the next frame; a frame without a face is ignored."""
        number, face = swapped.number, swapped.face
        if face is None:
            return
        self.figures.add(number, face.seen, face.pasted, compare=number in self._shown)
        if number in self._shown:
            self._preview.append(np.stack([face.seen, face.drawn, face.pasted]))
        if number in self._chosen:
            self.faces.append(self._kept.cut(swapped, face, self._times.seconds(number)))

    def picture(self) -> Pixels:
        """Return the preview [H, W, 3]."""
        return rows(torch.from_numpy(np.stack(self._preview)).permute(0, 1, 4, 2, 3) / 255)  # [N, 3, 3, S, S]


def _picture(alpha: NDArray[np.float32]) -> Pixels:
    """Convert an alpha map [H, W] in [0, 1] to a grey frame [H, W, 3], 0 to 255."""
    return np.repeat(np.rint(255 * alpha).astype(np.uint8)[..., None], 3, axis=2)
