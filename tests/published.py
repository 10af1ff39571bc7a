"""A small finished run of a detector with random weights, for tests of packs: nothing is trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from unmask.config.build import build
from unmask.metrics import detection
from unmask.metrics.calibrate import fit_all
from unmask.runs.figures import write_json
from unmask.runs.identity import write_config
from unmask.runs.predictions import predictions_path, robustness_path, write_predictions

SIZE = 32
MODULE = {
    "_target_": "unmask.modules.detector.Detector",
    "network": {"_target_": "unmask.networks.meso.Meso4", "image_size": SIZE},
    "loss": {"_target_": "unmask.training.losses.BCE"},
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
    "scheduler": {"_target_": "unmask.training.schedules.constant", "_partial_": True},
}
HOME = "/home/anna"  # stands for the machine of the publisher, and must not be published
DATA = {
    "name": "films",
    "root": f"{HOME}/films",
    "prepared": f"{HOME}/prepared",
    "cache": {"_target_": "unmask.data.cache.Cache", "folder": f"{HOME}/cache"},
    "source": {"_target_": "unmask.datasets.folder.Folder", "name": "films", "root": f"{HOME}/films"},
    "split": {"_target_": "unmask.data.split.Split", "protocol": "random_groups"},
    "recipe": {"_target_": "unmask.media.pictures.WholePictures", "crop_size": SIZE},
    "sampling": {"_target_": "unmask.data.dataset.Sampling", "frames": None, "frames_per_video": 1},
    "loader": {"_target_": "unmask.data.loader.Loader", "image_size": SIZE, "batch_size": 4},
}
PROTOCOL = {"Data": "films, test split: 20 real and 20 fake images", "Split": "random_groups (at random)"}


def table(split: str, seed: int, apart: float = 2.0) -> pd.DataFrame:
    """Predictions for 20 real and 20 fake pictures, whose names are those of people."""
    label = np.repeat([0, 1], 20)
    logit = np.random.default_rng(seed).normal(label * apart - apart / 2, 1.0)
    items = [f"films/{'fake/swap' if fake else 'real'}/anna_{split}_{n}" for n, fake in enumerate(label)]
    return pd.DataFrame(
        {
            "item": items, "track": 0, "frame": 0, "time": 0.0, "label": label,
            "method": np.where(label == 1, "swap", "real"), "logit": logit, "dataset": "films", "split": split,
        }
    )  # fmt: skip


def run_folder(folder: Path, demo: bool = False, robust: bool = True) -> Path:
    """Write the run, and return its folder."""
    torch.manual_seed(0)
    data = DATA | {"demo": demo}
    settings = {"name": "films/meso4", "seed": 0, "image_size": SIZE, "frames": None, "data": data, "module": MODULE}
    write_config(settings | {"paths": {"out": f"{HOME}/outputs/x"}}, folder)
    (folder / "checkpoints").mkdir()
    state = build(MODULE).state_dict()
    torch.save({"state_dict": state}, folder / "checkpoints/best.ckpt")
    val, test = table("val", 1), table("test", 2)
    for split, one in (("val", val), ("test", test)):
        write_predictions(predictions_path(folder, split), one, PROTOCOL)
    if robust:
        for name, apart in (("clean", 2.0), ("jpeg", 1.0)):
            words = {"Perturbation": name if name == "clean" else "saved as JPEG, quality 50"}
            path = robustness_path(folder, "quick", name, int(name != "clean"))
            write_predictions(path, table("test", 2, apart), PROTOCOL | words)
    cuts = detection.threshold(val)
    scored = detection.videos(val)
    facts = {
        "kind": "detector", "monitor": "val/video_auroc", "score": 0.9, "best_epoch": 1, "epochs": 1, "remarks": [],
        "parameters": 15689, "score_thresholds": cuts,
        "thresholds": {name: float(detection.probability(cut)) for name, cut in cuts.items()},
        "calibration": dict(fit_all(scored["score"], scored["label"])),
        "command": f"unmask train data=folder data.root={HOME}/films name=films/meso4",
        "range": {"limits": {"side": {"low": 20.0, "high": 400.0}}, "distance": None, "faces": 40},
        "val": detection.quick(val), "test": detection.quick(test),
    }  # fmt: skip
    write_json(folder / "metrics.json", facts)
    return folder
