"""Compute scores, distances, heat maps and masks with the network of a run folder, in PyTorch."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.data.dataset import CropDataset
from unmask.data.pixels import to_float
from unmask.data.predictions import score_and_encode, score_samples
from unmask.inference.people import first_frame
from unmask.networks.encoded import Encoding

if TYPE_CHECKING:
    from unmask.data.loader import Loader
    from unmask.inference.score import Scorer


class TorchEngine:
    """Computes with the network of a scorer, on the network's device; see `engine.Engine`.

    Args:
        scorer: the scorer.
    """

    library, has_heat = "torch", True

    def __init__(self, scorer: "Scorer") -> None:
        self.scorer = scorer

    @cached_property
    def loader(self) -> "Loader":
        """The sizes of batches and of the network's input."""
        loader: Loader = self.scorer.run.build("data.loader")
        return loader

    @property
    def has_features(self) -> bool:
        """Whether the run has a cloud of validation features, and the network gives features."""
        measured = self.scorer.run.measured
        return measured is not None and measured.cloud is not None and isinstance(self.scorer.network, Encoding)

    def load(self) -> None:
        """Read the weights."""
        _ = self.scorer.network

    def score(self, samples: CropDataset) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Return the logits [N], and the distances [N] to the cloud; None without a cloud that fits the features."""
        network, measured = self.scorer.network, self.scorer.run.measured
        if self.scorer.run.kind == "segmenter":
            return np.asarray(score_samples(network, samples, self.loader, True).numpy()), None
        logit, features = score_and_encode(network, samples, self.loader)
        cloud = None if measured is None else measured.cloud
        if cloud is None or features is None or features.shape[1] != len(cloud.mean):
            return np.asarray(logit.numpy()), None
        return np.asarray(logit.numpy()), cloud.distance(features.numpy())

    def heat(self, samples: CropDataset, row: int) -> NDArray[np.uint8] | None:
        """Return a sample's first frame with its heat map [S, S, 3]; see `explain.gradcam`."""
        from unmask.explain.gradcam import heat_maps, overlay  # imported here, because it is not always needed

        x = to_float(samples.pixels([row]), self.loader.image_size)
        try:
            heat = heat_maps(self.scorer.network, x)[0]
        except ValueError:  # the network has no layer with a spatial output
            return None
        return overlay(first_frame(samples, row), heat[0] if heat.ndim == 3 else heat)

    @torch.inference_mode()
    def mask(self, samples: CropDataset, row: int) -> NDArray[np.uint8]:
        """Return the probability that each pixel of a sample is manipulated, scaled to 0 to 255 [H, W]."""
        found = self.scorer.network(to_float(samples.pixels([row]), self.loader.image_size))
        return np.asarray((255 * found[0, 0].float().sigmoid()).round().to(torch.uint8).numpy())
