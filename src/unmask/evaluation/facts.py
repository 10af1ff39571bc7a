"""Entries of metrics.json for detectors: thresholds, calibration, FLOPs and latency."""

import pandas as pd

from unmask.config import Settings
from unmask.data.datamodule import DataModule
from unmask.metrics import detection
from unmask.metrics.calibrate import fit_all
from unmask.networks.flops import count_flops
from unmask.networks.inputs import inputs_of
from unmask.networks.latency import measure_latency
from unmask.networks.sparsity import sparsity
from unmask.training.module import Module

DETECTORS = ("detector", "segmenter")  # kinds of modules whose latency is measured


def detector_facts(module: Module, data: DataModule, validation: pd.DataFrame | None) -> Settings:
    """Return the entries of metrics.json for a detector; empty if `validation`, its prediction table, is None.

    Thresholds and calibration are fitted to the validation split (see `metrics.detection` and `metrics.calibrate`).
    """
    if validation is None:
        return {}
    cuts = detection.threshold(validation)  # logits, for decisions; probabilities are only displayed
    shown = {level: float(detection.probability(cut)) for level, cut in cuts.items()}
    scored = detection.videos(validation).dropna(subset=["score"])
    maps = fit_all(scored["score"], scored["label"])
    zeros = sparsity(module.trained)
    pruned = {"sparsity": zeros} if zeros else {}
    return {"thresholds": shown, "score_thresholds": cuts, "calibration": maps, "flops": _flops(module, data)} | pruned


def _flops(module: Module, data: DataModule) -> int | None:
    """Count the FLOPs for one sample at the run's input size.

    The result is None if the network cannot run on meta tensors, or takes several inputs.
    """
    if inputs_of(module.trained) != ("x",):
        return None
    try:
        return count_flops(module.trained, data.blank_batch())
    except RuntimeError:
        return None


def measured_latency(module: Module, data: DataModule) -> Settings:
    """Return the entry `latency` of metrics.json: milliseconds for one sample at the run's input size.

    The durations differ from run to run, so runs with equal results differ in this entry. The result is empty if the
    module is not a detector, or its network cannot run at batch size 1 or takes several inputs.
    """
    if module.kind not in DETECTORS or inputs_of(module.trained) != ("x",):
        return {}
    try:
        found = measure_latency(module.trained, data.blank_batch(), module.device)
    except RuntimeError:  # for example, the GPU is out of memory
        return {}
    each = {name: one._asdict() for name, one in found.items()}
    return {"latency": {"frames": data.sampling.frames, "seconds": data.sampling.seconds, **each}}
