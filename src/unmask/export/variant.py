"""Score an exported file like a run: its predictions, its robustness and its cost, in a folder below the run.

The folder `RUN/exports/NAME` is a run folder without weights in the format of PyTorch: `unmask report` reads it, and a
table shows it as a row. All variants run in onnxruntime, so that their durations can be compared.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unmask.console import say
from unmask.data.datamodule import DataModule
from unmask.data.predictions import prediction_table, score_samples
from unmask.evaluation.handled import run_with_progress
from unmask.evaluation.loading import data_of
from unmask.evaluation.suite import Detection, Suite
from unmask.export.measure import CALIBRATION
from unmask.export.onnx import export_onnx, session
from unmask.export.pixels import pixels_of
from unmask.export.quantize import quantize_file
from unmask.export.record import record_of, require_pictures, wrapped_of
from unmask.files import replace_file
from unmask.metrics import detection
from unmask.networks.latency import cpu_name
from unmask.runs.errors import RunError
from unmask.runs.figures import write_json
from unmask.runs.folder import EXPORTS
from unmask.runs.predictions import predictions_path, write_predictions
from unmask.runs.run import Run

MODEL = "model.onnx"
FLOAT = "float32"  # name of the variant that is not quantized
THREADS, BATCHES = (1, 2), (1, 16)
# A process of its own: the peak memory of a process never falls, and this one has loaded PyTorch.
COST = """
import json, resource, statistics, sys, time
import numpy as np, onnxruntime
path, shape, threads, batches = sys.argv[1], *map(json.loads, sys.argv[2:])
found = {}
for count in threads:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = count, 3
    opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in batches:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *shape), dtype=np.uint8)
        opened.run(None, {"pixels": pixels})
        took, begun = [], time.perf_counter()
        while len(took) < 5 or (len(took) < 50 and time.perf_counter() - begun < 2):
            start = time.perf_counter()
            opened.run(None, {"pixels": pixels})
            took.append(1000 * (time.perf_counter() - start) / batch)
        found[f"{count}_{batch}"] = statistics.median(took)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"milliseconds": found, "memory": peak / (1e6 if sys.platform == "darwin" else 1e3)}))
"""


class OnnxNetwork(nn.Module):
    """A detector network that runs an exported file; it has no parameters.

    Args:
        path: the exported file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.run = session(path)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B] of frames or clips [B, (T,) 3, S, S] in [0, 1] that are 8-bit pixels divided by 255."""
        pixels = (x * 255).round().to(torch.uint8)
        return torch.from_numpy(np.array(self.run(np.ascontiguousarray(pixels.numpy()))[0]))


def score_variant(run: Run, how: str | None, suite: Suite | None) -> Path:
    """Export a run, quantize the file, and score it; finished parts are not repeated.

    Args:
        run: the finished run of a detector of frames or clips.
        how: one of `quantize.KINDS`; None for float32.
        suite: the robustness suite to run on the test split; None for none.

    Returns:
        The folder.

    Raises:
        RunError: the run is not a detector.
        ValueError: the run is a detector of sound, its data is not on this machine, or the file cannot be made.
    """
    if run.kind != "detector":
        raise RunError(f"run={run.folder}: {run.name} is a {run.kind}; expected a run of a detector")
    require_pictures(run, "score=true")
    out = run.folder / EXPORTS / (how or FLOAT)
    if (out / "metrics.json").is_file():
        say(f"already scored: {out} (delete the folder to score it again)")
        return out
    out.mkdir(parents=True, exist_ok=True)
    path = out / MODEL
    if not path.is_file():
        _export(run, how, path)
    data = data_of(run)
    side = run.build("data.recipe").crop_size
    data.loader = replace(data.loader, image_size=side)  # the file itself resizes the pixels
    data.setup("fit")
    data.setup("test")
    network = OnnxNetwork(path).eval()
    figures = {split: _score(network, data, run, split, out) for split in ("val", "test")}
    if suite is not None:
        run_with_progress(suite, Detection(network, False, data, path), "test", out)
    (out / ".hydra").mkdir(exist_ok=True)
    replace_file(out / ".hydra" / "config.yaml", (run.folder / ".hydra" / "config.yaml").read_bytes())
    write_json(out / "metrics.json", run.metrics | figures | {"exported": _cost(path, data, side), "latency": None})
    return out


def _export(run: Run, how: str | None, path: Path) -> None:
    model = wrapped_of(run)
    pixels = pixels_of(run, model.parts, CALIBRATION)
    whole = path.with_name(f"{FLOAT}.tmp.onnx")
    export_onnx(model, whole, record_of(run, model), pixels)
    if how is None:
        whole.replace(path)
        return
    part = path.with_name(f"{how}.tmp.onnx")
    found = quantize_file(whole, part, how, pixels.values)
    part.replace(path)
    whole.unlink()
    say(str(found))


def _score(network: nn.Module, data: DataModule, run: Run, split: str, out: Path) -> dict[str, float]:
    """Score a split, write its prediction table, and return its metrics."""
    samples = data.samples[split]
    logit = score_samples(network, samples, data.loader, localises=False)
    table = prediction_table(
        samples.table, data.items.query(f"split == '{split}'"), split, torch.arange(len(logit)), logit
    )
    figures = detection.quick(table)
    write_predictions(predictions_path(out, split), table, dict(run.predictions(split).attrs["protocol"]), figures)
    return figures


def _cost(path: Path, data: DataModule, side: int) -> dict[str, object]:
    """Return the size of a file in MB, its durations per sample by `THREADS_BATCH` in ms, and the peak memory in MB.

    The memory is that of a process that runs the file, onnxruntime included.
    """
    clip = () if data.sampling.frames is None else (data.sampling.frames,)
    given = [[*clip, 3, side, side], THREADS, BATCHES]
    line = [sys.executable, "-c", COST, str(path), *map(json.dumps, given)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    measured: dict[str, object] = json.loads(done.stdout)
    return {"size": path.stat().st_size / 1e6, "device": cpu_name(), **measured}
