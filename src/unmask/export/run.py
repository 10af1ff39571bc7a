"""Export a trained network in one of several formats, and print what was written and compared."""

from dataclasses import dataclass
from pathlib import Path

from unmask.console import say
from unmask.export.check import Checked
from unmask.export.pixels import pixels_of
from unmask.export.record import record_of, wrapped_of
from unmask.files import printable
from unmask.runs.exported import GENERATOR
from unmask.runs.run import Run

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        checked: the comparison with PyTorch.
        faces: the folder with the networks of the face detector; None if none was written.
    """

    path: Path
    checked: Checked
    faces: Path | None = None


def export(
    run: Run, kind: str, out: Path | None = None, calibration: str = "platt", licence: str | None = None
) -> Exported:
    """Export a network to a file, and compare the file with PyTorch.

    Args:
        run: the finished run of a detector, a segmenter or, with `kind="onnx"`, a generator.
        kind: `onnx`, `torch_export` or `safetensors`.
        out: path of the file; None for the name of the run in the working directory.
        calibration: name of the calibration of the probabilities; see `record.wrapped_of`.
        licence: the licence of the weights, for the metadata.

    Raises:
        ExportError: the network cannot be exported, or the file differs from PyTorch.
        RunError: the run is not finished, or has no weights.
        ValueError: an argument is wrong, or the packages for ONNX are missing.
    """
    if kind not in SUFFIXES:
        raise ValueError(f"format={kind}: expected one of {', '.join(SUFFIXES)}")
    place = out or Path(run.preset + SUFFIXES[kind])
    if place.suffix != SUFFIXES[kind] or place.is_dir():
        raise ValueError(f"out={printable(str(place))}: expected the path of a file that ends in {SUFFIXES[kind]}")
    place.parent.mkdir(parents=True, exist_ok=True)
    if run.kind == GENERATOR:
        if kind != "onnx":
            raise ValueError(f"format={kind}: expected onnx, because {run.name} is a generator")
        from unmask.export.generator import export_generator  # imports the code for training

        return Exported(place, export_generator(run, place, licence))
    return _export_detector(run, kind, place, calibration, licence)


def _export_detector(run: Run, kind: str, place: Path, calibration: str, licence: str | None) -> Exported:
    model = wrapped_of(run, calibration)
    record, pixels = record_of(run, model, calibration, licence), pixels_of(run, model.parts)
    if kind == "onnx":
        from unmask.export.faces import export_faces
        from unmask.export.onnx import export_onnx

        checked = export_onnx(model, place, record, pixels)
        finds = run.build("data.recipe").option == "faces"
        return Exported(place, checked, export_faces(place) if finds else None)
    if kind == "torch_export":
        from unmask.export.torch_export import export_program

        return Exported(place, export_program(model, place, record, pixels))
    from unmask.export.safetensors import export_weights

    return Exported(place, export_weights(model, place, record, pixels))


def print_summary(found: Exported, run: Run) -> None:
    """Print what was written."""
    size = found.path.stat().st_size
    shown = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    say(f"{printable(str(found.path))}: {shown}, {found.checked}")
    if found.faces is not None:
        say(f"{printable(str(found.faces))}: the networks that find faces; keep this folder next to the model")
    if found.path.suffix == ".onnx":
        use = "sample" if run.kind == GENERATOR else "predict FILE"
        say(f"To use it: unmask {use} model={printable(str(found.path))}")
