"""Load trained detectors in a child process, and describe them for `GET /model`.

The imports are inside the functions: they take seconds and much memory, and the server itself does not need them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.web.answers import ModelCard
from unmask.web.child import Loaded
from unmask.web.limits import Limits

if TYPE_CHECKING:
    from unmask.data.recipe import Recipe
    from unmask.runs.run import Run

#: Imported before a child process is confined: CUDA's bindings, which PyTorch imports, start the C compiler.
IMPORTS = ("torchvision",)
EXPORTED = ("onnxruntime",)  # the same for exported models, for which PyTorch is not needed


def read_by(folders: Sequence[Path], limits: Limits) -> tuple[tuple[Path, ...], Limits, tuple[str, ...]]:
    """Return the arguments of `Setup` after `load`: what a child process reads, the limits, and its first imports.

    Args:
        folders: run folders or exported models; the face detector of an exported model is in the folder next to it.
        limits: the limits.
    """
    from unmask.media.mtcnn import FOLDER

    files = [path for path in folders if path.is_file()]
    faces = [place for path in files if (place := path.parent / FOLDER).is_dir()]
    return (*folders, *faces), limits, EXPORTED if len(files) == len(folders) else IMPORTS


def load_runs(folders: Sequence[Path], calibration: str, trials: bool, explain: bool) -> Loaded:
    """Load the detectors of these run folders or exported models.

    Their weights are read now, so that the first file does not have to wait.

    Raises:
        RunError: a folder is not the finished run of a detector with weights.
        ValueError: the calibration is unknown.
    """
    from unmask.inference.examine import Examiner
    from unmask.inference.page import report
    from unmask.runs.exported import open_run

    runs = [open_run(folder) for folder in folders]
    examiner = Examiner(runs, calibration, trials, explain)
    for scorer in examiner.scorers:
        scorer.engine.load()
        _warm_up(scorer.recipe)
    return Loaded(examiner, report, [card(run) for run in runs])


def _warm_up(recipe: "Recipe") -> None:
    """Run the recipe on a grey frame, and import the decoders, so that the first file does not have to wait."""
    import av  # noqa: F401
    import numpy as np
    from PIL import Image

    from unmask.media.kinds import MediaError

    Image.init()  # Pillow loads its parsers when it needs them
    try:
        recipe.cut(np.full((1, 96, 96, 3), 128, np.uint8), np.zeros(1, np.int64), np.zeros(1))
    except MediaError:  # a grey frame contains no face
        return


def card(run: "Run") -> ModelCard:
    """Describe a run."""
    from unmask.files import file_hash
    from unmask.metrics.detection import probability
    from unmask.runs.run import is_demo

    return ModelCard(
        name=run.name,
        summary=str(run.summary),
        kind=run.kind,
        weights=file_hash(run.checkpoint),
        threshold=float(probability(run.score_thresholds["video"])),
        faces=run.build("data.recipe").option == "faces",
        demo=is_demo(run.config["data"]),
        remarks=run.remarks,
    )
