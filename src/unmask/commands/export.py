"""Export a trained network to a file that runs elsewhere.

From a detector, pixels or sound go in, and a logit and a calibrated probability come out. From a generator (a GAN or an
autoencoder), noise goes in and pictures come out.

  unmask export run=DIR                              an ONNX file, for onnxruntime and other runtimes
  unmask export run=DIR format=torch_export          a program for torch.export.load
  unmask export run=DIR format=safetensors           the weights, for a program of your own
  unmask export run=DIR out=models/meso4.onnx licence=MIT
  unmask export run=DIR quantize=int8                8-bit integers: a smaller and faster file, compared with float32
  unmask export run=DIR quantize=int8 score=true     score the file instead: accuracy, robustness, size, speed, memory

A detector takes the crops of the run's recipe as they are, uint8 RGB, in batches of any size; the normalisation is part
of it. A detector of sound takes windows of one channel at 16 kHz, float32 in [-1, 1]. The file also stores labels,
threshold, calibration, recipe, training data, licence and the version of unmask. Before the file is written, it is
compared with PyTorch on validation samples of the run, or on random ones if the data is not on this machine. If the
network takes clips or windows of one length only, this is stated.

If the recipe searches for faces, the networks of the face detector are written to the folder mtcnn next to the ONNX
file. Then unmask predict FILE model=MODEL.onnx needs no PyTorch; see docs/export.md.
"""

from pathlib import Path

from omegaconf import DictConfig

from unmask.application import verb
from unmask.config.build import build
from unmask.config.check import resolved
from unmask.console import quiet, say
from unmask.export.measure import quantize_run
from unmask.export.quantize import KINDS
from unmask.export.record import require_pictures
from unmask.export.run import export, print_summary
from unmask.runs.exported import GENERATOR
from unmask.runs.run import Run


@verb("export")
def main(cfg: DictConfig) -> None:
    """Run `unmask export`."""
    quiet()
    settings = resolved(cfg)
    if settings["run"] is None:
        raise ValueError("run missing: unmask export run=DIR")
    run, how, kind = Run(Path(str(settings["run"]))), settings["quantize"], str(settings["format"])
    if run.kind == GENERATOR and (how is not None or settings["score"]):
        raise ValueError(f"quantize and score are for detectors, but {run.name} is a generator")
    if how is not None and (how not in KINDS or kind != "onnx"):
        raise ValueError(f"quantize={how}, format={kind}: expected format=onnx and one of {', '.join(KINDS)}")
    if how is not None:
        require_pictures(run, f"quantize={how}")  # before a file is written
    if settings["score"]:
        from unmask.export.variant import score_variant  # imported here, because it needs PyTorch Lightning

        say(f"scores: {score_variant(run, how, build(settings['suite']) if settings.get('suite') else None)}")
        return
    out = Path(str(settings["out"])) if settings["out"] else None
    found = export(run, kind, out, str(settings["calibration"]), settings["licence"])
    print_summary(found, run)
    if how is not None:
        say(str(quantize_run(run, found.path, str(how))))


if __name__ == "__main__":
    main()
