"""Export a trained detector to a file that runs elsewhere: pixels in, logit and calibrated probability out.

  unmask export run=DIR                              an ONNX file, for onnxruntime and other runtimes
  unmask export run=DIR format=torch_export          a program for torch.export.load
  unmask export run=DIR format=safetensors           the weights, for a program of your own
  unmask export run=DIR out=models/meso4.onnx licence=MIT

The model takes the crops of the run's recipe as they are, uint8 RGB, in batches of any size; the normalisation is part
of it. The file also stores labels, threshold, calibration, recipe, training data, licence and the version of unmask.
Before the file is written, it is compared with PyTorch on validation crops of the run, or on random pixels if the crops
are not on this machine. If the network takes clips of one length only, this is stated.

If the recipe searches for faces, the networks of the face detector are written to the folder mtcnn next to the ONNX
file. Then unmask predict FILE model=MODEL.onnx needs no PyTorch; see docs/export.md.
"""

from pathlib import Path

from omegaconf import DictConfig

from unmask.application import verb
from unmask.config.check import resolved
from unmask.console import quiet
from unmask.export.run import export, tell
from unmask.runs.run import Run


@verb("export")
def main(cfg: DictConfig) -> None:
    """Run `unmask export`."""
    quiet()
    settings = resolved(cfg)
    if settings["run"] is None:
        raise ValueError("run missing: unmask export run=DIR")
    run = Run(Path(str(settings["run"])))
    out = Path(str(settings["out"])) if settings["out"] else None
    tell(export(run, str(settings["format"]), out, str(settings["calibration"]), settings["licence"]), run)


if __name__ == "__main__":
    main()
