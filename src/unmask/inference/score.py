"""Score files and arrays with a trained detector. `unmask predict` prints and draws these scores.

No training code is imported, so that a program that scores one file starts fast.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from unmask.data.dataset import CropDataset
from unmask.data.predictions import table_of
from unmask.data.recipe import Recipe
from unmask.data.store import MemoryStore
from unmask.files import printable
from unmask.inference.engine import Engine, OnnxEngine
from unmask.media.crops import Crops
from unmask.media.find import FaceFinder
from unmask.media.indices import burst_indices
from unmask.media.kinds import Frames, MediaError
from unmask.media.mtcnn import FOLDER, Mtcnn
from unmask.media.pcm import RATE, to_int16
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops
from unmask.metrics import detection
from unmask.runs.exported import ExportedRun
from unmask.runs.figures import require_finite
from unmask.runs.run import Run

if TYPE_CHECKING:
    from torch import nn

WINDOWS = 150  # maximum number of windows of a recording; those of a longer one are spread evenly
RETRAIN = (
    "the training diverged or the folder is damaged: use another run, or train again (rerun=true) with a lower "
    "module.optimizer.lr or with trainer.precision=32-true"
)


@dataclass(frozen=True)
class Score:
    """The score of one file or array. It is evidence, not proof.

    Attributes:
        probability: the highest score of the faces, in [0, 1]; 1 means fake. The score of a face is the mean over its
            frames or clips.
        threshold: the run's threshold, in [0, 1], chosen on its validation split.
        above_threshold: whether the score is above the threshold. Logits are compared, because different probabilities
            may both round to 0 or 1.
        calibrated: the calibrated probability; the calibration was fitted to the run's validation split. None without a
            calibration.
        logit: the logit of `probability`.
        predictions: the prediction table, one row per scored frame or clip of a face.
        crops: the crops that were scored.
        samples: the scored frames or clips, one for each row of `predictions`.
        distance: distance of each sample's features to those of the validation split [N]; None if it is unknown.
    """

    probability: float
    threshold: float
    above_threshold: bool
    calibrated: float | None
    logit: float
    predictions: pd.DataFrame = field(repr=False)
    crops: Crops = field(repr=False)
    samples: CropDataset = field(repr=False)
    distance: NDArray[np.float64] | None = field(default=None, repr=False)


class Scorer:
    """A trained detector that scores files and arrays.

    The weights are read at the first score. `network` is on the CPU; `scorer.network.to("cuda")` moves it. An exported
    file is scored by onnxruntime, without PyTorch; it has no `network`.

    Args:
        run: the run of a detector, or an exported file.

    Raises:
        RunError: the run is not the finished run of a detector with weights, or the file is damaged.
        ValueError: the face detector of an exported file is missing.
    """

    def __init__(self, run: Run) -> None:
        run.require_weights()
        self.run = run
        self.thresholds = run.score_thresholds  # logits, of `frame` and `video`
        recipe = run.build("data.recipe")
        self.recipe: Recipe = replace(recipe, faces="all") if recipe.option == "faces" else recipe
        if isinstance(run, ExportedRun):
            _equip(self.recipe, run.folder.parent / FOLDER)

    @cached_property
    def engine(self) -> Engine:
        """What computes the scores: PyTorch or, for an exported file, onnxruntime."""
        if isinstance(self.run, ExportedRun):
            return OnnxEngine(self.run)
        from unmask.inference.torch_engine import TorchEngine  # imports PyTorch

        return TorchEngine(self)

    @cached_property
    def network(self) -> "nn.Module":
        """The trained network, in eval mode.

        Raises:
            RunError: the weights cannot be read, or are not finite.
        """
        network = self.run.network()
        for name, value in network.state_dict().items():
            about = f"run={self.run.folder}: '{name}' in the weights {self.run.checkpoint}"
            require_finite(value, about, RETRAIN)
        return network

    def score(self, media: str | Path | ArrayLike, calibration: str = "platt") -> Score:
        """Score a file or an array. The input is prepared as in training, except that all its faces are scored.

        Args:
            media: the path of a video or a picture, or RGB pixels (uint8): a picture [H, W, 3] or the frames of a
                video [N, H, W, 3].
            calibration: `platt`, `temperature`, `isotonic` or `none`.

        Raises:
            MediaError: the file cannot be read, or no face is found.
            RunError: the weights or the scores are not finite.
            ValueError: the array has a wrong shape or type, or the calibration is unknown.
        """
        self.run.calibration(calibration)  # raises for an unknown name before the file is read
        crops = _of_file(self.recipe, Path(media)) if isinstance(media, str | Path) else _of_array(self.recipe, media)
        return self.score_crops(crops, calibration)

    def score_crops(self, crops: Crops, calibration: str = "platt") -> Score:
        """Score crops that this detector's recipe made.

        Raises:
            RunError: the weights or the scores are not finite.
            ValueError: the calibration is unknown.
        """
        calibrated = self.run.calibration(calibration)
        samples = self.samples(crops)
        predictions, distance = self._predictions(samples)
        found = detection.videos(predictions).iloc[0]
        logit, cut = float(found["score"]), self.thresholds["video"]
        return Score(
            probability=float(found["prob"]),
            threshold=float(detection.probability(cut)),
            above_threshold=logit > cut,
            calibrated=None if calibrated is None else float(calibrated(logit)),
            logit=logit,
            predictions=predictions,
            crops=crops,
            samples=samples,
            distance=distance,
        )

    def samples(self, crops: Crops) -> CropDataset:
        """Return the frames, clips or windows of sound to score, sampled as in the run's evaluation.

        The windows of a recording cover all of it; in evaluation, there may be fewer.
        """
        store, how = MemoryStore({"file": crops}), self.run.build("data.sampling")
        if not self.recipe.sees and crops.sound is not None:  # the windows cover the whole recording
            windows = min(-(-len(crops.sound) // round(how.seconds * RATE)), WINDOWS)
            how = replace(how, frames_per_video=max(how.frames_per_video, windows))
        samples: CropDataset = how.samples(store, store.items, self.recipe)
        return samples

    def frames_read(self, crops: Crops) -> NDArray[np.int64]:
        """Return the sorted numbers of the frames that the detector reads from these crops."""
        return np.unique(crops.frame[self.samples(crops).positions()])

    def _predictions(self, samples: CropDataset) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
        """Return the prediction table of one file, with one row per sample, and the distances of the samples."""
        run, (logit, distance) = self.run, self.engine.score(samples)
        require_finite(logit, f"run={run.folder}: the scores of this file with the weights {run.checkpoint}", RETRAIN)
        members = samples.store.items.assign(dataset="file")
        return table_of(samples.table, members, "none", np.arange(len(samples)), logit), distance


def _equip(recipe: Recipe, folder: Path) -> None:
    """Let a recipe find faces with the exported face detector in a folder, if it searches for faces at all."""
    if isinstance(recipe, FaceCrops):
        recipe.use(FaceFinder(recipe.long_side, detector=Mtcnn(folder)))
    elif isinstance(recipe, WholePictures) and recipe.landmarks:
        recipe.use(FaceFinder(detector=Mtcnn(folder)))


def _of_file(recipe: Recipe, path: Path) -> Crops:
    try:
        return recipe(path)
    except MediaError as error:
        raise MediaError(f"{printable(str(path))}: {error}") from None
    except OSError as error:
        raise MediaError(f"{printable(str(path))}: cannot be opened ({error.strerror})") from None


def _of_array(recipe: Recipe, pixels: ArrayLike) -> Crops:
    """Return the crops of a picture [H, W, 3] or of frames [N, H, W, 3]; their times are unknown (NaN)."""
    if not recipe.sees:
        return Crops.of_sound(to_int16(_waveform(pixels)), {})
    frames = _checked(pixels)
    numbers: NDArray[np.int64] = np.array(burst_indices(len(frames), recipe.frames, recipe.burst), np.int64)
    return recipe.cut(frames[numbers], numbers, np.full(len(numbers), np.nan))


def _waveform(values: ArrayLike) -> NDArray[np.float32]:
    """Check a waveform [S], one channel of 16 kHz in [-1, 1].

    Raises:
        ValueError: the array is not float, has another shape, is empty, or has values that are not finite.
    """
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"cannot score an array of {array.dtype} {list(array.shape)}: expected a waveform [S] of finite float "
            "numbers in [-1, 1], one channel of 16 kHz; the path of a file must be a str or a pathlib.Path"
        )
    return array.astype(np.float32)


def _checked(pixels: ArrayLike) -> Frames:
    """Check the pixels of a picture or of frames, and return them as frames [N, H, W, 3].

    Raises:
        ValueError: the array is not uint8, has another shape or is empty.
    """
    array = np.asarray(pixels)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or not array.size:
        raise ValueError(
            f"cannot score an array of {array.dtype} {list(array.shape)}: expected uint8 pixels in RGB, a picture "
            "[H, W, 3] or the frames of a video [N, H, W, 3]; the path of a file must be a str or a pathlib.Path"
        )
    return array if array.ndim == 4 else array[None]
