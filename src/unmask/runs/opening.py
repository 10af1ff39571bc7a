"""Open the run that a user named: a run folder, a pack, or a pack on the Hugging Face Hub."""

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from unmask.files import lock, replacing
from unmask.runs import pack
from unmask.runs.address import folder_of
from unmask.runs.exported import open_run as open_path
from unmask.runs.folder import best_of
from unmask.runs.run import Run

PLACE = Path("outputs/packs")  # where `writable` puts run folders: PLACE/NAME/ID


def open_run(run: str | Path) -> Run:
    """Open a run folder, an ONNX file, a pack, or a pack at `hf://owner/name@revision`.

    Raises:
        RunError: it is not a run, or the pack is refused.
    """
    return open_path(folder_of(run))


def writable(run: Run) -> Run:
    """Return the run, or for a pack, a run folder with the same content, to which results can be written.

    The run folder is `outputs/packs/NAME/ID` in the working directory. ID is the beginning of the SHA-256 of the pack's
    checksums.json, so the results of two versions of a pack are never mixed.
    """
    if not run.is_pack:
        return run
    folder = PLACE / run.preset / pack.digest(run.folder)[:10]
    with lock(folder, alone=True):
        if not (folder / pack.METRICS).is_file():
            _unpack(run, folder)
    return Run(folder)


def _unpack(run: Run, folder: Path) -> None:
    """Write the files of a pack as a run folder, which appears only when it is complete."""
    import torch  # slow to import, and only needed here

    part = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        best = best_of(part)
        for name in (".hydra", best.parent.name):
            (part / name).mkdir()
        shutil.copyfile(run.config_file, part / ".hydra" / "config.yaml")
        with replacing(best) as temporary:
            torch.save({"state_dict": run.weights()}, temporary)
        for name in pack.verify(run.folder):
            if name not in (pack.CARD, pack.CONFIG, pack.WEIGHTS):
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run.folder / name, part / name)
        part.chmod(0o777 & ~_umask())
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
