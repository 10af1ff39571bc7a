"""Entries of metrics.json for detectors: thresholds, calibration and FLOPs."""

import pandas as pd
import torch

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.metrics import detection
from unmask.metrics.calibrate import fit_all
from unmask.networks.flops import count_flops
from unmask.training.module import Module


def detector_facts(module: Module, data: DataModule, validation: pd.DataFrame | None) -> Settings:
    """Return the entries of metrics.json for a detector; empty for modules without a prediction table.

    Thresholds and calibration are fitted to the validation split (see `metrics.detection` and `metrics.calibrate`).
    """
    if validation is None:
        return {}
    cuts = detection.threshold(validation)  # logits, for decisions; probabilities are only displayed
    shown = {level: float(detection.probability(cut)) for level, cut in cuts.items()}
    scored = detection.videos(validation).dropna(subset=["score"])
    maps = fit_all(scored["score"], scored["label"])
    return {"thresholds": shown, "score_thresholds": cuts, "calibration": maps, "flops": _flops(module, data)}


def _flops(module: Module, data: DataModule) -> int | None:
    """Count the FLOPs for one sample at the run's input size; None if the network cannot run on meta tensors."""
    side = data.loader.image_size
    frames = [] if data.sampling.frames is None else [data.sampling.frames]
    try:
        return count_flops(module.trained, torch.zeros(1, *frames, 3, side, side))
    except RuntimeError:
        return None
