"""What computes the scores of crops: PyTorch with the network of a run folder, or onnxruntime with an exported file."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.data.dataset import CropDataset
from unmask.runs.errors import RunError
from unmask.runs.exported import ExportedRun

if TYPE_CHECKING:
    from unmask.data.loader import Loader

Float = NDArray[np.float32]


class Engine(Protocol):
    """Computes what an examination needs of the samples of one file."""

    @property
    def library(self) -> str:
        """The package that computes, such as `torch`."""

    @property
    def has_features(self) -> bool:
        """Whether the network gives features whose distance to the validation data can be computed."""

    @property
    def has_heat(self) -> bool:
        """Whether heat maps can be computed, if the network has a layer with a spatial output."""

    def load(self) -> None:
        """Read the weights now, so that the first file does not have to wait."""

    def score(self, samples: CropDataset) -> tuple[Float, NDArray[np.float64] | None]:
        """Return the logits [N] of all samples, and the distances [N] of their features to the validation data.

        The distances are None if there is no cloud of validation features, or if the features do not fit it.
        """

    def heat(self, samples: CropDataset, row: int) -> NDArray[np.uint8] | None:
        """Return a sample's first frame with its heat map [S, S, 3]; None if no heat map can be computed."""

    def mask(self, samples: CropDataset, row: int) -> NDArray[np.uint8]:
        """Return the probability that each pixel of a sample is manipulated, scaled to 0 to 255 [H, W]."""


class OnnxEngine:
    """Computes with an exported file.

    Args:
        run: the exported file.
    """

    library, has_heat = "onnxruntime", False

    def __init__(self, run: ExportedRun) -> None:
        self.run = run
        self.names = [output.name for output in run.session.get_outputs()]
        self.input = str(run.session.get_inputs()[0].name)
        needed = {"logit", "mask"} if run.kind == "segmenter" else {"logit"}
        if missing := needed - set(self.names):
            raise RunError(f"model={run.folder}: the output {min(missing)} is missing; export the run again")

    @property
    def has_features(self) -> bool:
        """Whether the file computes the distance of the features."""
        return "distance" in self.names

    def load(self) -> None:
        """Read the weights; done when the file is opened."""

    def score(self, samples: CropDataset) -> tuple[Float, NDArray[np.float64] | None]:
        """Return the logits [N] of all samples and, if the file computes them, their distances [N] to the cloud."""
        found = self._outputs(samples)
        return found["logit"], found["distance"].astype(np.float64) if self.has_features else None

    def heat(self, samples: CropDataset, row: int) -> NDArray[np.uint8] | None:
        """Return None: heat maps need gradients, which only PyTorch computes."""
        return None

    def mask(self, samples: CropDataset, row: int) -> NDArray[np.uint8]:
        """Return the probability that each pixel of a sample is manipulated, scaled to 0 to 255 [H, W]."""
        found = self._run(samples.crops([row]), ["mask"])[0]
        return np.asarray((255 * found[0, 0]).round(), np.uint8)

    def _outputs(self, samples: CropDataset) -> dict[str, Float]:
        """Return the outputs with one value per sample, by name."""
        loader: Loader = self.run.build("data.loader")
        names = [name for name in ("logit", "distance") if name in self.names]
        parts = [[np.zeros(0, np.float32)] * len(names)]
        for start in range(0, len(samples), loader.batch_size):
            rows = range(start, min(start + loader.batch_size, len(samples)))
            parts.append(self._run(samples.crops(rows), names))
        found = {name: np.concatenate(one) for name, one in zip(names, zip(*parts, strict=True), strict=True)}
        if wrong := [name for name, values in found.items() if values.shape != (len(samples),)]:
            raise RunError(f"model={self.run.folder}: the output {wrong[0]} does not have one value per sample")
        return found

    def _run(self, x: NDArray[np.generic], names: list[str]) -> list[Float]:
        """Return the outputs with these names for a batch of pixels or sound."""
        try:
            return list(self.run.session.run(names, {self.input: np.ascontiguousarray(x)}))
        except Exception as error:  # onnxruntime has error types of its own
            said = str(error).partition("\n")[0][:200]
            raise RunError(f"model={self.run.folder}: it cannot score {list(x.shape)} ({said})") from None
